//! The DPDK edge on virtual devices, without huge pages. A test binary of its own, because a process can start DPDK only once.
#![allow(clippy::unwrap_used)]

use std::net::UdpSocket;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use pollvs::burst::Burst;
use pollvs::conn::Table;
use pollvs::forward::cut::Pieces;
use pollvs::frame::Frame;
use pollvs::hash::HashKey;
use pollvs::io::PacketIo;
use pollvs::io::dpdk::huge::{HugeAllocator, LARGE};
use pollvs::io::dpdk::{
    DpdkIo, Eal, EalOptions, Found, HugePages, Mbuf, MbufPool, Port, PortError, PortSettings, Queue, register_thread,
    ring,
};
use pollvs::steering::{MAX_BITS, Prefixes, Role, Rss, Steering};
use pollvs::verdict::{Cut, PortId, Verdict};
use pollvs::wire::{ethernet, ipv4, sample, udp};

fn eal() -> &'static Eal {
    static EAL: OnceLock<Eal> = OnceLock::new();
    EAL.get_or_init(|| {
        let options = EalOptions {
            memory_mib: 256,
            huge_pages: HugePages::Never,
            file_prefix: format!("pollvs-test-{}", std::process::id()),
            ..EalOptions::default()
        };
        Eal::start(&options).unwrap()
    })
}

fn unique() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

fn pool(count: u32) -> MbufPool {
    MbufPool::new(eal(), &format!("test{}", unique()), count, 2048).unwrap()
}

/// What ports receive into.
fn common_pool() -> &'static MbufPool {
    static POOL: OnceLock<MbufPool> = OnceLock::new();
    POOL.get_or_init(|| pool(16383))
}

fn open(device: &str, queues: u16) -> Result<(Port, Vec<Queue>), PortError> {
    Port::open(eal(), &PortSettings { queues, ..PortSettings::new(device) }, common_pool())
}

fn loopback(queues: u16) -> (Port, Vec<Queue>) {
    ring::open(eal(), unique(), queues, common_pool()).unwrap()
}

fn bytes(burst: &mut Burst<Mbuf>) -> Vec<(Vec<u8>, PortId)> {
    let frames = (0..burst.len()).filter_map(|index| burst.take(index));
    let frames = frames.map(|(frame, _, port)| (frame.bytes().to_vec(), port)).collect();
    burst.clear();
    frames
}

#[test]
fn a_self_loop_receives_what_it_sent_on_the_same_queue() {
    let pool = pool(63);
    let (port, mut queues) = loopback(2);
    assert_eq!(port.driver(), "net_ring");
    for (number, queue) in (0u8..).zip(&mut queues) {
        queue.transmit(pool.frame(&[number; 60]).unwrap());
        queue.flush();
    }
    for (number, queue) in (0u8..).zip(&mut queues) {
        let mut burst = Burst::default();
        assert_eq!(queue.receive(&mut burst, PortId(7)), 1);
        assert_eq!(burst.verdict(0), Verdict::Pending);
        assert_eq!(bytes(&mut burst), [(vec![number; 60], PortId(7))]);
    }
    assert_eq!((port.counters().rx_packets, port.counters().tx_packets), (2, 2));
    assert_eq!(pool.available(), 63);
}

#[test]
fn a_worker_polls_its_ports_in_turn_and_never_overfills_a_burst() {
    let pool = pool(255);
    let (_ports, queues): (Vec<Port>, Vec<_>) = (0..3).map(|_| loopback(1)).unzip();
    let mut io = DpdkIo::new(queues.into_iter().flatten().collect(), pool);
    for number in 0..3 {
        (0..40).for_each(|_| io.transmit(PortId(number), pool.frame(&[number as u8; 60]).unwrap()));
    }
    io.flush();
    let mut burst = Burst::default();
    let mut firsts = Vec::new();
    let mut received = 0;
    while io.receive(&mut burst) > 0 {
        assert_eq!(burst.room(), if received < 96 { 0 } else { 32 - burst.len() });
        let frames = bytes(&mut burst);
        assert!(frames.iter().all(|(bytes, port)| *bytes == [port.0 as u8; 60]));
        firsts.push(frames[0].1.0);
        received += frames.len();
    }
    assert_eq!(received, 120);
    assert_eq!(firsts[..3], [0, 1, 2], "a busy port must not keep the others waiting");
}

