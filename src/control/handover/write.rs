//! Writing what is handed over: page by page, so that it takes no memory to speak of.

use std::fs::{self, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::control::handover::{END, ENTRIES, Head, Leaving, NAME, TABLES, VERSION, WORKER, bound};
use crate::director::{Director, Listing};
use crate::sync::{Block, Kept};
use crate::time::Instant;

/// Entries that are looked at at a time.
const PAGE: usize = 256;
/// Bytes that are written at a time.
const BUFFER: usize = 1 << 18;

/// Writes what is left and all entries of the directors, which stand at `now`, to a file in the place of what was there; with neither,
/// there is no file.
/// Returns how many they were.
///
/// # Errors
/// The file cannot be written; there is none then.
pub fn save(path: &Path, leaving: impl Into<Leaving>, directors: &[Director], now: Instant) -> io::Result<u64> {
    let leaving = leaving.into();
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    if leaving.health.is_empty() && directors.iter().all(|director| director.used() == [0; 4]) {
        return Ok(0);
    }
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let _ = fs::remove_file(&beside);
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    let written = write(BufWriter::with_capacity(BUFFER, file), leaving, directors, now);
    // Not brought onto the disk: a machine that is started anew has no use for it.
    let renamed = written.and_then(|entries| fs::rename(&beside, path).map(|()| entries));
    renamed.inspect_err(|_| drop(fs::remove_file(&beside)))
}

/// The same, to anything.
///
/// # Errors
/// Those of `out`.
pub fn write(out: impl Write, leaving: impl Into<Leaving>, directors: &[Director], now: Instant) -> io::Result<u64> {
    let Leaving { stopped, health } = leaving.into();
    let mut out = Summed { out, crc: 0 };
    let destinations = directors.first().map_or_else(Vec::new, |director| bound(&director.snapshot().rules));
    out.put(format!("{NAME}{VERSION}\n").as_bytes())?;
    let mut head = serde_json::to_vec(&Head { stopped, health, destinations })?;
    head.push(b'\n');
    out.put(&head)?;
    let mut entries = 0;
    for director in directors {
        out.block(WORKER, &[])?;
        for which in TABLES {
            entries += table(&mut out, director, which, now)?;
        }
    }
    out.block(END, &entries.to_be_bytes())?;
    let crc = out.crc.to_be_bytes();
    out.out.write_all(&crc)?;
    out.out.flush()?;
    Ok(entries)
}

/// One table of a director, connections that a connection controls behind the others.
fn table(out: &mut Summed<impl Write>, director: &Director, which: Listing, now: Instant) -> io::Result<u64> {
    let rounds: &[fn(&Kept) -> bool] =
        if which.templates { &[|_| true] } else { &[|kept| !is_controlled(kept), is_controlled] };
    let (mut block, mut entries, mut page) = (Block::default(), 0, Vec::with_capacity(PAGE));
    for belongs in rounds {
        let mut cursor = Some(0);
        while let Some(from) = cursor {
            cursor = director.keep(which, from, PAGE, now, |kept| page.push(kept));
            for kept in page.drain(..).filter(belongs) {
                if !block.push(&kept) {
                    out.block(ENTRIES, &std::mem::take(&mut block).finish())?;
                    block.push(&kept);
                }
                entries += 1;
            }
        }
    }
    if !block.is_empty() {
        out.block(ENTRIES, &block.finish())?;
    }
    Ok(entries)
}

fn is_controlled(kept: &Kept) -> bool {
    kept.rest.controller.controlling_connection().is_some()
}

/// What is written, and its checksum.
struct Summed<W> {
    out: W,
    crc: u32,
}

impl<W: Write> Summed<W> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.crc = crc32c::crc32c_append(self.crc, bytes);
        self.out.write_all(bytes)
    }

    fn block(&mut self, kind: u8, bytes: &[u8]) -> io::Result<()> {
        self.put(&u32::try_from(bytes.len()).map_err(io::Error::other)?.to_be_bytes())?;
        self.put(&[kind])?;
        self.put(bytes)
    }
}
