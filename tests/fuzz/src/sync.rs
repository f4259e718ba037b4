//! What claims to be a message of the synchronisation: any bytes are read or refused, what is read is written and read again, and a
//! director takes whatever it is told.

use pollvs::director::{Director, Limits};
use pollvs::steering::Steering;
use pollvs::sync::{Builder, Message};
use pollvs::time::Instant;
use pollvs::verdict::WorkerId;

const SMALL: Limits =
    Limits { connections: 8, connections6: 8, templates: 4, templates6: 4, destinations: 4, ftp: 2, calls: 2 };

/// Takes `data` as a datagram, as it is and with the length that it should say.
pub fn fuzz_one(data: &[u8]) {
    take(data);
    let mut mended = data.to_vec();
    if let (Some(field), Ok(length)) = (mended.get_mut(2..4), u16::try_from(data.len())) {
        field.copy_from_slice(&length.to_be_bytes());
        take(&mended);
    }
}

fn take(data: &[u8]) {
    let Ok(message) = Message::read(data) else { return };
    let read: Vec<_> = message.entries().collect();
    assert!(read.len() <= message.count().into());
    let fatal = read.iter().position(|entry| entry.is_err_and(pollvs::sync::EntryError::ends_message));
    assert!(fatal.is_none_or(|at| at + 1 == read.len()), "nothing is read behind what cannot be made out");
    let mut director = Director::new(&SMALL, 7, WorkerId(0), Steering::default());
    for (at, entry) in (1..).zip(read.into_iter().flatten()) {
        director.accept(&entry, Instant(at * 1_000_000_000));
        director.expire(Instant(at * 1_000_000_000), 16);
        let mut builder = Builder::new(message.version(), message.syncid(), 1472);
        builder.push(&entry).expect("what was read can be written");
        let written = builder.finish();
        let again: Vec<_> = Message::read(&written).expect("it is whole").entries().collect();
        assert_eq!(again, [Ok(entry)]);
    }
}

#[cfg(test)]
mod tests {
    use super::super::seeds;

    #[test]
    fn mutated_messages_keep_the_promises() {
        seeds::mutate(&seeds::messages(), 200, super::fuzz_one);
    }
}
