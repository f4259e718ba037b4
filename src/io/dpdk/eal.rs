//! DPDK's environment: memory, threads, log. It is started once in the life of a process and never taken down before its end,
//! since frames, pools and ports stand on its memory. DPDK 22.11, "EAL parameters" of the Linux guide.

use std::ffi::CStr;
use std::fs;
use std::marker::PhantomData;

use super::{c_string, last_errno, reason};

/// Where frames live.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum HugePages {
    /// In huge pages when enough of them are free.
    #[default]
    Auto,
    /// In huge pages, or fail.
    Always,
    /// In ordinary pages.
    Never,
}

/// How to start the environment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EalOptions {
    /// Memory for all pools and rings, in MiB.
    pub memory_mib: u32,
    /// Where that memory comes from.
    pub huge_pages: HugePages,
    /// PCI addresses of the devices to take; the PCI bus is left alone when there are none.
    pub pci: Vec<String>,
    /// CPUs that the calling thread and DPDK's own threads run on, as in `0-3,8`; where the caller may run now, unless set.
    pub cpus: Option<String>,
    /// Name of this program's runtime directory.
    pub file_prefix: String,
    /// More arguments for `rte_eal_init`, after all others.
    pub extra: Vec<String>,
}

impl Default for EalOptions {
    fn default() -> Self {
        Self {
            memory_mib: 256,
            huge_pages: HugePages::Auto,
            pci: Vec::new(),
            cpus: None,
            file_prefix: "pollvs".into(),
            extra: Vec::new(),
        }
    }
}

/// Why the environment does not start.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EalError {
    /// Too few huge pages.
    #[error(
        "{wanted_mib} MiB of huge pages are asked for and {free_mib} MiB are free; reserve more (`sysctl -w vm.nr_hugepages={}`, 2 MiB \
         each), or write huge = \"auto\" in [dpdk], or allow_fewer = true in [director]",
        .wanted_mib.div_ceil(2)
    )]
    HugePages {
        /// MiB asked for.
        wanted_mib: u32,
        /// MiB free, in pages of all sizes.
        free_mib: u64,
    },
    /// `rte_eal_init` failed.
    #[error("DPDK does not start: {reason}; {remedy} (arguments: {arguments})")]
    Init {
        /// DPDK's reason.
        reason: String,
        /// What to do.
        remedy: &'static str,
        /// What it was started with.
        arguments: String,
    },
    /// A thread cannot be registered.
    #[error("DPDK does not take another thread: {0}; it has room for 128 in all")]
    Thread(String),
}

/// The started environment. Whoever has it may make pools and open ports.
#[derive(Debug)]
pub struct Eal {
    huge_pages: bool,
}

impl Eal {
    /// Starts the environment. The caller's thread keeps the CPUs that it may run on.
    ///
    /// # Errors
    /// When huge pages are asked for and too few are free, and when DPDK refuses: a process can start it only once.
    pub fn start(options: &EalOptions) -> Result<Self, EalError> {
        let huge_pages = use_huge_pages(options)?;
        let arguments = arguments(options, huge_pages);
        init(&arguments)?;
        remove_runtime_directory();
        Ok(Self { huge_pages })
    }

    /// Are frames in huge pages?
    pub fn has_huge_pages(&self) -> bool {
        self.huge_pages
    }
}

fn use_huge_pages(options: &EalOptions) -> Result<bool, EalError> {
    let free_mib = free_huge_pages_mib();
    let enough = free_mib >= u64::from(options.memory_mib);
    match options.huge_pages {
        HugePages::Never => Ok(false),
        HugePages::Auto => Ok(enough),
        HugePages::Always if enough => Ok(true),
        HugePages::Always => Err(EalError::HugePages { wanted_mib: options.memory_mib, free_mib }),
    }
}

/// Memory in free huge pages of all sizes, from sysfs; 0 where the kernel has none.
fn free_huge_pages_mib() -> u64 {
    let Ok(sizes) = fs::read_dir("/sys/kernel/mm/hugepages") else { return 0 };
    let kib = sizes.flatten().filter_map(|size| {
        let name = size.file_name().into_string().ok()?;
        let page: u64 = name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
        let free: u64 = fs::read_to_string(size.path().join("free_hugepages")).ok()?.trim().parse().ok()?;
        Some(page * free)
    });
    kib.sum::<u64>() / 1024
}

fn arguments(options: &EalOptions, huge_pages: bool) -> Vec<String> {
    let fixed = ["pollvs", "--no-telemetry", "--log-level=error", "--iova-mode=va"];
    let mut arguments: Vec<String> = fixed.map(String::from).into();
    arguments.push(format!("--file-prefix={}", options.file_prefix));
    if let Some(cpus) = options.cpus.clone().or_else(allowed_cpus) {
        // One lcore that floats over these CPUs; DPDK would pin the calling thread to one of them otherwise.
        arguments.push(format!("--lcores=0@({cpus})"));
    }
    // Neither leaves files behind. DPDK refuses --in-memory without huge pages.
    let memory: &[&str] = if huge_pages { &["--in-memory"] } else { &["--no-huge", "--no-shconf"] };
    arguments.extend(memory.iter().map(|&argument| argument.into()));
    arguments.extend(["-m".into(), options.memory_mib.to_string()]);
    if options.pci.is_empty() {
        arguments.push("--no-pci".into());
    }
    arguments.extend(options.pci.iter().flat_map(|address| ["-a".into(), address.clone()]));
    arguments.extend(options.extra.iter().cloned());
    arguments
}

