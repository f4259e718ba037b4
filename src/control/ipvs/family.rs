//! What the controller of generic netlink says of the family, for it is asked first (`CTRL_CMD_GETFAMILY`, `net/netlink/genetlink.c`).

use nix::errno::Errno;

use super::attribute::{Attributes, Kind, Malformed, Writer};
use super::command::Command;

/// The controller's own type.
pub(super) const CONTROLLER: u16 = 0x10;
/// The family: beyond the numbers that the kernel gives out (0x10 to 0x3ff).
pub(super) const FAMILY: u16 = 0x4956;
/// Its name.
const NAME: &str = "IPVS";
/// Its version.
pub(super) const VERSION: u8 = 1;

/// The controller's command that asks for a family.
pub(super) const GET_FAMILY: u8 = 3;
/// The command of its answer.
pub(super) const NEW_FAMILY: u8 = 1;
/// The controller's version.
pub(super) const CONTROLLER_VERSION: u8 = 2;

const FAMILY_ID: usize = 1;
const FAMILY_NAME: usize = 2;
const FAMILY_VERSION: usize = 3;
const HEADER_SIZE: usize = 4;
const MOST_ATTRIBUTES: usize = 5;
const OPERATIONS: usize = 6;
const KINDS: [Kind; 3] = [Kind::Ignored, Kind::Number(2), Kind::Name(15)];

const OPERATION_ID: usize = 1;
const OPERATION_FLAGS: usize = 2;

/// Only for the administrator.
const ADMINISTRATOR: u32 = 1;
const CAN_DO: u32 = 2;
const CAN_DUMP: u32 = 4;
const HAS_POLICY: u32 = 8;

/// Which family is asked for?
pub(super) fn asked_for(attributes: &[u8]) -> Result<(), Errno> {
    let wrong = |malformed| if malformed == Malformed::Length { Errno::ERANGE } else { Errno::EINVAL };
    let asked = Attributes::parse(attributes, &KINDS).map_err(wrong)?;
    match (asked.u16(FAMILY_ID), asked.name(FAMILY_NAME)) {
        (None, None) => Err(Errno::EINVAL),
        // The kernel looks at the name last.
        (_, Some(name)) if name == NAME => Ok(()),
        (Some(FAMILY), None) => Ok(()),
        _ => Err(Errno::ENOENT),
    }
}

/// The family's description.
pub(super) fn describe(to: &mut Vec<u8>) {
    let mut w = Writer(to);
    w.name(FAMILY_NAME, Some(NAME));
    w.u16(FAMILY_ID, Some(FAMILY));
    w.u32(FAMILY_VERSION, Some(VERSION.into()));
    w.u32(HEADER_SIZE, Some(0));
    w.u32(MOST_ATTRIBUTES, Some(6));
    w.nest(OPERATIONS, |w| {
        for (place, command) in (1..).zip(Command::ALL) {
            w.nest(place, |w| operation(w, *command));
        }
    });
}

fn operation(w: &mut Writer<'_>, command: Command) {
    let can = |yes, flag| if yes { flag } else { 0 };
    let flags = can(command.can_do(), CAN_DO) | can(command.can_dump(), CAN_DUMP);
    w.u32(OPERATION_ID, Some(u32::from(command as u8)));
    w.u32(OPERATION_FLAGS, Some(ADMINISTRATOR | HAS_POLICY | flags));
}
