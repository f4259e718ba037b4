//! The netlink-compatible requests over workers that are made up.

use super::*;
use std::io::Read as _;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::control::ipvs::server::Server;
use tokio_seqpacket::UnixSeqpacket;
use tokio_seqpacket::ancillary::OwnedAncillaryMessage;

const IPVS: u16 = 0x4956;
const TEXT: u16 = 0x4957;
const ACKNOWLEDGED: u16 = 5;
const DUMP: u16 = 0x305;

/// A message of the sequence number 7 and the port id 99.
fn message(kind: u16, flags: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(16 + payload.len()).unwrap().to_ne_bytes().to_vec();
    for half in [kind, flags, 7, 0, 99, 0] {
        bytes.extend(half.to_ne_bytes());
    }
    bytes.extend(payload);
    bytes
}

/// The service 192.0.2.10:80, by what it is found by.
fn service_80() -> Vec<u8> {
    let mut nest = vec![6, 0, 1, 0, 2, 0, 0, 0, 6, 0, 2, 0, 6, 0, 0, 0];
    nest.extend([8, 0, 3, 0, 192, 0, 2, 10, 6, 0, 4, 0, 0, 80, 0, 0]);
    let mut all = vec![u8::try_from(nest.len() + 4).unwrap(), 0, 1, 0];
    all.extend(nest);
    all
}

fn get_dests() -> Vec<u8> {
    message(IPVS, DUMP, &[&[8, 1, 0, 0], &service_80()[..]].concat())
}

/// The error number of the last message; 0 for success.
fn outcome(datagrams: &[Vec<u8>]) -> i32 {
    let last = datagrams.last().unwrap();
    assert_eq!(&last[4..6], &[2, 0], "{last:?}");
    -i32::from_ne_bytes(last[16..20].try_into().unwrap())
}

/// A control that is served on a socket by this runtime.
async fn served(control: &Control, patience: Duration) -> (tempfile::TempDir, tokio::task::JoinHandle<()>) {
    let folder = tempfile::tempdir().unwrap();
    let mut server = Server::bind(&folder.path().join("s")).unwrap().with_patience(patience);
    let control = control.clone();
    let task = tokio::spawn(async move { server.run(&control).await });
    (folder, task)
}

async fn client(folder: &tempfile::TempDir) -> UnixSeqpacket {
    UnixSeqpacket::connect(folder.path().join("s")).await.unwrap()
}

/// Datagrams up to the end of a dump, or an outcome.
async fn receive(client: &UnixSeqpacket) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    loop {
        let mut buffer = vec![0; 65_536];
        let length = client.recv(&mut buffer).await.unwrap().bytes_read();
        assert!(length > 0, "the end after {} datagrams", all.len());
        buffer.truncate(length);
        let over = matches!(buffer[4..6], [2 | 3, 0]);
        all.push(buffer);
        if over {
            return all;
        }
    }
}

async fn with_destinations(count: u16) -> Fake {
    let fake = Fake::new(2);
    done(&fake.control, SERVICE).await;
    for port in 0..count {
        let line = format!(
            r#"{{"request":"add_destination","service":"tcp:192.0.2.10:80","destination":{{"address":"198.51.100.11:{port}","method":"nat"}}}}"#
        );
        done(&fake.control, &line).await;
    }
    fake
}