#[test]
fn frames_for_a_full_queue_are_dropped_and_counted() {
    let pool = pool(2047);
    let (port, mut queues) = loopback(1);
    for _ in 0..ring::CAPACITY + 50 {
        queues[0].transmit(pool.frame(&[0; 60]).unwrap());
    }
    queues[0].flush();
    assert_eq!(port.counters().tx_full, 50);
    assert_eq!(pool.available(), 2047 - ring::CAPACITY);
}

#[test]
fn frames_grow_and_shrink_within_their_buffer_only() {
    let pool = pool(7);
    let mut frame = pool.frame(b"payload").unwrap();
    assert!(!frame.prepend(129), "the room in front is 128 bytes");
    assert!(frame.prepend(128));
    assert_eq!(frame.bytes().len(), 135);
    assert_eq!(&frame.bytes()[128..], b"payload");
    assert!(!frame.prepend(1));
    assert!(!frame.trim_front(136));
    assert!(frame.trim_front(128));
    assert_eq!(frame.bytes(), b"payload");
    assert!(!frame.resize(2049) && !frame.resize(usize::MAX));
    assert!(frame.resize(2048));
    frame.bytes_mut()[2047] = 1;
    assert!(frame.trim_front(2048) && frame.bytes().is_empty());
    assert!(!frame.resize(1), "the tail is used up");
    assert!(!frame.prepend(usize::MAX), "no overflow");
    assert!(pool.frame(&[0; 2049]).is_none());
    assert_eq!(pool.available(), 6);
}

#[test]
fn an_empty_pool_gives_no_frame_until_one_comes_back() {
    let pool = pool(15);
    let mut frames: Vec<Mbuf> = std::iter::from_fn(|| pool.alloc()).collect();
    assert_eq!(frames.len(), 15);
    frames.pop();
    assert!(pool.alloc().is_some());
}

#[test]
fn frames_are_made_and_freed_in_any_thread_registered_or_not() {
    let pool = pool(255);
    let made = thread::spawn(move || (0..10).map(|_| pool.frame(b"x").unwrap()).collect::<Vec<_>>()).join().unwrap();
    assert_eq!(pool.available(), 245);
    thread::spawn(move || {
        let _registered = register_thread().unwrap();
        let _again = register_thread().unwrap();
        drop(made);
        assert!(pool.frame(b"y").is_some());
    })
    .join()
    .unwrap();
    assert_eq!(pool.available(), 255);
}

#[test]
fn a_pool_larger_than_the_memory_is_refused_in_words() {
    let error = MbufPool::new(eal(), "huge", 10_000_000, 2048).unwrap_err().to_string();
    assert!(error.contains("huge") && error.contains("memory"), "{error}");
    let error = MbufPool::new(eal(), "wide", 8, 70_000).unwrap_err().to_string();
    assert!(error.contains("70000"), "{error}");
}

#[test]
fn dpdk_is_started_once_and_leaves_no_files() {
    eal();
    let error = Eal::start(&EalOptions { huge_pages: HugePages::Never, ..EalOptions::default() }).unwrap_err();
    assert!(error.to_string().contains("only once"), "{error}");
    let left = format!("/run/dpdk/pollvs-test-{}", std::process::id());
    assert!(!fs::exists(&left).unwrap(), "{left}");
}

#[test]
fn the_main_thread_may_run_where_it_could_before() {
    let allowed = || {
        let status = fs::read_to_string("/proc/thread-self/status").unwrap();
        status.lines().find(|line| line.starts_with("Cpus_allowed_list")).unwrap().to_owned()
    };
    let before = allowed();
    eal();
    assert_eq!(allowed(), before);
}