/// The CPUs that the calling thread may run on, as the kernel lists them.
fn allowed_cpus() -> Option<String> {
    let status = fs::read_to_string("/proc/thread-self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    Some(line.trim().to_owned())
}

fn init(arguments: &[String]) -> Result<(), EalError> {
    // DPDK reorders the array and keeps pointers into it: both live as long as the process.
    let pointers: Vec<_> = arguments.iter().map(|argument| c_string(argument).into_raw()).collect();
    let count = i32::try_from(pointers.len()).unwrap_or(i32::MAX);
    // SAFETY: `count` pointers to NUL-terminated strings, leaked and so valid and writable for good.
    let parsed = unsafe { dpdk_sys::rte_eal_init(count, pointers.leak().as_mut_ptr()) };
    if parsed >= 0 {
        return Ok(());
    }
    let errno = last_errno();
    Err(EalError::Init { reason: reason(errno), remedy: remedy(errno), arguments: arguments[1..].join(" ") })
}

/// What to do about an error number of `rte_eal_init`'s (rte_eal.h lists them).
fn remedy(errno: i32) -> &'static str {
    const EPERM: i32 = 1;
    const ENOMEM: i32 = 12;
    const EACCES: i32 = 13;
    const EINVAL: i32 = 22;
    const EALREADY: i32 = 114;
    match errno {
        EPERM | EACCES => "run it as root",
        ENOMEM => "ask for less memory, or reserve more huge pages",
        EINVAL => "check the CPUs, the PCI addresses and the extra arguments",
        EALREADY => "a process can start it only once",
        _ => "DPDK says more on standard error",
    }
}

/// DPDK always makes a directory, and with --in-memory or --no-shconf never puts anything there. If the extra arguments say
/// otherwise it is not empty, and stays.
fn remove_runtime_directory() {
    // SAFETY: the environment is started, so the directory's name is set; it is a static NUL-terminated string.
    let name = unsafe { CStr::from_ptr(dpdk_sys::rte_eal_get_runtime_dir()) };
    let _ = name.to_str().map(fs::remove_dir);
}

/// A thread that DPDK knows, and gives a cache of buffers in every pool, until this is dropped.
#[derive(Debug)]
pub struct RegisteredThread {
    ours: bool,
    /// Belongs to one thread.
    not_send: PhantomData<*const ()>,
}

/// Makes the calling thread known to DPDK. Pin it first. A thread that DPDK knows already stays as it is. An unregistered thread
/// may do all that a registered one may, with slower allocation.
///
/// # Errors
/// When the environment is not started, or has no room for another thread.
pub fn register_thread() -> Result<RegisteredThread, EalError> {
    // SAFETY: reads a thread-local variable.
    let known = unsafe { dpdk_sys::dpdk_lcore_id() } != u32::MAX;
    // SAFETY: no condition; it fails when the environment is not started.
    if !known && unsafe { dpdk_sys::rte_thread_register() } < 0 {
        return Err(EalError::Thread(reason(last_errno())));
    }
    Ok(RegisteredThread { ours: !known, not_send: PhantomData })
}

impl Drop for RegisteredThread {
    fn drop(&mut self) {
        if self.ours {
            // SAFETY: this thread was registered by `register_thread`; the value cannot have moved to another.
            unsafe { dpdk_sys::rte_thread_unregister() };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(options: &EalOptions, huge_pages: bool) -> String {
        arguments(options, huge_pages).join(" ")
    }

    #[test]
    fn ordinary_memory_leaves_no_files_and_the_pci_bus_alone() {
        let text = joined(&EalOptions { cpus: Some("0-1".into()), ..EalOptions::default() }, false);
        assert_eq!(
            text,
            "pollvs --no-telemetry --log-level=error --iova-mode=va --file-prefix=pollvs --lcores=0@(0-1) --no-huge \
             --no-shconf -m 256 --no-pci"
        );
    }

    #[test]
    fn pci_devices_are_named_and_extra_arguments_come_last() {
        let options = EalOptions {
            pci: vec!["0000:01:00.0".into(), "0000:01:00.1".into()],
            extra: vec!["--log-level=debug".into()],
            ..EalOptions::default()
        };
        let text = joined(&options, true);
        assert!(text.ends_with("--in-memory -m 256 -a 0000:01:00.0 -a 0000:01:00.1 --log-level=debug"), "{text}");
        assert!(!text.contains("--no-pci"));
    }

    #[test]
    fn huge_pages_that_are_not_there_are_an_error_only_when_insisted_on() {
        let options = |huge_pages| EalOptions { memory_mib: u32::MAX, huge_pages, ..EalOptions::default() };
        assert_eq!(use_huge_pages(&options(HugePages::Auto)), Ok(false));
        assert_eq!(use_huge_pages(&options(HugePages::Never)), Ok(false));
        let error = use_huge_pages(&options(HugePages::Always)).unwrap_err();
        assert!(error.to_string().contains("vm.nr_hugepages"), "{error}");
    }
}
