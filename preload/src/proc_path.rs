//! Which of the kernel's texts on IPVS a path names. A path leads there by `/proc/net`, which is a link to `/proc/self/net`, by a
//! process's or a thread's own folder, or from a folder that is open or worked in.

/// Longest name of a text, `ip_vs_stats_percpu` having 18 letters.
const LONGEST: usize = 31;

/// A text's name, as `/proc/net` has it.
fn text(name: &[u8]) -> Option<&[u8]> {
    let plain = |byte: &u8| byte.is_ascii_lowercase() || *byte == b'_';
    (name.starts_with(b"ip_vs") && name.len() <= LONGEST && name.iter().all(plain)).then_some(name)
}

/// The part of a path after its last slash, where it may be a text's name: everything else is settled without a look at folders.
pub(crate) fn last_part(path: &[u8]) -> Option<&[u8]> {
    path.rsplit(|byte| *byte == b'/').next().and_then(text)
}

/// Is this folder, an absolute path, one that has the network's texts?
fn is_network_folder(folder: &[u8]) -> bool {
    let mut parts = folder.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b"."));
    let mut number_or = |names: &[&[u8]]| {
        let part = parts.next()?;
        let known = names.contains(&part) || part.iter().all(u8::is_ascii_digit);
        known.then_some(part)
    };
    if number_or(&[b"proc"]) != Some(b"proc") {
        return false;
    }
    match number_or(&[b"net", b"self", b"thread-self"]) {
        Some(b"net") => return parts.next().is_none(),
        Some(_) => {}
        None => return false,
    }
    let rest: Vec<_> = parts.collect();
    match rest.as_slice() {
        [b"net"] => true,
        [b"task", thread, b"net"] => thread.iter().all(u8::is_ascii_digit),
        _ => false,
    }
}

/// The text that `path` names. `folder` is asked for the folder from which a relative path starts.
pub(crate) fn of(path: &[u8], folder: impl FnOnce() -> Option<Vec<u8>>) -> Option<&[u8]> {
    let name = last_part(path)?;
    let above = path.get(..path.len() - name.len())?;
    let whole = if path.starts_with(b"/") { above.to_vec() } else { [folder()?.as_slice(), b"/", above].concat() };
    is_network_folder(&whole).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named<'a>(path: &'a str, folder: Option<&str>) -> Option<&'a str> {
        let found = of(path.as_bytes(), || folder.map(|folder| folder.as_bytes().to_vec()));
        found.map(|name| std::str::from_utf8(name).unwrap())
    }

    #[test]
    fn every_way_to_a_text_is_known() {
        for path in [
            "/proc/net/ip_vs",
            "/proc/self/net/ip_vs",
            "/proc/thread-self/net/ip_vs",
            "/proc/1/net/ip_vs",
            "/proc/12345/task/12346/net/ip_vs",
            "//proc/./net//ip_vs",
        ] {
            assert_eq!(named(path, None), Some("ip_vs"), "{path}");
        }
        for name in ["ip_vs_conn", "ip_vs_conn_sync", "ip_vs_stats", "ip_vs_stats_percpu", "ip_vs_app"] {
            assert_eq!(named(&format!("/proc/net/{name}"), None).map(str::to_owned), Some(name.to_owned()));
        }
    }

    #[test]
    fn nothing_else_is_taken() {
        for path in [
            "/proc/net/dev",
            "/proc/net/ip_vs/more",
            "/proc/net/ip_vs/",
            "/proc/net/IP_VS",
            "/proc/net/ip_vs.txt",
            "/proc/ip_vs",
            "/proc/net/stat/ip_vs",
            "/proc/self/ip_vs",
            "/proc/self/task/net/ip_vs",
            "/proc/sys/net/ip_vs",
            "/tmp/ip_vs",
            "/home/proc/net/ip_vs",
            "ip_vs",
            "",
            "/",
            "/proc/net/ip_vs_very_long_name_of_a_text_that_is_none",
        ] {
            assert_eq!(named(path, Some("/root")), None, "{path}");
        }
    }

    #[test]
    fn a_relative_path_starts_from_its_folder() {
        assert_eq!(named("ip_vs_conn", Some("/proc/net")), Some("ip_vs_conn"));
        assert_eq!(named("./ip_vs_conn", Some("/proc/77/net")), Some("ip_vs_conn"));
        assert_eq!(named("net/ip_vs", Some("/proc")), Some("ip_vs"));
        assert_eq!(named("ip_vs", Some("/proc/77")), None);
        assert_eq!(named("ip_vs", None), None);
    }

    #[test]
    fn the_folder_is_asked_for_only_where_a_text_may_be_named() {
        let never = || -> Option<Vec<u8>> { panic!("asked") };
        assert_eq!(of(b"some/file", never), None);
        assert_eq!(of(b"/tmp/ip_vs", never), None);
    }
}