#[test]
fn what_is_wrong_with_a_device_is_told_in_words() {
    let table = [
        ("net_bogus0", 1, "no driver for `net_bogus0`"),
        ("eth0", 1, "no driver for `eth0`"),
        ("", 1, "no driver for ``"),
        ("net_af_packet9", 1, "`net_af_packet9` does not open"),
        ("net_af_packet9,iface=nowhere0", 1, "is there an interface nowhere0"),
        ("net_pcap9,rx_pcap=/nowhere.pcap,tx_pcap=/nowhere.out", 1, "does not open"),
        ("ffff:1f:1f.7", 1, "there is no PCI device ffff:1f:1f.7"),
        ("net_ring900", 17, "has 16 queues and 17 are asked for"),
        ("net_ring901", 0, "0 are asked for"),
    ];
    for (device, queues, expected) in table {
        let error = open(device, queues).unwrap_err().to_string();
        assert!(error.contains(expected), "{device}: {error}");
    }
}

#[test]
fn a_device_is_open_once_and_free_again_when_its_last_queue_is_gone() {
    let name = format!("net_ring{}", 500 + unique());
    let (port, queues) = open(&name, 1).unwrap();
    assert!(matches!(open(&name, 1), Err(PortError::InUse { .. })));
    drop(port);
    assert!(matches!(open(&name, 1), Err(PortError::InUse { .. })));
    drop(queues);
    open(&name, 2).unwrap();
}

#[test]
fn frames_must_fit_the_pools_buffers() {
    let small = MbufPool::new(eal(), &format!("small{}", unique()), 63, 1024).unwrap();
    let error = Port::open(eal(), &PortSettings::new("net_null7"), &small).unwrap_err().to_string();
    assert!(error.contains("MTU of 1500") && error.contains("room for 1024"), "{error}");
    let settings = PortSettings { mtu: Some(9), ..PortSettings::new("net_null8") };
    let error = Port::open(eal(), &settings, common_pool()).unwrap_err().to_string();
    assert!(error.contains("takes an MTU from"), "{error}");
}

#[test]
fn a_pcap_file_is_read_and_written() {
    let folder = env::temp_dir().join(format!("pollvs-dpdk-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let (input, output) = (folder.join("in.pcap"), folder.join("out.pcap"));
    let frame = [0x42; 60];
    fs::write(&input, pcap_of(&frame)).unwrap();
    let device = format!("net_pcap{},rx_pcap={},tx_pcap={}", unique(), input.display(), output.display());
    let (port, mut queues) = open(&device, 1).unwrap();
    let mut burst = Burst::default();
    assert_eq!(queues[0].receive(&mut burst, PortId(0)), 1);
    let (received, ..) = burst.take(0).unwrap();
    assert_eq!(received.bytes(), frame);
    queues[0].transmit(received);
    queues[0].flush();
    drop((port, queues));
    let written = fs::read(&output).unwrap();
    fs::remove_dir_all(&folder).unwrap();
    assert!(written.ends_with(&frame));
}

/// A pcap file of one frame, as the file format's draft (draft-ietf-opsawg-pcap) has it.
fn pcap_of(frame: &[u8]) -> Vec<u8> {
    let length = frame.len() as u32;
    let words: [u32; 10] = [0xa1b2_c3d4, 0x0004_0002, 0, 0, 65535, 1, 0, 0, length, length];
    words.iter().flat_map(|word| word.to_le_bytes()).chain(frame.iter().copied()).collect()
}

#[test]
fn the_client_program_does_not_need_dpdk() {
    let output = Command::new("ldd").arg(env!("CARGO_BIN_EXE_pollvs")).output().unwrap();
    let libraries = String::from_utf8(output.stdout).unwrap();
    assert!(libraries.contains("libc.so"), "{libraries}");
    assert!(!libraries.contains("librte"), "{libraries}");
}

/// Runs the calling test once more in a network namespace of its own, which ends with it, and tells whether this is that run.
fn in_own_network(test: &str) -> bool {
    const INSIDE: &str = "POLLVS_TEST_OWN_NETWORK";
    if env::var_os(INSIDE).is_some() {
        return true;
    }
    if !fs::exists("/proc/self/ns/net").unwrap_or(false)
        || Command::new("id").arg("-u").output().unwrap().stdout != b"0\n"
    {
        println!("skipped: making a network namespace takes root");
        return false;
    }
    let program = env::current_exe().unwrap();
    let mut command = Command::new("unshare");
    command.arg("--net").arg(program).args(["--exact", test, "--nocapture"]).env(INSIDE, "1");
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
    false
}

fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split_whitespace()).status().unwrap();
    assert!(status.success(), "ip {arguments}");
}