#[tokio::test]
async fn a_dump_comes_in_short_parts_and_is_of_one_moment() {
    let fake = with_destinations(100).await;
    let (folder, task) = served(&fake.control, Duration::from_secs(10)).await;
    let client = client(&folder).await;
    client.send(&get_dests()).await.unwrap();
    let mut first = vec![0; 65_536];
    let length = client.recv(&mut first).await.unwrap().bytes_read();
    done(&fake.control, r#"{"request":"delete_service","service":"tcp:192.0.2.10:80"}"#).await;
    let mut all = receive(&client).await;
    all.insert(0, first[..length].to_vec());
    assert!(all.iter().all(|datagram| datagram.len() < 4096));
    let messages: usize = all.iter().map(|datagram| datagram.len() / 356).sum();
    assert_eq!((messages, all.last().unwrap().len()), (100, 20));
    client.send(&get_dests()).await.unwrap();
    assert_eq!(receive(&client).await.len(), 1, "a list of nothing for a service that is gone");
    task.abort();
}

#[tokio::test]
async fn a_client_that_dies_in_mid_dump_and_one_that_never_reads_harm_nobody() {
    let fake = with_destinations(2000).await;
    let (folder, task) = served(&fake.control, Duration::from_millis(300)).await;
    let dying = client(&folder).await;
    dying.send(&get_dests()).await.unwrap();
    dying.recv(&mut [0; 4096]).await.unwrap();
    drop(dying);
    let lazy = client(&folder).await;
    lazy.send(&get_dests()).await.unwrap();
    let good = client(&folder).await;
    good.send(&get_dests()).await.unwrap();
    let parts: usize = receive(&good).await.iter().map(|datagram| datagram.len() / 356).sum();
    assert_eq!(parts, 2000);
    tokio::time::sleep(Duration::from_millis(600)).await;
    // What was on its way is read, and then it is the end.
    let mut read = 0;
    while lazy.recv(&mut [0; 8192]).await.is_ok_and(|info| info.bytes_read() > 0) {
        read += 1;
    }
    assert!(read < 180, "{read} datagrams were kept for somebody who did not read them");
    task.abort();
}

#[tokio::test]
async fn who_may_nothing_is_told_so_by_the_kernels_number() {
    let fake = Fake::new(0);
    let of = |request: Vec<u8>| {
        let control = fake.control.clone();
        async move { control.answer_datagram_as(&request, false).await }
    };
    for command in [1, 4, 13, 15, 17] {
        assert_eq!(outcome(&of(message(IPVS, ACKNOWLEDGED, &[command, 1, 0, 0])).await), 1, "{command}");
    }
    assert_eq!(outcome(&of(message(TEXT, ACKNOWLEDGED, b"ip_vs\0")).await), 1);
    let family = [&[3, 1, 0, 0, 9, 0, 2, 0][..], b"IPVS\0\0\0\0"].concat();
    assert_eq!(outcome(&of(message(0x10, ACKNOWLEDGED, &family)).await), 0, "everybody may ask for the family");
    assert_eq!(outcome(&of(message(IPVS, ACKNOWLEDGED, &[99, 1, 0, 0])).await), 95, "what is no command is said first");
}

#[tokio::test]
async fn a_change_is_kept_and_one_that_cannot_be_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let inside = folder.path().join("sub");
    std::fs::create_dir(&inside).unwrap();
    let mut config = Config::default();
    config.director.state = inside.join("state.json");
    let flush = message(IPVS, ACKNOWLEDGED, &[17, 1, 0, 0]);
    let timeout = |secs: u32| {
        let attribute = [&[8, 0, 4, 0][..], &secs.to_ne_bytes()].concat();
        message(IPVS, ACKNOWLEDGED, &[&[12, 1, 0, 0], &attribute[..]].concat())
    };
    let fake = Fake::with(config.clone(), None, 0).unwrap();
    assert_eq!(outcome(&fake.control.answer_datagram(&timeout(77)).await), 0);
    drop(fake);
    let fake = Fake::with(config, None, 0).unwrap();
    assert_eq!(settings(&fake.control).await.timeouts.tcp, 77);
    std::fs::remove_dir_all(&inside).unwrap();
    assert_eq!(outcome(&fake.control.answer_datagram(&timeout(78)).await), 5);
    assert_eq!(settings(&fake.control).await.timeouts.tcp, 77);
    assert_eq!(outcome(&fake.control.answer_datagram(&flush).await), 5);
}

#[test]
fn a_full_disk_has_a_number_of_its_own() {
    let full = |kind: std::io::ErrorKind| StateError::Unwritable { path: "s".into(), reason: kind.into() };
    assert_eq!(Failure::from(full(std::io::ErrorKind::StorageFull)).code, ErrorCode::DiskFull);
    assert_eq!(Failure::from(full(std::io::ErrorKind::QuotaExceeded)).code, ErrorCode::DiskFull);
    assert_eq!(Failure::from(full(std::io::ErrorKind::NotFound)).code, ErrorCode::NotPersisted);
}

