//! FTP through NAT, with vsftpd behind pollvsd and curl in front of it: what is sent arrives whole, whichever end opens the data
//! connection.
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;

use super::testbed::{TestBed, within};

/// vsftpd as a program of the test: anonymous, both families, active data connections from port 20.
const CONFIG: &str = "
listen=NO
listen_ipv6=YES
background=NO
anonymous_enable=YES
local_enable=NO
write_enable=YES
anon_upload_enable=YES
no_anon_password=YES
connect_from_port_20=YES
seccomp_sandbox=NO
secure_chroot_dir=/run/vsftpd/empty
";

/// vsftpd in the namespace of a real server; ends with the value.
struct Server {
    child: Child,
    _folder: tempfile::TempDir,
    files: PathBuf,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn allow(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn serve(bed: &TestBed, role: &str) -> Server {
    let folder = tempfile::tempdir().unwrap();
    let (config, files) = (folder.path().join("vsftpd.conf"), folder.path().join("files"));
    fs::create_dir_all(files.join("in")).unwrap();
    fs::create_dir_all("/run/vsftpd/empty").unwrap();
    fs::copy(bed.folder().join("big"), files.join("big")).unwrap();
    fs::write(files.join("name"), role).unwrap();
    fs::write(&config, format!("{CONFIG}anon_root={}\n", files.display())).unwrap();
    allow(folder.path(), 0o755);
    allow(&files, 0o755);
    allow(&files.join("in"), 0o777);
    for file in ["big", "name"] {
        allow(&files.join(file), 0o644);
    }
    let child = bed.inside(role, &["vsftpd", config.to_str().unwrap()]).spawn().unwrap();
    Server { child, _folder: folder, files }
}

/// What curl says to `url`.
fn curl(bed: &TestBed, client: &str, options: &[&str], url: &str) -> Vec<u8> {
    let words: Vec<_> =
        ["curl", "-sS", "--max-time", "20", "--interface", client].iter().chain(options).copied().collect();
    let output = bed.inside("client", &words).arg(url).output().unwrap();
    assert!(output.status.success(), "{options:?} {url}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[test]
fn files_arrive_whole_whichever_end_opens_the_data_connection() {
    let Some(bed) = TestBed::with_workers(2) else { return };
    bed.rules(&[
        "-A -t 192.0.2.10:21 -s rr",
        "-a -t 192.0.2.10:21 -r 198.51.100.11:21 -m",
        "-A -t [2001:db8:1::10]:21 -s rr",
        "-a -t [2001:db8:1::10]:21 -r [2001:db8:2::11]:21 -m",
    ]);
    let server = serve(&bed, "rs1");
    let answers = || bed.inside("client", &["curl", "-s", "ftp://192.0.2.10/name"]).output().unwrap().stdout == b"rs1";
    assert!(within(Duration::from_secs(10), answers), "vsftpd does not answer");
    let big = bed.folder().join("big").display().to_string();
    let sent = fs::read(&big).unwrap();
    // What PASV answers is believed, though curl would rather not.
    let believe = "--no-ftp-skip-pasv-ip";
    let ways: [&[&str]; 4] = [&[believe, "--disable-epsv"], &[believe], &["-P", "-", "--disable-eprt"], &["-P", "-"]];
    let mut number = 0;
    for (vip, clients) in [
        ("192.0.2.10", ["192.0.2.100", "192.0.2.101", "192.0.2.102"]),
        ("[2001:db8:1::10]", ["2001:db8:1::100", "2001:db8:1::101", "2001:db8:1::102"]),
    ] {
        for (client, way) in clients.into_iter().flat_map(|client| ways.map(|way| (client, way))) {
            // Two files by one control connection: the answer is rewritten twice.
            let url = format!("ftp://{vip}/{{name,big}}");
            let received = curl(&bed, client, way, &url);
            assert!(received[..3] == *b"rs1" && received[3..] == sent, "{client} {way:?}: {} bytes", received.len());
            number += 1;
            let up: Vec<_> = way.iter().copied().chain(["-T", &big]).collect();
            curl(&bed, client, &up, &format!("ftp://{vip}/in/{number}"));
            assert!(fs::read(server.files.join("in").join(number.to_string())).unwrap() == sent, "{client} {way:?}");
        }
    }
}
