//! The strict mode, POLLVS_IPVS_STRICT=1: the kernel may have an IPVS as well, and nothing that is meant for the director changes
//! that one. Besides netlink, programs reach it by the old socket options and by loading its module.
use libc::c_int;

/// The first and last of IPVS's options of IPPROTO_IP (`linux/ip_vs.h`, IP_VS_BASE_CTL to IP_VS_SO_SET_MAX).
const OPTIONS: std::ops::RangeInclusive<c_int> = 1152..=1167;
/// Programs that load modules.
const LOADERS: [&[u8]; 3] = [b"modprobe", b"insmod", b"kmod"];

/// Is this socket option one of the old interface to the kernel's IPVS?
pub(crate) fn is_option(level: c_int, option: c_int) -> bool {
    level == libc::IPPROTO_IP && OPTIONS.contains(&option)
}

fn base(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
}

/// Does this program, with these arguments, load a module of IPVS?
pub(crate) fn loads_ipvs<'a>(program: &[u8], mut arguments: impl Iterator<Item = &'a [u8]>) -> bool {
    LOADERS.contains(&base(program)) && arguments.any(|argument| base(argument).starts_with(b"ip_vs"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_old_options_of_ipvs_and_no_others() {
        assert!(is_option(libc::IPPROTO_IP, 1152) && is_option(libc::IPPROTO_IP, 1167));
        for (level, option) in [(libc::IPPROTO_IP, 1151), (libc::IPPROTO_IP, 1168), (libc::SOL_SOCKET, 1152), (0, 64)] {
            assert!(!is_option(level, option), "{level} {option}");
        }
    }

    #[test]
    fn the_loading_of_ipvs_and_of_nothing_else() {
        let loads = |line: &str| {
            let words: Vec<_> = line.split(' ').map(str::as_bytes).collect();
            loads_ipvs(words[0], words.iter().copied())
        };
        for line in
            ["/sbin/modprobe -- ip_vs", "modprobe -va ip_vs_rr", "insmod /lib/modules/ip_vs.ko", "kmod insert ip_vs"]
        {
            assert!(loads(line), "{line}");
        }
        for line in ["/sbin/modprobe nf_nat", "ipvsadm -Ln", "echo ip_vs", "modprobe"] {
            assert!(!loads(line), "{line}");
        }
    }
}