/// The descriptor that answers a request for a text, or the error number.
async fn text(client: &UnixSeqpacket, name: &str) -> Result<std::fs::File, i32> {
    client.send(&message(TEXT, ACKNOWLEDGED, format!("{name}\0").as_bytes())).await.unwrap();
    let (mut buffer, mut room) = ([0; 256], [0; 128]);
    let (info, files) = client.recv_with_ancillary(&mut buffer, &mut room).await.unwrap();
    let number = outcome(&[buffer[..info.bytes_read()].to_vec()]);
    let mut files = files.into_messages().filter_map(|message| match message {
        OwnedAncillaryMessage::FileDescriptors(mut files) => files.next(),
        _ => None,
    });
    match files.next() {
        Some(file) => Ok(file.into()),
        None => Err(number),
    }
}

async fn read(file: std::fs::File) -> String {
    let read = move || {
        let (mut text, mut file) = (String::new(), file);
        file.read_to_string(&mut text).unwrap();
        text
    };
    tokio::task::spawn_blocking(read).await.unwrap()
}

#[tokio::test]
async fn the_texts_of_proc_come_as_files() {
    let fake = with_destinations(1).await;
    fake.knobs.iter().for_each(|knobs| knobs.packets.store(17, Ordering::Relaxed));
    let (folder, task) = served(&fake.control, Duration::from_secs(10)).await;
    let client = client(&folder).await;
    let services = read(text(&client, "ip_vs").await.unwrap()).await;
    assert!(services.starts_with("IP Virtual Server version 1.2.1 (size=4096)\nProt LocalAddress:Port"), "{services}");
    assert!(
        services.contains("TCP  C000020A:0050 rr  \n  -> C633640B:0000      Masq    1      0          0         \n")
    );
    let stats = read(text(&client, "ip_vs_stats").await.unwrap()).await;
    assert!(stats.contains("\n       6       22        0                0                0\n\n"), "{stats}");
    let percpu = read(text(&client, "ip_vs_stats_percpu").await.unwrap()).await;
    assert!(
        percpu.contains("\n  0        3       11        0                0                0\n  1        3       11 "),
        "{percpu}"
    );
    let apps = read(text(&client, "ip_vs_app").await.unwrap()).await;
    assert_eq!(apps, "prot port    usecnt name\nTCP  21      0      ftp              \n");
    assert_eq!(text(&client, "ip_vs_nosuch").await.err(), Some(2));
    assert_eq!(text(&client, "../ip_vs").await.err(), Some(2));
    task.abort();
}

#[tokio::test]
async fn connections_stream_as_they_are_read() {
    let fake = Fake::new(2);
    fake.knobs.iter().for_each(|knobs| knobs.connections.store(20_000, Ordering::Relaxed));
    let (folder, task) = served(&fake.control, Duration::from_secs(10)).await;
    let client = client(&folder).await;
    let resting = text(&client, "ip_vs_conn").await.unwrap();
    let listed = read(text(&client, "ip_vs_conn").await.unwrap()).await;
    assert_eq!(listed.lines().count(), 1 + 2 * 18_000);
    let mut lines = listed.lines();
    assert_eq!(lines.next(), Some("Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires PEName PEData"));
    assert_eq!(lines.next(), Some("TCP CB007105 0000 C000020A 0050 C633640B 0050 ESTABLISHED     900"));
    let synced = read(text(&client, "ip_vs_conn_sync").await.unwrap()).await;
    assert_eq!(synced.lines().nth(1), Some("TCP CB007105 0000 C000020A 0050 C633640B 0050 ESTABLISHED LOCAL      900"));
    assert_eq!(read(resting).await.lines().count(), 1 + 2 * 18_000, "one that was begun before waits for its reader");
    task.abort();
}

#[tokio::test]
async fn readers_that_rest_do_not_pile_up_without_end() {
    let fake = Fake::new(1);
    fake.knobs[0].connections.store(20_000, Ordering::Relaxed);
    let (folder, task) = served(&fake.control, Duration::from_secs(10)).await;
    let client = client(&folder).await;
    let mut resting = Vec::new();
    let number = loop {
        match text(&client, "ip_vs_conn").await {
            Ok(file) => resting.push(file),
            Err(number) => break number,
        }
        assert!(resting.len() <= 32);
    };
    assert_eq!((number, resting.len()), (16, 32));
    drop(resting);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(text(&client, "ip_vs_conn").await.is_ok());
    task.abort();
}
