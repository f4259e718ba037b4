//! Taking over what was handed over: the file is looked through for its checksum first, so that one that was cut off or changed leaves
//! no trace, and then read block by block.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek, Take};
use std::path::Path;
use std::time::Duration;

use rustc_hash::FxHashMap;

use crate::conn::ConnId;
use crate::control::handover::{
    Bound, END, ENTRIES, HandoverError, Head, Moment, NAME, Unusable, VERSION, WORKER, found,
};
use crate::control::health::board::Found;
use crate::destination::DestId;
use crate::director::Director;
use crate::steering::Steering;
use crate::sync::{Block, Kept};
use crate::time::{Instant, NANOS_PER_TICK};
use crate::verdict::WorkerId;

/// Bytes that are read at a time.
const BUFFER: usize = 1 << 18;
/// Bytes of the checksum.
const CHECKSUM: u64 = 4;
/// Most bytes of the first line, and of the line about the entries.
const NAMED: u64 = 64;
const HEAD: u64 = 1 << 26;

/// What was taken over.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TakenOver {
    /// Connections and templates.
    pub entries: u64,
    /// Those of them for which there is no room.
    pub lost: u64,
    /// Since the process before has stopped forwarding.
    pub age: Duration,
}

/// What a process has left, read as far as is needed before the network is known.
#[derive(Debug)]
pub struct Left<R> {
    file: Take<BufReader<R>>,
    head: Head,
}

/// Looks into a file, which is used up by that; `None` when there is none.
///
/// # Errors
/// [`HandoverError`].
pub fn open(path: &Path, moment: &Moment) -> Result<Option<Left<File>>, HandoverError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(reason) => return Err(HandoverError::unreadable(path, reason)),
    };
    // Before it is looked at, so that whatever it does it does once.
    fs::remove_file(path).map_err(|reason| HandoverError::unreadable(path, reason))?;
    Left::new(file, moment).map(Some).map_err(|reason| HandoverError::refused(path, reason))
}

/// Takes over what a file holds, which is used up by that; `None` when there is no file. The directors, by worker, have their rules,
/// have seen no packet and stand at `now`.
///
/// # Errors
/// [`HandoverError`]; the directors have nothing then.
pub fn restore(
    path: &Path,
    moment: &Moment,
    directors: &mut [Director],
    steering: &Steering,
    now: Instant,
) -> Result<Option<TakenOver>, HandoverError> {
    let Some(left) = open(path, moment)? else { return Ok(None) };
    let taken = left.take_over(moment, directors, steering, now);
    taken.map(Some).map_err(|reason| HandoverError::refused(path, reason))
}

/// The same, from anything.
///
/// # Errors
/// [`Unusable`]; the directors have nothing then.
pub fn read(
    file: impl Read + Seek,
    moment: &Moment,
    directors: &mut [Director],
    steering: &Steering,
    now: Instant,
) -> Result<TakenOver, Unusable> {
    Left::new(file, moment)?.take_over(moment, directors, steering, now)
}

impl<R: Read + Seek> Left<R> {
    /// Looks into anything.
    ///
    /// # Errors
    /// [`Unusable`].
    pub fn new(file: R, moment: &Moment) -> Result<Self, Unusable> {
        let mut file = BufReader::with_capacity(BUFFER, file);
        let length = checked(&mut file)?;
        let mut file = file.take(length);
        named(&mut file)?;
        let head: Head = serde_json::from_slice(&line(&mut file, HEAD)?)?;
        if head.stopped.boot != moment.boot {
            return Err(Unusable::Boot);
        }
        Ok(Self { file, head })
    }

    /// What checks had found.
    pub fn health(&self) -> &[Found] {
        &self.head.health
    }

    /// Takes over connections and templates. The directors, by worker, have their rules, have seen no packet and stand at `now`.
    ///
    /// # Errors
    /// [`Unusable`]; the directors have nothing then.
    pub fn take_over(
        mut self,
        moment: &Moment,
        directors: &mut [Director],
        steering: &Steering,
        now: Instant,
    ) -> Result<TakenOver, Unusable> {
        let age = Duration::from_millis(moment.millis.saturating_sub(self.head.stopped.millis));
        let rules = directors.first().map(|director| director.snapshot().rules.clone()).unwrap_or_default();
        let known = |old: &Bound| Some((DestId(old.number), found(&rules, old)?));
        let mut heir = Heir {
            destinations: self.head.destinations.iter().filter_map(known).collect(),
            ticks: u32::try_from(age.as_nanos() / u128::from(NANOS_PER_TICK)).unwrap_or(u32::MAX / 2),
            controllers: FxHashMap::default(),
            steering,
            directors,
            now,
            taken: TakenOver { age, ..TakenOver::default() },
        };
        let taken = heir.blocks(&mut self.file);
        if taken.is_err() {
            heir.directors.iter_mut().for_each(Director::flush);
        }
        taken.map(|()| heir.taken)
    }
}

