//! `src/handoff.rs`: frames between two workers, and the counts that control reads meanwhile.

use loom::thread;
use pollvs_loom::handoff::{Handoff, Parcel, Strays};
use pollvs_loom::verdict::{Origin, PortId, WorkerId};

fn parcel(frame: u32) -> Parcel<u32> {
    Parcel { frame, port: PortId(0), origin: Origin::Wire }
}

#[test]
fn what_a_ring_took_arrives_once_and_in_order() {
    loom::model(|| {
        let mut ends = Handoff::mesh(2, 2);
        let mut receiver = ends.pop().unwrap();
        let mut sender = ends.pop().unwrap();
        let turns = thread::spawn(move || {
            let mut flushed = [0, 0];
            for turn in [&[1, 2][..], &[3, 4]] {
                turn.iter().for_each(|n| sender.send(WorkerId(1), parcel(*n)).unwrap());
                let now = sender.flush();
                flushed = [flushed[0] + now.sent, flushed[1] + now.refused];
            }
            flushed
        });
        let mut got: Vec<u32> = (0..3).filter_map(|_| receiver.receive()).map(|p| p.frame).collect();
        let [sent, refused] = turns.join().unwrap();
        got.extend(std::iter::from_fn(|| receiver.receive()).map(|p| p.frame));
        assert_eq!((got.len() as u64, sent + refused), (sent, 4));
        assert!(got.is_sorted() && got.starts_with(&[1, 2]), "{got:?}");
    });
}

#[test]
fn two_senders_do_not_disturb_each_other() {
    loom::model(|| {
        let mut ends = Handoff::mesh(3, 2);
        let senders = [2, 1].map(|n| {
            let mut end = ends.remove(n);
            thread::spawn(move || {
                end.send(WorkerId(0), parcel(n as u32 * 10)).unwrap();
                end.flush()
            })
        });
        let mut receiver = ends.remove(0);
        let mut got: Vec<u32> = receiver.receive().map(|p| p.frame).into_iter().collect();
        senders.into_iter().for_each(|sender| assert_eq!(sender.join().unwrap().sent, 1));
        got.extend(std::iter::from_fn(|| receiver.receive()).map(|p| p.frame));
        got.sort_unstable();
        assert_eq!(got, [10, 20]);
    });
}

#[test]
fn control_never_reads_more_frames_astray_than_frames() {
    loom::model(|| {
        let table = Strays::table(1, 1);
        let mut worker = Handoff::<u32>::mesh(1, 1).remove(0).counting(table[0].clone());
        let counting = thread::spawn(move || {
            for _ in 0..2 {
                worker.count(PortId(0), true);
                worker.flush();
            }
        });
        let mut before = [0; 2];
        for _ in 0..2 {
            let [all, astray] = Strays::of_port(&table, 0);
            assert!(astray <= all && all >= before[0] && astray >= before[1], "{before:?}, then {all} and {astray}");
            before = [all, astray];
        }
        counting.join().unwrap();
        assert_eq!(Strays::of_port(&table, 0), [2, 2]);
    });
}
