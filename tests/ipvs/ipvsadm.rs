//! ipvsadm: every line of the recorded transcripts, and the sizes that people have.
use std::time::Instant;

use super::bed::{Bed, INTERFACES, LOOPBACK};
use super::transcript;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/ipvs/transcript.sh");

/// Runs the commands of a transcript of the kernel's, and compares.
fn same_as_the_kernel(network: &str, kernel: &str) {
    let Some(bed) = Bed::new(network) else { return };
    let commands = bed.write("commands", &transcript::commands(kernel));
    let ours = bed.printed("sh", &[SCRIPT, &commands, bed.folder().to_str().unwrap()]);
    let differences = transcript::differences(kernel, &ours);
    assert!(differences.is_empty(), "{differences}\npollvsd says:\n{}", bed.words());
}

macro_rules! transcripts {
    ($($test:ident: $name:literal on $network:ident;)*) => {$(
        #[test]
        fn $test() {
            same_as_the_kernel($network, include_str!(concat!("kernel/", $name, ".txt")));
        }
    )*};
}

transcripts! {
    every_command_of_the_matrix: "matrix" on LOOPBACK;
    every_scheduler_with_every_kind_of_service: "schedulers" on INTERFACES;
    names_of_schedulers: "names" on INTERFACES;
    flags_of_schedulers: "flags" on INTERFACES;
    persistence_and_its_masks: "masks" on INTERFACES;
    masks_with_holes: "masks-with-holes" on INTERFACES;
    persistence_engines: "engines" on INTERFACES;
    addresses_and_ports: "addresses" on INTERFACES;
    marks: "marks" on INTERFACES;
    destinations: "destinations" on INTERFACES;
    odd_destinations: "odd-destinations" on INTERFACES;
    weights_and_thresholds: "weights" on INTERFACES;
    tunnels: "tunnels" on INTERFACES;
    timeouts: "timeouts" on INTERFACES;
    daemons_of_synchronisation: "daemons" on INTERFACES;
    restoring: "restore" on INTERFACES;
    listings_and_texts: "listings" on INTERFACES;
    odd_spellings_and_combinations: "odd" on INTERFACES;
}

/// The figures are printed, for a machine under load may be slow; what is tested is that nothing is lost.
#[test]
fn ten_thousand_services_and_destinations() {
    let Some(bed) = Bed::new(LOOPBACK) else { return };
    let services: String = (0..10_000).map(|n| format!("-A -t 10.{}.{}.1:80 -s wlc\n", n / 250, n % 250)).collect();
    let file = bed.write("services", &services);
    let start = Instant::now();
    bed.printed("sh", &["-c", &format!("exec ipvsadm -R <{file}")]);
    println!("ipvsadm -R of 10,000 services: {:?}", start.elapsed());
    assert_eq!(bed.rules().lines().count(), 10_000);
    bed.printed("ipvsadm", &["-C"]);
    let destinations = (0..10_000).map(|n| format!("-a -f 1 -r 10.{}.{}.1:0 -g\n", n / 250, n % 250));
    let file = bed.write("destinations", &["-A -f 1\n".to_owned()].into_iter().chain(destinations).collect::<String>());
    bed.printed("sh", &["-c", &format!("exec ipvsadm -R <{file}")]);
    let start = Instant::now();
    let listed = bed.rules();
    println!("ipvsadm -Ln of 10,000 destinations: {:?}", start.elapsed());
    assert_eq!(listed.lines().count(), 10_001);
}
