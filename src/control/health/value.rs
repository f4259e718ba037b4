//! Values of a check that are more than TOML's and JSON's own.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{self, Error as _, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A time in seconds, to the millisecond: `5` or `0.5`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seconds(u32);

impl Seconds {
    /// Whole seconds.
    pub const fn new(seconds: u32) -> Self {
        Self(seconds * 1000)
    }

    /// Milliseconds.
    pub const fn millis(millis: u32) -> Self {
        Self(millis)
    }

    /// As a duration.
    pub fn duration(self) -> Duration {
        Duration::from_millis(self.0.into())
    }
}

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", f64::from(self.0) / 1000.0)
    }
}

impl fmt::Debug for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self} s")
    }
}

impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.is_multiple_of(1000) {
            serializer.serialize_u32(self.0 / 1000)
        } else {
            serializer.serialize_f64(f64::from(self.0) / 1000.0)
        }
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SecondsVisitor)
    }
}

struct SecondsVisitor;

impl Visitor<'_> for SecondsVisitor {
    type Value = Seconds;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("seconds, such as 5 or 0.5")
    }

    fn visit_f64<E: de::Error>(self, seconds: f64) -> Result<Seconds, E> {
        let millis = (seconds * 1000.0).round();
        if !(0.0..=f64::from(u32::MAX)).contains(&millis) {
            return Err(E::invalid_value(Unexpected::Float(seconds), &self));
        }
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it was just compared")]
        Ok(Seconds(millis as u32))
    }

    fn visit_i64<E: de::Error>(self, seconds: i64) -> Result<Seconds, E> {
        let millis = u32::try_from(seconds).ok().and_then(|s| s.checked_mul(1000));
        millis.map(Seconds).ok_or_else(|| E::invalid_value(Unexpected::Signed(seconds), &self))
    }

    fn visit_u64<E: de::Error>(self, seconds: u64) -> Result<Seconds, E> {
        let millis = u32::try_from(seconds).ok().and_then(|s| s.checked_mul(1000));
        millis.map(Seconds).ok_or_else(|| E::invalid_value(Unexpected::Unsigned(seconds), &self))
    }
}

/// Status codes of HTTP from one to another: `200` or `"200-399"`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StatusRange {
    low: u16,
    high: u16,
}

impl StatusRange {
    /// From `low` to `high`, both among them.
    pub const fn new(low: u16, high: u16) -> Self {
        Self { low, high }
    }

    /// Is the code among them?
    pub fn holds(self, code: u16) -> bool {
        (self.low..=self.high).contains(&code)
    }
}

impl fmt::Display for StatusRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.low == self.high { write!(f, "{}", self.low) } else { write!(f, "{}-{}", self.low, self.high) }
    }
}

impl FromStr for StatusRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (low, high) = text.split_once('-').unwrap_or((text, text));
        let code = |text: &str| text.trim().parse().ok().filter(|code| (100..=599).contains(code));
        match (code(low), code(high)) {
            (Some(low), Some(high)) if low <= high => Ok(Self { low, high }),
            _ => Err(format!("{text:?} is no status; give 200, or a range such as \"200-399\", within 100 to 599")),
        }
    }
}

impl Serialize for StatusRange {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.low == self.high { serializer.serialize_u16(self.low) } else { serializer.collect_str(self) }
    }
}

impl<'de> Deserialize<'de> for StatusRange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "expected a status such as 200, or a range such as \"200-399\"")]
        enum Either {
            Code(i64),
            Range(String),
        }
        let text = match Either::deserialize(deserializer)? {
            Either::Code(code) => code.to_string(),
            Either::Range(text) => text,
        };
        text.parse().map_err(D::Error::custom)
    }
}

/// What is sent or expected: text, or bytes in hexadecimal after `hex:`.
#[derive(Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Bytes(String);

impl Bytes {
    /// The bytes.
    pub fn bytes(&self) -> Vec<u8> {
        match self.0.strip_prefix("hex:") {
            None => self.0.clone().into_bytes(),
            Some(digits) => hex(digits).unwrap_or_default(),
        }
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("hex:") {
            Some(digits) if hex(digits).is_none() => {
                Err(format!("{text:?} is not hexadecimal; write two digits for each byte, as in \"hex:00ff\""))
            }
            _ => Ok(Self(text.to_owned())),
        }
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

fn hex(digits: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = digits.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    let nibble = |b: u8| char::from(b).to_digit(16).and_then(|n| u8::try_from(n).ok());
    let pair = |pair: &[u8]| match pair {
        [high, low] => Some(nibble(*high)? << 4 | nibble(*low)?),
        _ => None,
    };
    digits.chunks(2).map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_and_written_alike() {
        for (json, read) in [("5", 5000), ("0.25", 250), ("2.5", 2500), ("0", 0)] {
            let seconds: Seconds = serde_json::from_str(json).unwrap();
            assert_eq!((seconds, serde_json::to_string(&seconds).unwrap().as_str()), (Seconds(read), json));
        }
        for json in ["-1", "1e20", "9999999999", "\"5\"", "-0.5"] {
            assert!(serde_json::from_str::<Seconds>(json).is_err(), "{json}");
        }
        for (json, inside, outside) in [("200", 200, 201), ("\"200-399\"", 302, 404)] {
            let range: StatusRange = serde_json::from_str(json).unwrap();
            assert_eq!(serde_json::to_string(&range).unwrap(), json);
            assert!(range.holds(inside) && !range.holds(outside));
        }
        for json in ["99", "600", "\"300-200\"", "\"2xx\"", "true", "-200"] {
            assert!(serde_json::from_str::<StatusRange>(json).is_err(), "{json}");
        }
        for (text, bytes) in [("GET\r\n", &b"GET\r\n"[..]), ("hex:00fF 10", &[0, 255, 16]), ("", b""), ("hex:", b"")] {
            assert_eq!(text.parse::<Bytes>().unwrap().bytes(), bytes);
        }
        assert!("hex:0".parse::<Bytes>().is_err() && "hex:zz".parse::<Bytes>().is_err());
    }
}
