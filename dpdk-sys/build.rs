//! Finds DPDK, generates the bindings and compiles the shim. Whatever is missing is told in one sentence that names the
//! Debian packages.
use std::env;
use std::path::{Path, PathBuf};

type Result<T> = std::result::Result<T, String>;

const FUNCTIONS: &[&str] = &[
    // The shim.
    "dpdk_.*",
    // Environment, threads, log.
    "rte_eal_init",
    "rte_eal_get_runtime_dir",
    "rte_strerror",
    "rte_thread_(un)?register",
    // Buffers.
    "rte_pktmbuf_pool_create",
    "rte_mempool_avail_count",
    // Devices.
    "rte_dev_(probe|remove|name)",
    "rte_dev_event_callback_(register|unregister|process)",
    "rte_eth_dev_(get_port_by_name|info_get|configure|start|stop|close|get_mtu|socket_id|is_removed)",
    "rte_eth_dev_(callback_register|callback_unregister|default_mac_addr_set)",
    "rte_eth_dev_adjust_nb_rx_tx_desc",
    "rte_eth_[rt]x_queue_setup",
    "rte_eth_(macaddr_get|promiscuous_enable|allmulticast_enable|link_get_nowait|stats_get)",
    "rte_eth_dev_rss_(hash_update|hash_conf_get|reta_update|reta_query)",
];
const TYPES: &[&str] = &["rte_eth_(conf|dev_info|stats|link|rss_conf|rss_reta_entry64)", "rte_mbuf", "rte_ether_addr"];
const CONSTANTS: &[&str] = &[
    "DPDK_.*",
    "RTE_MAX_ETHPORTS",
    "RTE_PKTMBUF_HEADROOM",
    "RTE_ETH_LINK_UP",
    "RTE_ETH_MQ_RX_(NONE|RSS)",
    "RTE_ETH_EVENT_INTR_RMV",
    "RTE_DEV_EVENT_REMOVE",
];

/// What the program calls itself.
const LIBRARIES: &[&str] = &["ethdev", "mbuf", "mempool", "eal"];

/// All drivers that a static program carries, and what they stand on. The drivers announce themselves in constructors that
/// nothing calls by name, hence whole archives.
const ARCHIVES: &str = "net_null net_ring net_pcap net_af_packet net_af_xdp net_tap net_memif net_vhost net_virtio bus_vdev \
    bus_pci mempool_ring vhost cryptodev dmadev pdump pcapng bpf gso ip_frag timer hash rcu metrics ethdev meter net mbuf \
    mempool pci ring security telemetry kvargs eal";
const SYSTEM_LIBRARIES: &str = "pcap xdp bpf numa bsd elf m dl crypto jansson";

fn main() {
    for file in ["wrapper.h", "shim.h", "shim.c", "build.rs"] {
        println!("cargo::rerun-if-changed={file}");
    }
    if let Err(cause) = build() {
        println!(
            "cargo::error=pollvs needs DPDK 22.11 to build; install it with `apt-get install --no-install-recommends \
             libdpdk-dev libclang-dev pkg-config gcc`, or build without it with `--no-default-features` ({cause})"
        );
    }
}

fn build() -> Result<()> {
    let dpdk = find_dpdk()?;
    generate_bindings(&dpdk.cflags)?;
    compile_shim(&dpdk.cflags)?;
    link(&dpdk.folders);
    Ok(())
}

struct Dpdk {
    cflags: Vec<String>,
    folders: Vec<PathBuf>,
}

fn find_dpdk() -> Result<Dpdk> {
    let library = pkg_config::Config::new()
        .range_version("22.11".."23")
        .cargo_metadata(false)
        .probe("libdpdk")
        .map_err(|error| one_line(&pkg_config_cause(&error)))?;
    let mut cflags: Vec<String> = library.include_paths.iter().map(|path| format!("-I{}", path.display())).collect();
    // The pkg-config crate passes on neither of these; without them structures could be laid out differently.
    cflags.extend(["-include", "rte_config.h"].map(String::from));
    if env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|arch| arch == "x86_64") {
        cflags.push("-march=corei7".into());
    }
    Ok(Dpdk { cflags, folders: library.link_paths })
}

fn pkg_config_cause(error: &pkg_config::Error) -> String {
    match error {
        pkg_config::Error::Command { .. } => "pkg-config does not start".into(),
        pkg_config::Error::ProbeFailure { .. } => "pkg-config finds no libdpdk".into(),
        other => other.to_string(),
    }
}

fn generate_bindings(cflags: &[String]) -> Result<()> {
    // bindgen panics when libclang is missing; ask first.
    clang_sys::load().map_err(|error| format!("no libclang: {}", one_line(&error)))?;
    let mut builder = bindgen::Builder::default()
        .header("wrapper.h")
        .clang_args(cflags)
        .use_core()
        .layout_tests(false)
        .derive_debug(false)
        .derive_default(false)
        .generate_comments(false)
        .prepend_enum_name(false)
        // Packed and aligned at once, which Rust does not have.
        .opaque_type("rte_l2tpv2_combined_msg_hdr")
        // Thread-local, see lib.rs.
        .blocklist_item("per_lcore_.*");
    for name in FUNCTIONS {
        builder = builder.allowlist_function(name);
    }
    for name in TYPES {
        builder = builder.allowlist_type(name);
    }
    for name in CONSTANTS {
        builder = builder.allowlist_var(name);
    }
    let bindings = builder.generate().map_err(|error| format!("bindgen: {}", one_line(&error.to_string())))?;
    let file = Path::new(&env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("bindings.rs");
    bindings.write_to_file(&file).map_err(|error| format!("{}: {error}", file.display()))
}

fn compile_shim(cflags: &[String]) -> Result<()> {
    let mut build = cc::Build::new();
    build.file("shim.c").cargo_warnings(false).std("gnu11");
    for flag in cflags {
        build.flag(flag);
    }
    build.try_compile("dpdk_shim").map_err(|error| format!("C compiler: {}", one_line(&error.to_string())))
}

/// Shared libraries go to whichever program calls them: rustc links as needed, and its linker counts live code only, so the
/// client gets none. Whole archives would go to every program; their arguments are handed to pollvs's build script, which
/// gives them to the programs that forward packets (`DEP_DPDK_LINK_ARGUMENTS`).
fn link(folders: &[PathBuf]) {
    if env::var_os("CARGO_FEATURE_STATIC").is_none() {
        for folder in folders {
            println!("cargo::rustc-link-search=native={}", folder.display());
        }
        for library in LIBRARIES {
            println!("cargo::rustc-link-lib=dylib=rte_{library}");
        }
        return;
    }
    let folders = folders.iter().map(|folder| format!("-L{}", folder.display()));
    let archives = ARCHIVES.split_whitespace().map(|archive| format!("-l:librte_{archive}.a"));
    let libraries = SYSTEM_LIBRARIES.split_whitespace().map(|library| format!("-l{library}"));
    let whole = ["-Wl,--whole-archive".to_owned()];
    let no_longer = ["-Wl,--no-whole-archive".to_owned()];
    let arguments: Vec<String> = folders.chain(whole).chain(archives).chain(no_longer).chain(libraries).collect();
    println!("cargo::metadata=LINK_ARGUMENTS={}", arguments.join(" "));
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(300).collect()
}