const SERVER_PORT: u16 = 5353;
const PEER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];

/// A veth whose end `pollvs0` is the device's; the kernel has the other, with the address 10.0.0.2.
fn wire_up_veth() -> UdpSocket {
    ip("link add pollvs0 numrxqueues 4 numtxqueues 4 type veth peer name peer0 address 02:00:00:00:00:02");
    for interface in ["pollvs0", "peer0"] {
        fs::write(format!("/proc/sys/net/ipv6/conf/{interface}/disable_ipv6"), "1").unwrap();
        ip(&format!("link set {interface} up"));
    }
    ip("addr add 10.0.0.2/24 dev peer0");
    ip("neigh add 10.0.0.1 lladdr 02:00:00:00:00:01 dev peer0");
    let socket = UdpSocket::bind(("10.0.0.2", SERVER_PORT)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    socket
}

fn receive_one(queues: &mut [Queue]) -> Mbuf {
    let until = Instant::now() + Duration::from_secs(5);
    let mut burst = Burst::default();
    while Instant::now() < until {
        for queue in &mut *queues {
            if queue.receive(&mut burst, PortId(0)) > 0 {
                return burst.take(0).unwrap().0;
            }
        }
    }
    panic!("nothing received");
}

fn udp_is_intact(frame: &[u8]) -> bool {
    let ethernet = ethernet::Packet::new_checked(frame).unwrap();
    let ip = ipv4::Packet::new_checked(ethernet.payload()).unwrap();
    let udp = udp::Packet::new_checked(ip.payload()).unwrap();
    udp.is_intact(ip.pseudo_header(udp.length()))
}

/// Turns a frame into its answer; swapped addresses and ports leave all checksums as they are.
fn turn_round(frame: &mut [u8]) {
    for (start, length) in [(0, 6), (26, 4), (34, 2)] {
        let (first, second) = frame[start..start + 2 * length].split_at_mut(length);
        first.swap_with_slice(second);
    }
}

#[test]
fn a_veth_carries_frames_both_ways_with_finished_checksums() {
    if !in_own_network("a_veth_carries_frames_both_ways_with_finished_checksums") {
        return;
    }
    let socket = wire_up_veth();
    for (queues, verify_checksums) in [(1, Some(false)), (1, None), (4, None)] {
        let settings = PortSettings { queues, verify_checksums, ..PortSettings::new("net_af_packet0,iface=pollvs0") };
        let (port, mut queues) = Port::open(eal(), &settings, common_pool()).unwrap();
        socket.send_to(b"a question of odd length!", ("10.0.0.1", SERVER_PORT)).unwrap();
        let mut frame = receive_one(&mut queues);
        assert_eq!(udp_is_intact(frame.bytes()), verify_checksums.is_none(), "veth leaves the checksum unfinished");
        assert_eq!(port.counters().checksums_finished, u64::from(verify_checksums.is_none()));
        assert_eq!(frame.bytes()[6..12], PEER_MAC);
        if verify_checksums.is_none() {
            turn_round(frame.bytes_mut());
            queues[0].transmit(frame);
            queues[0].flush();
            let mut answer = [0; 64];
            let (length, _) = socket.recv_from(&mut answer).unwrap();
            assert_eq!(&answer[..length], b"a question of odd length!");
        }
        assert!(port.link_is_up());
        assert_eq!(port.mtu(), 1500);
    }
}

#[test]
fn a_long_frame_is_cut_into_buffers_of_the_pool() {
    let pool = pool(3);
    let (_port, queues) = loopback(1);
    let mut io = DpdkIo::new(queues, pool);
    let datagram = sample::udp(sample::at("203.0.113.5:1000"), sample::at("192.0.2.10:53")).data(vec![7; 4000]);
    let datagram = datagram.dont_fragment(false);
    let whole = datagram.frame();
    let mut pieces = Pieces::new(&whole, Cut::AtMost(1500), &[], 0).unwrap();
    while !pieces.is_done() {
        let mut piece = io.blank().unwrap();
        assert!(pieces.write(&mut piece));
        io.transmit(PortId(0), piece);
    }
    assert!(io.blank().is_none(), "the pool is empty");
    io.flush();
    let mut burst = Burst::default();
    io.receive(&mut burst);
    let sent: Vec<_> = bytes(&mut burst).into_iter().map(|(bytes, _)| bytes).collect();
    assert_eq!(sent, datagram.fragments(1480));
}

/// Opens a device with four queues to steer by client; what it said of itself, and what came of it.
fn open_steered(device: &str) -> (Rss, Result<(), String>) {
    let settings = PortSettings { queues: 4, ..PortSettings::new(device) };
    let found = Found::new(eal(), &settings).unwrap();
    let rss = found.rss();
    let steering = Steering::new(4, rss.bits().unwrap_or(MAX_BITS), Prefixes::default(), 7);
    let plan = rss.plan(&steering, Role::Outside);
    let (port, queues) = found.open(&[*common_pool()], plan.as_ref().ok()).unwrap();
    assert_eq!((port.queues(), queues.len()), (4, 4), "it works whether it steers or not");
    (rss, plan.as_ref().map(|_| ()).and_then(|()| port.steered()).map_err(ToString::to_string))
}

/// Of the virtual devices one takes a key and a table of queues, and gives both back when asked (nothing arrives there, so that this says
/// nothing about what it would do with packets).
#[test]
fn devices_are_told_to_steer_by_client_and_say_why_they_do_not() {
    let (null, steered) = open_steered("net_null71");
    assert_eq!((null.redirection, null.v4, null.v6), (128, true, true));
    assert_eq!(steered, Ok(()));
    let (ring, steered) = open_steered("net_ring71");
    assert_eq!((ring.redirection, ring.queues), (0, 16));
    assert_eq!(steered, Err("the device offers no hash of addresses".to_owned()));
}

#[test]
fn a_tap_takes_a_key_and_has_no_table_of_queues() {
    if !in_own_network("a_tap_takes_a_key_and_has_no_table_of_queues") {
        return;
    }
    let (tap, steered) = open_steered("net_tap71,iface=pollvs71");
    assert_eq!((tap.key, tap.redirection), (40, 0));
    assert_eq!(steered, Err("the device has no table of queues (RETA) to set".to_owned()));
}

/// The queues of a port hear that they are to stand aside, and the device is closed.
fn close_left(port: &Port, queues: &mut [Queue]) {
    assert!(!port.close(), "its queues have not heard");
    let mut burst = Burst::default();
    queues.iter_mut().for_each(|queue| assert_eq!(queue.receive(&mut burst, PortId(0)), 0));
    assert!(port.close());
}

#[test]
fn a_device_that_its_bus_calls_removed_is_closed_and_opened_again() {
    let pool = pool(63);
    let (port, mut queues) = loopback(2);
    let mac = port.mac();
    let pass = |queues: &mut [Queue], number: u8| {
        let mut burst = Burst::default();
        for queue in queues {
            queue.transmit(pool.frame(&[number; 60]).unwrap());
            queue.flush();
            queue.receive(&mut burst, PortId(0));
        }
        bytes(&mut burst).len()
    };
    for removals in 1..=3 {
        assert_eq!(pass(&mut queues, 1), 2);
        assert!(!port.is_removed());
        ring::pull(&port);
        assert!(port.is_removed());
        port.leave();
        assert!(matches!(port.reopen(), Err(PortError::Busy { .. })), "it is open yet");
        close_left(&port, &mut queues);
        assert!(!port.is_removed() && !port.link_is_up(), "that is known by now");
        assert_eq!(pass(&mut queues, 2), 0);
        assert_eq!((port.counters().tx_removed, port.removals()), (2 * removals, removals));
        assert_eq!(pool.available(), 63, "what was to be sent is dropped");
        port.reopen().unwrap();
        assert_eq!((port.mac(), pass(&mut queues, 3)), (mac, 2));
        assert_eq!(port.counters().rx_packets, 4 * removals, "counted on");
    }
}

#[test]
fn a_veth_that_is_deleted_is_taken_up_again_when_it_is_made_again() {
    if !in_own_network("a_veth_that_is_deleted_is_taken_up_again_when_it_is_made_again") {
        return;
    }
    let socket = wire_up_veth();
    let settings = PortSettings { queues: 2, ..PortSettings::new("net_af_packet0,iface=pollvs0") };
    let (port, mut queues) = Port::open(eal(), &settings, common_pool()).unwrap();
    let mac = port.mac();
    let ask = |socket: &UdpSocket, queues: &mut [Queue]| {
        socket.send_to(b"a question of odd length!", ("10.0.0.1", SERVER_PORT)).unwrap();
        let mut frame = receive_one(queues);
        turn_round(frame.bytes_mut());
        queues[0].transmit(frame);
        queues[0].flush();
        assert_eq!(socket.recv_from(&mut [0; 64]).unwrap().0, 25);
    };
    ask(&socket, &mut queues);
    drop(socket);
    for _ in 0..2 {
        ip("link del pollvs0");
        assert!(port.is_removed());
        port.leave();
        close_left(&port, &mut queues);
        let missing = port.reopen().unwrap_err().to_string();
        assert!(missing.ends_with("there is no interface pollvs0 in this network namespace"), "{missing}");
        let socket = wire_up_veth();
        port.reopen().unwrap();
        assert!(!port.is_removed() && port.link_is_up());
        let shown = Command::new("ip").args(["link", "show", "pollvs0"]).output().unwrap().stdout;
        let shown = String::from_utf8(shown).unwrap();
        assert!(shown.contains(&mac.to_string()), "its neighbours know it by the address that it had: {shown}");
        ask(&socket, &mut queues);
    }
}

#[test]
fn a_tap_that_is_deleted_is_made_again() {
    if !in_own_network("a_tap_that_is_deleted_is_made_again") {
        return;
    }
    let (port, mut queues) = open("net_tap72,iface=pollvs72", 1).unwrap();
    ip("link del pollvs72");
    assert!(port.is_removed());
    port.leave();
    close_left(&port, &mut queues);
    port.reopen().unwrap();
    assert!(!port.is_removed() && port.link_is_up());
    queues[0].transmit(common_pool().frame(&[0xff; 60]).unwrap());
    queues[0].flush();
    assert_eq!(port.counters().tx_packets, 1);
    ip("link show pollvs72");
}

#[global_allocator]
static ALLOCATOR: HugeAllocator = HugeAllocator;

/// Held by whoever takes or counts huge pages.
static HUGE_PAGES: Mutex<()> = Mutex::new(());

/// What of this process is on huge pages, in bytes.
fn on_huge_pages() -> usize {
    let rollup = fs::read_to_string("/proc/self/smaps_rollup").unwrap();
    let line = rollup.lines().find_map(|line| line.strip_prefix("AnonHugePages:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().trim().parse::<usize>().unwrap() << 10
}

#[test]
fn the_memory_of_large_tables_is_on_huge_pages() {
    let setting = fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").unwrap_or_default();
    if setting.is_empty() || setting.contains("[never]") {
        println!("skipped: this kernel gives no transparent huge pages");
        return;
    }
    let _alone = HUGE_PAGES.lock().unwrap_or_else(PoisonError::into_inner);
    let before = on_huge_pages();
    let table = Table::<u32>::new(1 << 20, HashKey::new(1));
    let gained = on_huge_pages() - before;
    assert!(gained * 10 >= table.memory_bytes() * 9, "{gained} of {} bytes", table.memory_bytes());
    drop(table);
    assert!(on_huge_pages() < before + gained / 2, "it is given back");
}

#[test]
fn large_blocks_are_zeroed_grow_shrink_and_keep_what_is_in_them() {
    let _alone = HUGE_PAGES.lock().unwrap_or_else(PoisonError::into_inner);
    for size in [LARGE - 1, LARGE, LARGE + 1, 3 * LARGE + 4096] {
        assert!(vec![0_u8; size].iter().all(|byte| *byte == 0), "{size}");
    }
    let mut bytes: Vec<u8> = Vec::with_capacity(LARGE / 2);
    let byte = |at: usize| (at % 251) as u8;
    for size in [LARGE / 2, LARGE, LARGE + 100, 3 * LARGE, LARGE + 5, LARGE, LARGE / 4] {
        bytes.truncate(size);
        bytes.shrink_to_fit();
        bytes.extend((bytes.len()..size).map(byte));
        assert!(bytes.iter().enumerate().all(|(at, is)| *is == byte(at)), "{size}");
    }
}
