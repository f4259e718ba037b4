//! Options of an IPv4 header (RFC 791, section 3.1), as far as they decide what becomes of the packet: whether they are well-formed, and
//! whether the sender prescribes the way.

use super::bytes::u8_at;

/// Kinds of option.
mod kind {
    pub(super) const END: u8 = 0;
    pub(super) const NOTHING: u8 = 1;
    pub(super) const RECORD_ROUTE: u8 = 7;
    pub(super) const TIMESTAMP: u8 = 68;
    pub(super) const LOOSE_ROUTE: u8 = 131;
    pub(super) const STRICT_ROUTE: u8 = 137;
    pub(super) const ROUTER_ALERT: u8 = 148;
}

/// Does the sender prescribe the way, by a loose or a strict source route?
///
/// # Errors
/// Where the options are wrong, in bytes from their beginning: what a parameter problem (RFC 792) points to.
pub fn source_routed(options: &[u8]) -> Result<bool, usize> {
    let mut routed = false;
    let mut at = 0;
    while let Some(&code) = options.get(at) {
        let length = match code {
            kind::END => break,
            kind::NOTHING => 1,
            _ => length(options, at)?,
        };
        let option = &options[at..at + length];
        check(option).map_err(|wrong| at + wrong)?;
        routed |= matches!(code, kind::LOOSE_ROUTE | kind::STRICT_ROUTE);
        at += length;
    }
    Ok(routed)
}

fn length(options: &[u8], at: usize) -> Result<usize, usize> {
    let length = options.get(at + 1).map_or(0, |length| usize::from(*length));
    if length >= 2 && at + length <= options.len() { Ok(length) } else { Err(at) }
}

/// One option: where it is wrong, from its own beginning.
fn check(option: &[u8]) -> Result<(), usize> {
    match option[0] {
        kind::RECORD_ROUTE => check_list(option, 3, 4, 4),
        kind::LOOSE_ROUTE | kind::STRICT_ROUTE => check_list(option, 3, 4, 0),
        kind::TIMESTAMP => {
            let addressed = option.len() > 3 && matches!(u8_at(option, 3) & 0xf, 1 | 3);
            check_list(option, 4, 5, if addressed { 8 } else { 4 })
        }
        kind::ROUTER_ALERT if option.len() < 4 => Err(1),
        _ => Ok(()),
    }
}

/// An option with a list behind a pointer, which counts from 1: the shortest option, the least pointer, and what an entry that is still
/// to be written takes, in bytes.
fn check_list(option: &[u8], shortest: usize, least: usize, entry: usize) -> Result<(), usize> {
    if option.len() < shortest {
        return Err(1);
    }
    let pointer = usize::from(u8_at(option, 2));
    let full = pointer > option.len();
    if pointer < least || !full && pointer + entry > option.len() + 1 { Err(2) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_seen_wherever_they_stand() {
        for (options, routed) in [
            (&[][..], false),
            (&[1, 1, 1, 0], false),
            (&[131, 7, 4, 192, 0, 2, 99, 0], true),
            (&[1, 137, 7, 8, 192, 0, 2, 99], true),
            (&[0, 131, 7, 4], false),
            (&[148, 4, 0, 0], false),
            (&[7, 11, 12, 1, 2, 3, 4, 5, 6, 7, 8, 0], false),
            (&[68, 8, 5, 0, 0, 0, 0, 0], false),
            (&[159, 4, 0, 0], false),
        ] {
            assert_eq!(source_routed(options), Ok(routed), "{options:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_pointed_to() {
        for (options, wrong) in [
            (&[1, 1, 1, 7][..], 3),
            (&[159, 10, 0, 0], 0),
            (&[1, 159, 1, 0], 1),
            (&[131, 3, 3, 0], 2),
            (&[131, 2, 0, 0], 1),
            (&[7, 7, 3, 0, 0, 0, 0, 0], 2),
            (&[7, 7, 5, 0, 0, 0, 0, 0], 2),
            (&[68, 8, 4, 0, 0, 0, 0, 0], 2),
            (&[68, 8, 5, 1, 0, 0, 0, 0], 2),
            (&[148, 3, 0, 0], 1),
        ] {
            assert_eq!(source_routed(options), Err(wrong), "{options:?}");
        }
    }
}
