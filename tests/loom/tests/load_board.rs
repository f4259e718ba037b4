//! `src/load_board.rs`: what workers tell each other of their connections.

use loom::sync::Arc;
use loom::thread;
use pollvs_loom::director::{Director, Load};
use pollvs_loom::load_board::LoadBoard;
use pollvs_loom::verdict::WorkerId;

const TOLD: [Load; 3] =
    [Load { active: 0, inactive: 0 }, Load { active: 1, inactive: 10 }, Load { active: 2, inactive: 20 }];

#[test]
fn a_worker_hears_both_counts_of_one_moment_and_never_an_older_one() {
    loom::model(|| {
        let board = Arc::new(LoadBoard::new(2, 1));
        let other = {
            let board = board.clone();
            thread::spawn(move || {
                let mut director = Director::new(1);
                for load in &TOLD[1..] {
                    director.own[0] = *load;
                    board.exchange(WorkerId(1), &mut director);
                }
            })
        };
        let mut director = Director::new(1);
        let mut last = 0;
        for _ in 0..2 {
            board.exchange(WorkerId(0), &mut director);
            let heard = TOLD.iter().position(|load| *load == director.foreign[0]).expect("halves of two moments");
            assert!(heard >= last, "older than before");
            last = heard;
        }
        other.join().unwrap();
        board.exchange(WorkerId(0), &mut director);
        assert_eq!(director.foreign[0], TOLD[2]);
    });
}
