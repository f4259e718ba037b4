//! The library itself: what it leaves alone, and what programs see of a director that is not there.
use std::os::unix::fs::PermissionsExt;
use std::process::Output;
use std::time::{Duration, Instant};

use super::bed::{Bed, LOOPBACK};

fn words(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn other_netlink_users_see_the_kernel() {
    let Some(bed) = Bed::new(LOOPBACK) else { return };
    for (program, arguments) in
        [("genl", &["ctrl", "list"][..]), ("ip", &["address"]), ("ip", &["route", "show", "table", "all"])]
    {
        let plain = bed.plain(program, arguments).output().unwrap();
        assert!(plain.status.success(), "{program}");
        assert_eq!(words(&bed.run(program, arguments)), words(&plain), "{program}");
    }
}

#[test]
fn texts_are_read_by_whatever_path() {
    let Some(bed) = Bed::new(LOOPBACK) else { return };
    bed.printed("ipvsadm", &["-A", "-t", "192.0.2.1:80", "-s", "rr"]);
    let text = bed.printed("cat", &["/proc/net/ip_vs"]);
    assert!(text.ends_with("TCP  C0000201:0050 rr  \n"), "{text}");
    for script in [
        "cat /proc/self/net/ip_vs",
        "cat /proc/$$/net/ip_vs",
        "cat /proc/thread-self/net/ip_vs",
        "cd /proc/net; cat ip_vs",
        "cat </proc/net/ip_vs",
        "python3 -c 'print(open(\"/proc/net/ip_vs\").read(), end=\"\")'",
        "perl -e 'open F, \"</proc/net/ip_vs\"; print <F>'",
        "awk 1 /proc/net/ip_vs",
        "sed '' /proc/net/ip_vs",
    ] {
        assert_eq!(bed.printed("bash", &["-c", script]), text, "{script}");
    }
}

/// Without a director the kernel is asked, as without the library; this machine's has no IPVS, or an empty one.
#[test]
fn without_a_director_the_kernel_answers() {
    let Some(bed) = Bed::empty(LOOPBACK) else { return };
    let plain = bed.plain("ipvsadm", &["-Ln"]).output().unwrap();
    let mut hasty = bed.command("env", &["POLLVS_IPVS_WAIT=0", "ipvsadm", "-Ln"]);
    assert_eq!(words(&hasty.output().unwrap()), words(&plain));
}

#[test]
fn in_the_strict_mode_it_does_not() {
    let Some(mut bed) = Bed::empty(LOOPBACK) else { return };
    let strict = |bed: &Bed, words: &[&str]| {
        let words = [&["POLLVS_IPVS_STRICT=1", "POLLVS_IPVS_WAIT=0"], words].concat();
        bed.run("env", &words)
    };
    let refused = strict(&bed, &["ipvsadm", "-A", "-t", "192.0.2.1:80"]);
    let said = words(&refused);
    assert!(!refused.status.success() && said.contains("the kernel's IPVS is not used instead"), "{said}");
    assert!(said.contains(&bed.file("ipvs.sock")) && !said.contains("modprobe"), "{said}");
    let loader = bed.write("modprobe", "#!/bin/sh\necho loaded\n");
    std::fs::set_permissions(&loader, std::fs::Permissions::from_mode(0o755)).unwrap();
    for command in [
        format!("{loader} -- ip_vs"),
        format!("exec {loader} -va ip_vs_rr"),
        format!("python3 -c 'import os; os.posix_spawn(\"{loader}\", [\"{loader}\", \"ip_vs\"], os.environ)'"),
        "cat /proc/net/ip_vs".to_owned(),
        "python3 -c 'import socket; socket.socket(2, 3, 255).getsockopt(0, 1153, 12)'".to_owned(),
        "python3 -c 'import socket; socket.socket(2, 3, 255).setsockopt(0, 1157, b\"\")'".to_owned(),
    ] {
        let refused = strict(&bed, &["bash", "-c", &command]);
        let said = words(&refused);
        let loaded = said.contains("loaded\n");
        assert!(!refused.status.success() && said.contains("POLLVS_IPVS_STRICT") && !loaded, "{command}: {said}");
    }
    assert_eq!(words(&strict(&bed, &["bash", "-c", &format!("{loader} nf_nat")])), "loaded\n");
    assert_eq!(words(&bed.run("bash", &["-c", &format!("{loader} -- ip_vs")])), "loaded\n", "it is not strict");
    bed.start_director();
    let done = strict(&bed, &["ipvsadm", "-Ln"]);
    assert!(done.status.success(), "{}", words(&done));
}

/// Neither the socket's mode nor its server lets anybody else in, who is told what the kernel tells him.
#[test]
fn others_are_refused_as_the_kernel_refuses_them() {
    let Some(bed) = Bed::new(LOOPBACK) else { return };
    bed.printed("ipvsadm", &["-A", "-t", "192.0.2.1:80", "-s", "rr"]);
    let rules = bed.rules();
    let readable = |path: &str, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    readable(bed.folder().to_str().unwrap(), 0o755);
    let library = bed.file("library.so");
    std::fs::copy(super::bed::library(), &library).unwrap();
    readable(&library, 0o755);
    let preload = format!("LD_PRELOAD={library}");
    let socket = format!("POLLVS_IPVS_SOCKET={}", bed.file("ipvs.sock"));
    let nobody = &["--reuid=65534", "--regid=65534", "--clear-groups", "env"][..];
    for mode in [0o600, 0o666] {
        readable(&bed.file("ipvs.sock"), mode);
        for words_of in [&["-Ln"][..], &["-Lcn"], &["-A", "-t", "192.0.2.2:80"], &["-C"], &["-S"], &["-R"]] {
            let plain = bed.plain("setpriv", &[nobody, &["ipvsadm"], words_of].concat()).output().unwrap();
            let ours = [nobody, &[&preload, &socket, "ipvsadm"][..], words_of].concat();
            let ours = bed.plain("setpriv", &ours).output().unwrap();
            assert!(words(&plain).contains("Permission denied (you must be root)"), "{}", words(&plain));
            assert_eq!((ours.status, words(&ours)), (plain.status, words(&plain)), "{mode:o} {words_of:?}");
        }
        let text = [nobody, &[&preload, &socket, "cat", "/proc/net/ip_vs"][..]].concat();
        assert!(!bed.plain("setpriv", &text).output().unwrap().status.success());
    }
    assert_eq!(bed.rules(), rules);
}

#[test]
fn a_director_that_restarts_is_waited_for() {
    let Some(mut bed) = Bed::new(LOOPBACK) else { return };
    bed.printed("ipvsadm", &["-A", "-t", "192.0.2.1:80", "-s", "rr"]);
    bed.kill_director();
    let mut waiting = bed.command("env", &["POLLVS_IPVS_WAIT=30", "ipvsadm", "-A", "-t", "192.0.2.2:80", "-s", "rr"]);
    let waiting = waiting.spawn().unwrap();
    std::thread::sleep(Duration::from_millis(300));
    bed.start_director();
    assert!(waiting.wait_with_output().unwrap().status.success());
    assert_eq!(bed.rules(), "TCP  192.0.2.1:80 rr\nTCP  192.0.2.2:80 rr\n");
    bed.kill_director();
    let start = Instant::now();
    let mut vain = bed.command("env", &["POLLVS_IPVS_WAIT=1", "ipvsadm", "-Ln"]);
    assert!(!vain.output().unwrap().status.success());
    assert!((1.0..5.0).contains(&start.elapsed().as_secs_f64()), "{:?}", start.elapsed());
}

#[test]
fn a_director_that_fails_looks_like_a_kernel_that_refuses() {
    let Some(bed) = Bed::empty(LOOPBACK) else { return };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/ipvs/faults.py");
    let cases =
        bed.printed("env", &["POLLVS_IPVS_WAIT=1", "POLLVS_IPVS_TIMEOUT=1", "timeout", "60", "python3", script]);
    assert_eq!(cases.lines().count(), 10, "{cases}");
}

/// ipvsadm-save and ipvsadm-restore set a PATH of their own.
#[test]
fn rules_are_saved_and_restored() {
    let Some(bed) = Bed::new(LOOPBACK) else { return };
    let rules = "-A -t 192.0.2.1:80 -s wrr -p 60\n-a -t 192.0.2.1:80 -r 10.0.0.1:80 -m -w 5\n-A -f 7 -s rr\n";
    let file = bed.write("rules", rules);
    bed.printed("sh", &["-c", &format!("ipvsadm-restore <{file}")]);
    assert_eq!(bed.printed("ipvsadm-save", &["-n"]), rules);
}
