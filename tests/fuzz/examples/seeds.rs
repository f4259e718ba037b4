//! Writes the frames that every fuzz target starts from to its corpus.

use std::path::Path;
use std::{fs, io};

fn main() -> io::Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    write(&corpus.join("wire"), pollvs_fuzz::seeds::frames())?;
    write(&corpus.join("app"), pollvs_fuzz::seeds::talk())?;
    write(&corpus.join("pcap"), pollvs_fuzz::seeds::captures())?;
    write(&corpus.join("process"), pollvs_fuzz::seeds::conversations())?;
    write(&corpus.join("replay"), pollvs_fuzz::seeds::scenarios())?;
    write(&corpus.join("fragments"), pollvs_fuzz::seeds::fragments())?;
    write(&corpus.join("sync"), pollvs_fuzz::seeds::messages())?;
    write(&corpus.join("handover"), pollvs_fuzz::seeds::handed_over())?;
    write(&corpus.join("request"), pollvs_fuzz::seeds::requests())?;
    write(&corpus.join("netlink"), pollvs_fuzz::seeds::datagrams())?;
    write(&corpus.join("mark"), pollvs_fuzz::seeds::marks())?;
    write(&corpus.join("config"), pollvs_fuzz::seeds::configurations())
}

fn write(folder: &Path, seeds: Vec<Vec<u8>>) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    seeds.iter().enumerate().try_for_each(|(number, seed)| fs::write(folder.join(format!("seed-{number}")), seed))
}
