//! Values of the configuration that are more than TOML's own: each is checked while it is read, so that the error carries its line.

use std::fmt;
use std::marker::PhantomData;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use serde::de::{self, Error as _, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::family::Address as _;

/// A number, or `"auto"`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Auto<T> {
    /// The program chooses.
    #[default]
    Auto,
    /// This.
    Is(T),
}

impl<T: Copy> Auto<T> {
    /// The number, or `default` when the program is to choose.
    pub fn unwrap_or(self, default: T) -> T {
        match self {
            Self::Auto => default,
            Self::Is(value) => value,
        }
    }

    /// The number, if there is one.
    pub fn given(self) -> Option<T> {
        match self {
            Self::Auto => None,
            Self::Is(value) => Some(value),
        }
    }
}

impl<T: Serialize> Serialize for Auto<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str("auto"),
            Self::Is(value) => value.serialize(serializer),
        }
    }
}

impl<'de, T: TryFrom<u64>> Deserialize<'de> for Auto<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AutoVisitor(PhantomData))
    }
}

struct AutoVisitor<T>(PhantomData<T>);

impl<T: TryFrom<u64>> Visitor<'_> for AutoVisitor<T> {
    type Value = Auto<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"auto\" or a number of {} bits", 8 * size_of::<T>())
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Auto<T>, E> {
        if text == "auto" { Ok(Auto::Auto) } else { Err(E::invalid_value(Unexpected::Str(text), &self)) }
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Auto<T>, E> {
        T::try_from(number).map(Auto::Is).map_err(|_| E::invalid_value(Unexpected::Unsigned(number), &self))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Auto<T>, E> {
        let value = u64::try_from(number).ok().and_then(|n| T::try_from(n).ok());
        value.map(Auto::Is).ok_or_else(|| E::invalid_value(Unexpected::Signed(number), &self))
    }
}

/// An address with its prefix length, as `ip addr` takes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cidr {
    /// The address.
    pub address: IpAddr,
    /// The prefix length.
    pub prefix: u8,
}

impl Cidr {
    /// Is that an address of the network?
    pub fn holds(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(a)) => own.to_bits().masked(self.prefix) == a.to_bits().masked(self.prefix),
            (IpAddr::V6(own), IpAddr::V6(a)) => own.to_bits().masked(self.prefix) == a.to_bits().masked(self.prefix),
            _ => false,
        }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("{text:?} is no address with prefix length; write \"192.0.2.1/24\" or \"2001:db8::1/64\"");
        let (address, prefix) = text.split_once('/').ok_or_else(wrong)?;
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let prefix: u8 = prefix.parse().map_err(|_| wrong())?;
        if prefix > if address.is_ipv4() { 32 } else { 128 } {
            return Err(wrong());
        }
        Ok(Self { address, prefix })
    }
}

impl Serialize for Cidr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cidr {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// Where something listens.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Listen {
    /// Nowhere.
    #[default]
    Off,
    /// On an address and port.
    Tcp(SocketAddr),
    /// On a unix socket.
    Unix(PathBuf),
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => Ok(()),
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{text:?} is nothing to listen on; write \"127.0.0.1:9731\", \"[::1]:9731\", the path of a unix socket, or \"\" for none"
            )
        };
        match text {
            "" => Ok(Self::Off),
            path if path.starts_with('/') => Ok(Self::Unix(path.into())),
            address => address.parse().map_err(|_| wrong()).and_then(|address: SocketAddr| {
                if address.port() == 0 { Err(wrong()) } else { Ok(Self::Tcp(address)) }
            }),
        }
    }
}

impl Serialize for Listen {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Listen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// Reads a number within bounds.
fn within<'de, D, T>(deserializer: D, least: u64, most: u64) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<u64>,
{
    let number = i64::deserialize(deserializer)?;
    let fits = u64::try_from(number).ok().filter(|n| (least..=most).contains(n)).and_then(|n| T::try_from(n).ok());
    fits.ok_or_else(|| D::Error::custom(format!("{number} cannot be; give {least} to {most}")))
}

pub(super) fn workers<'de, D: Deserializer<'de>>(d: D) -> Result<u16, D::Error> {
    within(d, 1, 64)
}

pub(super) fn burst<'de, D: Deserializer<'de>>(d: D) -> Result<u16, D::Error> {
    within(d, 1, crate::burst::CAPACITY as u64)
}

pub(super) fn entries<'de, D: Deserializer<'de>>(d: D) -> Result<u32, D::Error> {
    within(d, 16, 1 << 30)
}

pub(super) fn side_entries<'de, D: Deserializer<'de>>(d: D) -> Result<u32, D::Error> {
    within(d, 1, 65_535)
}

pub(super) fn rules<'de, D: Deserializer<'de>>(d: D) -> Result<u32, D::Error> {
    within(d, 1, 1 << 20)
}

pub(super) fn memory<'de, D: Deserializer<'de>>(d: D) -> Result<u32, D::Error> {
    within(d, 16, 1 << 24)
}

pub(super) fn percent<'de, D: Deserializer<'de>>(d: D) -> Result<u8, D::Error> {
    within(d, 0, 100)
}

pub(super) fn per_second<'de, D: Deserializer<'de>>(d: D) -> Result<u32, D::Error> {
    within(d, 1, 1 << 30)
}

pub(super) fn descriptors<'de, D: Deserializer<'de>>(d: D) -> Result<u16, D::Error> {
    within(d, 32, 32_768)
}

pub(super) fn default_descriptors() -> u16 {
    1024
}

pub(super) fn yes() -> bool {
    true
}

/// Checks that the kernel would take the name for an interface.
pub(super) fn check_name(what: &str, name: &str) -> Result<(), String> {
    let fits = (1..=15).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_graphic() && b != b'/' && b != b':');
    if fits && name != "." && name != ".." {
        return Ok(());
    }
    let what = what.rsplit('.').next().unwrap_or(what);
    let article = if what == "interface" { "an" } else { "a" };
    Err(format!(
        "{name:?} cannot be {article} {what}; give 1 to 15 letters and digits, as the kernel takes for an interface"
    ))
}
