//! What claims to be the connections of the process before: any bytes are taken over or refused, and refused they leave nothing; what
//! is read of a block is written and read again.

use std::io::Cursor;

use pollvs::control::handover::{self, Moment};
use pollvs::director::{Director, Limits};
use pollvs::steering::{Prefixes, Steering};
use pollvs::sync::Block;
use pollvs::time::Instant;
use pollvs::verdict::WorkerId;

const SMALL: Limits =
    Limits { connections: 8, connections6: 8, templates: 4, templates6: 4, destinations: 4, ftp: 2, calls: 2 };
/// Longer than any time-out.
const LATER: Instant = Instant(u64::MAX / 4);

/// Takes `data` as a file, as it is and with the checksum that it should have, and as a block.
pub fn fuzz_one(data: &[u8]) {
    take(data);
    let mut mended = data.get(..data.len().saturating_sub(4)).unwrap_or_default().to_vec();
    mended.extend(crc32c::crc32c(&mended).to_be_bytes());
    take(&mended);
    block(data);
}

/// When the seeds were made.
pub fn moment() -> Moment {
    Moment { boot: "seed".to_owned(), millis: 1000 }
}

fn take(data: &[u8]) {
    let steering = Steering::new(2, pollvs::steering::MAX_BITS, Prefixes { v4: 32, v6: 128 }, 1);
    let mut directors = [0, 1].map(|id| Director::new(&SMALL, 7, WorkerId(id), steering.clone()));
    let taken = handover::read(Cursor::new(data), &moment(), &mut directors, &steering, Instant(0));
    let used: u64 = directors.iter().flat_map(|director| director.used()).map(u64::from).sum();
    match taken {
        Ok(taken) => assert!(used <= taken.entries - taken.lost, "templates may fall together, nothing is made up"),
        Err(_) => assert_eq!(used, 0, "what is refused leaves nothing"),
    }
    for director in &mut directors {
        end(director);
    }
}

/// Lets everything time out.
fn end(director: &mut Director) {
    for turn in 0..4 {
        while director.expire(Instant(LATER.0 / 4 * (turn + 1)), 1024) == 1024 {}
    }
}

fn block(data: &[u8]) {
    let Ok(entries) = Block::read(data) else { return };
    let mut director = Director::new(&SMALL, 7, WorkerId(0), Steering::default());
    let mut again = Block::default();
    for kept in &entries {
        // Whatever it says of its controller and its destination.
        director.take_over(kept, Instant(0));
        assert!(again.push(kept), "what was in one block fits another");
    }
    assert_eq!(Block::read(&again.finish()).as_deref(), Ok(&entries[..]));
    end(&mut director);
}

#[cfg(test)]
mod tests {
    use super::super::seeds;

    #[test]
    fn mutated_files_keep_the_promises() {
        seeds::mutate(&seeds::handed_over(), 400, super::fuzz_one);
    }
}