/// Holds the whole against its checksum, and goes back to the start. Returns the length without it.
fn checked(file: &mut (impl BufRead + Seek)) -> Result<u64, Unusable> {
    let length = file.seek(io::SeekFrom::End(0))?.saturating_sub(CHECKSUM);
    file.rewind()?;
    let mut whole = file.by_ref().take(length);
    named(&mut whole)?;
    file.rewind()?;
    let (mut crc, mut left) = (0, length);
    while left > 0 {
        let bytes = file.fill_buf()?;
        let count = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        if count == 0 {
            return Err(Unusable::Checksum);
        }
        crc = crc32c::crc32c_append(crc, bytes.get(..count).unwrap_or_default());
        file.consume(count);
        left -= count as u64;
    }
    let mut said = [0; CHECKSUM as usize];
    file.read_exact(&mut said)?;
    file.rewind()?;
    if u32::from_be_bytes(said) == crc { Ok(length) } else { Err(Unusable::Checksum) }
}

/// Reads the line that names the file.
fn named(file: &mut impl BufRead) -> Result<(), Unusable> {
    let first = line(file, NAMED)?;
    let version = std::str::from_utf8(&first).ok().and_then(|first| first.trim_end().strip_prefix(NAME));
    match version {
        Some(VERSION) => Ok(()),
        Some(other) => Err(Unusable::Version(other.to_owned())),
        None => Err(Unusable::Foreign),
    }
}

fn line(file: &mut impl BufRead, most: u64) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    file.by_ref().take(most).read_until(b'\n', &mut line)?;
    Ok(line)
}

/// Who takes over.
struct Heir<'a> {
    /// The destinations of these rules in the place of the old ones.
    destinations: FxHashMap<DestId, DestId>,
    /// Time since then.
    ticks: u32,
    /// Where those are that control others: by family, as what controls names them.
    controllers: FxHashMap<(bool, ConnId), (WorkerId, ConnId)>,
    steering: &'a Steering,
    directors: &'a mut [Director],
    now: Instant,
    taken: TakenOver,
}

impl Heir<'_> {
    /// Reads block after block until the last.
    fn blocks(&mut self, file: &mut impl Read) -> Result<(), Unusable> {
        let mut bytes = Vec::new();
        loop {
            let mut length = [0; 4];
            file.read_exact(&mut length)?;
            let length = u32::from_be_bytes(length) as usize;
            if length > Block::MOST {
                return Err(Unusable::Blocks);
            }
            bytes.resize(length + 1, 0);
            file.read_exact(&mut bytes)?;
            match bytes.split_first() {
                Some((&WORKER, [])) => self.controllers.clear(),
                Some((&ENTRIES, block)) => Block::read(block)?.into_iter().for_each(|kept| self.take(kept)),
                Some((&END, count)) if *count == self.taken.entries.to_be_bytes() => return Ok(()),
                _ => return Err(Unusable::Blocks),
            }
        }
    }

    fn take(&mut self, kept: Kept) {
        self.taken.entries += 1;
        let owner = self.steering.owner(kept.entry.client);
        let v6 = kept.entry.client.is_ipv6();
        let mut heired = kept.after(self.ticks);
        heired.rest.dest = self.destinations.get(&kept.rest.dest).copied().unwrap_or(DestId::NONE);
        // One that had a destination is not as one that never had.
        heired.rest.memo.received &= kept.rest.dest == DestId::NONE || heired.rest.dest != DestId::NONE;
        // What another worker has cannot be referred to.
        let controller = self.controllers.get(&(v6, kept.rest.controller)).filter(|(worker, _)| *worker == owner);
        heired.rest.controller = controller.map_or(ConnId::NONE, |(_, id)| *id);
        let director = self.directors.get_mut(usize::from(owner.0));
        let Some(id) = director.and_then(|director| director.take_over(&heired, self.now)) else {
            self.taken.lost += 1;
            return;
        };
        if kept.rest.controlled > 0 {
            let named = |id: ConnId| if kept.entry.is_template() { id } else { id.as_controller() };
            self.controllers.insert((v6, named(kept.rest.id)), (owner, named(id)));
        }
    }
}
