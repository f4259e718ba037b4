//! What clients and servers say where a helper listens: no text panics, what is found lies within it, and what is written instead is
//! read back.

use pollvs::app::ftp::{self, Awaited};
use pollvs::app::sequence::{Sequences, Shift};
use pollvs::app::sip;
use pollvs::family::Address;
use pollvs::wire::tcp;

/// Takes `data` as what an end of a control connection says, as a SIP message, and as a segment that is shifted.
pub fn fuzz_one(data: &[u8]) {
    for awaited in [Awaited::Nothing, Awaited::Passive, Awaited::ExtendedPassive] {
        answers::<u32>(awaited, data);
        answers::<u128>(awaited, data);
    }
    let _ = (ftp::command::<u32>(data), ftp::command::<u128>(data));
    if let Some(id) = sip::call_id(data) {
        assert_eq!(sip::CallId::new(id).expect("it is not too long").bytes(), id);
    }
    shifted(data);
}

fn answers<A: Address>(awaited: Awaited, data: &[u8]) {
    let Some(announced) = ftp::answer::<A>(awaited, data) else { return };
    let address = announced.address.unwrap_or_default();
    let text = ftp::announcement(awaited, address.ip(), announced.port);
    let rewritten = [&data[..announced.text.start], text.bytes(), &data[announced.text.end..]].concat();
    let again = ftp::answer::<A>(awaited, &rewritten).expect("what is written is read");
    assert_eq!((again.port, &rewritten[again.text.clone()]), (announced.port, text.bytes()));
}

/// Shifting forth and back leaves a segment as it was.
fn shifted(data: &[u8]) {
    if tcp::Packet::new_checked(data).is_err() {
        return;
    }
    let by = |delta: u32| Shift { init_seq: 0, delta, previous_delta: delta };
    let mut segment = data.to_vec();
    let forth = Sequences { input: by(7), output: by(3) };
    let back = Sequences { input: by(7_u32.wrapping_neg()), output: by(3_u32.wrapping_neg()) };
    let sound = forth.request(&mut segment);
    assert_eq!(back.request(&mut segment), sound);
    let checksum = 16..18;
    segment[checksum.clone()].copy_from_slice(&data[checksum]);
    assert_eq!(segment, data);
}

#[cfg(test)]
mod tests {
    use super::super::seeds;

    #[test]
    fn mutated_talk_keeps_the_promises() {
        seeds::mutate(&seeds::talk(), 3000, super::fuzz_one);
        seeds::mutate(
            &seeds::frames().into_iter().map(|f| f.get(34..).unwrap_or_default().to_vec()).collect::<Vec<_>>(),
            100,
            super::fuzz_one,
        );
    }
}
