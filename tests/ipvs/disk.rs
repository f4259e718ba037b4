//! A disk that is full: what cannot be kept is refused, and nothing that was kept is lost.
use std::process::Output;

use super::bed::Bed;

/// The least that holds the state and lets it be replaced, in bytes.
const DISK: u32 = 64 << 10;

fn words(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn add(bed: &Bed, last: usize) -> Output {
    bed.run("ipvsadm", &["-A", "-t", &format!("192.0.2.{last}:80"), "-s", "rr"])
}

/// Takes all the room that there is, up to the end of a page that the state has begun.
fn fill(bed: &Bed) {
    let script = format!("! cat /dev/zero >{}", bed.file("filler"));
    assert!(bed.plain("sh", &["-c", &script]).output().unwrap().status.success(), "the disk has no end");
}

#[test]
fn changes_are_refused_while_the_disk_is_full_and_nothing_is_lost() {
    let Some(mut bed) = Bed::on_small_disk(DISK) else { return };
    assert!(add(&bed, 1).status.success());
    fill(&bed);
    let taken = (1..255).take_while(|n| *n == 1 || add(&bed, *n).status.success()).count();
    let rules = bed.rules();
    assert_eq!(rules.lines().count(), taken);
    let of_first = ["-t", "192.0.2.1:80"];
    for change in [&["-E", "-s", "wlc"][..], &["-a", "-r", "10.0.0.1:80", "-m"], &["-A", "-t", "192.0.2.255:80"]] {
        let change = if change[0] == "-A" { change.to_vec() } else { [change, &of_first].concat() };
        let refused = bed.run("ipvsadm", &change);
        assert_eq!((refused.status.code(), words(&refused)), (Some(255), "No space left on device\n".to_owned()));
    }
    assert_eq!(bed.rules(), rules);

    bed.kill_director();
    bed.start_director();
    assert_eq!(bed.rules(), rules, "a director that starts on a full disk has its rules");
    assert_eq!(words(&add(&bed, taken + 1)), "No space left on device\n");

    bed.plain("rm", &[&bed.file("filler")]).output().unwrap();
    assert!(add(&bed, taken + 1).status.success());
    let rules = bed.rules();
    assert_eq!(rules.lines().count(), taken + 1);
    bed.kill_director();
    bed.start_director();
    assert_eq!(bed.rules(), rules);
}
