//! What the environment says: POLLVS_IPVS_SOCKET, POLLVS_IPVS_STRICT, POLLVS_IPVS_WAIT, POLLVS_IPVS_TIMEOUT. Read once, since the
//! C library's environment may not be read while another thread changes it.
use std::ffi::CStr;
use std::sync::OnceLock;

/// Where pollvsd listens when nothing else is said.
const SOCKET: &[u8] = b"/run/pollvs/ipvs.sock";
/// Bytes of a unix socket's name, its ending zero among them (`sun_path`).
const NAME: usize = 108;
/// Milliseconds that a director which restarts is waited for.
const WAIT: u32 = 5_000;
/// Milliseconds that an answer is waited for.
const TIMEOUT: u32 = 15_000;
/// More than this, an hour, is no number of milliseconds that somebody means.
const LONGEST: f64 = 3_600_000.0;

/// The settings of this process.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// The name of pollvsd's socket.
    pub(crate) socket: Vec<u8>,
    /// Is the kernel's IPVS left alone, whatever happens?
    pub(crate) strict: bool,
    /// Milliseconds that a director which is not there is waited for.
    pub(crate) wait: u32,
    /// Milliseconds after which a director that does not answer counts as gone.
    pub(crate) timeout: u32,
    /// What is wrong with the environment, for people.
    pub(crate) complaint: Option<&'static str>,
}

/// Milliseconds of a number of seconds.
fn milliseconds(text: &[u8]) -> Option<u32> {
    let seconds: f64 = std::str::from_utf8(text).ok()?.trim().parse().ok()?;
    let milliseconds = seconds * 1000.0;
    (0.0..=LONGEST).contains(&milliseconds).then_some(milliseconds as u32)
}

impl Settings {
    /// Reads what `variable` knows by name. What cannot be read is complained of, and its default holds; a mode that cannot be
    /// read is the strict one, which refuses rather than change the wrong table.
    pub(crate) fn read(variable: impl Fn(&CStr) -> Option<Vec<u8>>) -> Self {
        let set = |name| variable(name).filter(|value| !value.is_empty());
        let mut settings =
            Self { socket: SOCKET.to_vec(), strict: false, wait: WAIT, timeout: TIMEOUT, complaint: None };
        match set(c"POLLVS_IPVS_SOCKET") {
            Some(name) if name.len() < NAME => settings.socket = name,
            Some(_) => settings.complaint = Some("POLLVS_IPVS_SOCKET is longer than the 107 bytes of a socket's name"),
            None => {}
        }
        match set(c"POLLVS_IPVS_STRICT").as_deref() {
            None | Some(b"0") => {}
            Some(b"1") => settings.strict = true,
            Some(_) => {
                settings.strict = true;
                settings.complaint = Some("POLLVS_IPVS_STRICT is 0 or 1; it is taken for 1");
            }
        }
        let times = [
            (c"POLLVS_IPVS_WAIT", &mut settings.wait, "POLLVS_IPVS_WAIT is not a number of seconds; it is taken for 5"),
            (
                c"POLLVS_IPVS_TIMEOUT",
                &mut settings.timeout,
                "POLLVS_IPVS_TIMEOUT is not a number of seconds; it is taken for 15",
            ),
        ];
        for (name, time, complaint) in times {
            match set(name).map(|text| milliseconds(&text)) {
                Some(Some(milliseconds)) => *time = milliseconds,
                Some(None) => settings.complaint = Some(complaint),
                None => {}
            }
        }
        settings
    }
}

/// The value of an environment variable.
fn variable(name: &CStr) -> Option<Vec<u8>> {
    // SAFETY: the name ends with a zero byte; the value is copied before anything else runs in this thread. As with every
    // `getenv`, no other thread may change the environment meanwhile: it runs once, as the library is loaded.
    unsafe {
        let value = libc::getenv(name.as_ptr());
        (!value.is_null()).then(|| CStr::from_ptr(value).to_bytes().to_vec())
    }
}

/// The settings, read at the first call.
pub(crate) fn get() -> &'static Settings {
    static SETTINGS: OnceLock<Settings> = OnceLock::new();
    SETTINGS.get_or_init(|| Settings::read(variable))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Settings {
        Settings::read(|name| {
            let found = variables.iter().find(|(known, _)| known.as_bytes() == name.to_bytes());
            found.map(|(_, value)| value.as_bytes().to_vec())
        })
    }

    #[test]
    fn nothing_said_is_the_default() {
        let expected =
            Settings { socket: SOCKET.to_vec(), strict: false, wait: 5000, timeout: 15_000, complaint: None };
        assert_eq!(read(&[]), expected);
        let empty = ["SOCKET", "STRICT", "WAIT", "TIMEOUT"].map(|name| (format!("POLLVS_IPVS_{name}"), ""));
        let empty: Vec<_> = empty.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        assert_eq!(read(&empty), expected);
    }

    #[test]
    fn each_variable_is_read() {
        let settings = read(&[
            ("POLLVS_IPVS_SOCKET", "/tmp/s"),
            ("POLLVS_IPVS_STRICT", "1"),
            ("POLLVS_IPVS_WAIT", "0.25"),
            ("POLLVS_IPVS_TIMEOUT", "60"),
        ]);
        let expected =
            Settings { socket: b"/tmp/s".to_vec(), strict: true, wait: 250, timeout: 60_000, complaint: None };
        assert_eq!(settings, expected);
        assert!(!read(&[("POLLVS_IPVS_STRICT", "0")]).strict);
    }

    #[test]
    fn what_cannot_be_read_is_complained_of() {
        let long = "x".repeat(108);
        for (name, value) in [
            ("SOCKET", long.as_str()),
            ("STRICT", "yes"),
            ("WAIT", "soon"),
            ("WAIT", "-1"),
            ("WAIT", "NaN"),
            ("WAIT", "1e9"),
            ("TIMEOUT", "5s"),
        ] {
            let settings = read(&[(&format!("POLLVS_IPVS_{name}"), value)]);
            assert!(settings.complaint.is_some_and(|words| words.contains(name)), "{name}={value}");
            assert_eq!((settings.wait, settings.timeout), (5000, 15_000));
            assert_eq!(settings.strict, name == "STRICT");
        }
        assert_eq!(read(&[("POLLVS_IPVS_SOCKET", &long[1..])]).socket.len(), 107);
    }
}
