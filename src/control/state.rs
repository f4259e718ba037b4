//! The state file: what was accepted, kept across restarts. JSON lines: the first is the whole state, each other one a change made
//! since, so that the thousandth destination costs no more than the first.
//!
//! The whole is replaced atomically (written beside, synced, renamed); a change is appended before anybody is told that it was
//! accepted, so that the end of the program, of whatever kind, loses none. It is on the disk by then as well, unless changes come
//! faster than every [`SYNC`]: then those of such a time are brought onto it together, and a failure of power may cost the last of
//! them. A crash so leaves a state that was, perhaps with half a line behind it, which is dropped: nobody was told that it was
//! accepted. Any other damage is refused, and the file is not touched.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::control::request::Request;
use crate::control::rule_set::RuleSet;

/// Version of the format.
const VERSION: u32 = 1;
/// How long a change that was accepted may be on its way to the disk.
pub const SYNC: Duration = Duration::from_millis(200);
/// Changes after which the whole is written again, at least.
const FEWEST_CHANGES: usize = 1000;

/// The whole.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    version: u32,
    /// The rules in force.
    pub rules: RuleSet,
    /// The rules of the configuration file when it was last read: what has changed in the file since is known by it.
    pub file: RuleSet,
}

impl State {
    /// What is to be kept now.
    pub fn new(rules: RuleSet, file: RuleSet) -> Self {
        Self { version: VERSION, rules, file }
    }
}

/// What a file held: the whole, and the changes since.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Kept {
    /// The whole.
    pub state: State,
    /// In order.
    pub changes: Vec<Request>,
}

/// A state file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// It is there but cannot be read.
    #[error("the state file {path} cannot be read: {reason}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: io::Error,
    },
    /// It is damaged, or a newer program's.
    #[error("the state file {path} cannot be understood: {reason}; {}", remedy(path, *.good))]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
        /// So many lines before it can be.
        good: usize,
    },
    /// It cannot be written.
    #[error("the state file {path} cannot be written: {reason}; the change is not kept")]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: io::Error,
    },
}

impl Kept {
    /// The error for a change, by its place, that does not go together with what is before it.
    pub fn broken(&self, path: &Path, index: usize, reason: &str) -> StateError {
        // The whole is the first line.
        let good = index + 1;
        StateError::Damaged { path: path.to_owned(), reason: format!("line {}: {reason}", good + 1), good }
    }
}

impl StateError {
    /// Is it the disk that is full?
    pub fn is_for_want_of_room(&self) -> bool {
        let full = |kind| matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        matches!(self, Self::Unwritable { reason, .. } if full(reason.kind()))
    }
}

/// Reads the file; `None` when there is none yet.
///
/// # Errors
/// [`StateError::Unreadable`], [`StateError::Damaged`].
pub fn load(path: &Path) -> Result<Option<Kept>, StateError> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(reason) => return Err(StateError::Unreadable { path: path.to_owned(), reason }),
    };
    let damaged = |(good, reason)| StateError::Damaged { path: path.to_owned(), reason, good };
    parse(&text).map(Some).map_err(damaged)
}

/// What can be done with a damaged file of which so many lines are good.
fn remedy(path: &Path, good: usize) -> String {
    let anew = "put back a good copy, or move it away to start with the rules of the configuration alone";
    let path = path.display();
    match good {
        0 => anew.to_owned(),
        _ => format!(
            "the {good} lines before it are good: `head -n {good} {path} > {path}.good && mv {path}.good {path}` goes on with \
             them; or {anew}"
        ),
    }
}

/// The error says how many lines are good, and what is wrong with the next.
fn parse(text: &[u8]) -> Result<Kept, (usize, String)> {
    let wrong = |reason: String| (0, reason);
    let mut lines = text.split_inclusive(|b| *b == b'\n').enumerate();
    let (_, first) = lines.next().ok_or_else(|| wrong("it is empty".to_owned()))?;
    let state: State = serde_json::from_slice(first).map_err(|e| wrong(e.to_string()))?;
    if state.version != VERSION {
        return Err(wrong(format!("it is of version {}, this program knows {VERSION}", state.version)));
    }
    let whole = lines.filter(|(_, line)| line.ends_with(b"\n"));
    let change = |(index, line)| Request::parse(line).map_err(|e| (index, format!("line {}: {e}", index + 1)));
    Ok(Kept { state, changes: whole.map(change).collect::<Result<_, _>>()? })
}

/// Writes the file.
#[derive(Debug)]
pub struct Keeper {
    path: PathBuf,
    /// The file as it was last replaced; `None` while it must be.
    file: Option<File>,
    /// Its length in bytes.
    length: u64,
    /// Changes in it.
    changes: usize,
    /// When it was last brought onto the disk.
    synced: Option<Instant>,
    /// Not all of it is there.
    unsynced: bool,
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // There is nobody left to tell.
        let _ = self.sync();
    }
}

impl Keeper {
    /// Keeps the state in this file from now on.
    pub fn new(path: PathBuf) -> Self {
        Self { path, file: None, length: 0, changes: 0, synced: None, unsynced: false }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn unwritable(&self, reason: io::Error) -> StateError {
        StateError::Unwritable { path: self.path.clone(), reason }
    }

    /// Should the whole be written again, with so many rules in it, before another change is appended?
    pub fn is_full(&self, rules: usize) -> bool {
        !self.is_in_place() || self.changes >= rules.max(FEWEST_CHANGES)
    }

    /// Is the open file still the one at the path? Somebody may have moved it away.
    fn is_in_place(&self) -> bool {
        let identity = |m: fs::Metadata| (m.dev(), m.ino());
        let open = self.file.as_ref().and_then(|f| f.metadata().ok()).map(identity);
        open.is_some() && open == fs::metadata(&self.path).ok().map(identity)
    }

    /// Replaces the file by the whole state.
    ///
    /// # Errors
    /// [`StateError::Unwritable`]; the old file is as it was.
    pub fn replace(&mut self, state: &State) -> Result<(), StateError> {
        let (file, length) = replace(&self.path, state).map_err(|e| self.unwritable(e))?;
        (self.file, self.length, self.changes) = (Some(file), length, 0);
        (self.synced, self.unsynced) = (Some(Instant::now()), false);
        Ok(())
    }

    /// Appends a change.
    ///
    /// # Errors
    /// [`StateError::Unwritable`]; the file means what it meant before.
    pub fn append(&mut self, change: &Request) -> Result<(), StateError> {
        let length = self.length;
        let Some(file) = &mut self.file else {
            return Err(self.unwritable(io::Error::other("it has not been written yet")));
        };
        let in_a_hurry = self.synced.is_some_and(|at| at.elapsed() < SYNC);
        let appended = append(file, change).and_then(|bytes| {
            if !in_a_hurry {
                file.sync_data()?;
            }
            Ok(bytes)
        });
        match appended {
            Ok(bytes) => {
                self.length += bytes;
                self.changes += 1;
                if in_a_hurry {
                    self.unsynced = true;
                } else {
                    (self.synced, self.unsynced) = (Some(Instant::now()), false);
                }
                Ok(())
            }
            Err(error) => {
                // What is half written would swallow the next line.
                if file.set_len(length).is_err() {
                    self.file = None;
                }
                Err(self.unwritable(error))
            }
        }
    }
}

impl Keeper {
    /// Brings what was appended onto the disk, if it is not there.
    ///
    /// # Errors
    /// [`StateError::Unwritable`]; the whole is to be written again then.
    pub fn sync(&mut self) -> Result<(), StateError> {
        let Some(file) = self.file.as_ref().filter(|_| self.unsynced) else { return Ok(()) };
        let outcome = file.sync_data();
        (self.synced, self.unsynced) = (Some(Instant::now()), false);
        outcome.map_err(|error| {
            // What became of the changes is not known.
            self.file = None;
            self.unwritable(error)
        })
    }
}

fn line(value: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    Ok(line)
}

fn append(file: &mut File, change: &Request) -> io::Result<u64> {
    let line = line(change)?;
    file.write_all(&line)?;
    Ok(line.len() as u64)
}

fn replace(path: &Path, state: &State) -> io::Result<(File, u64)> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let mut options = OpenOptions::new();
    let mut file = match fs::remove_file(&beside) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => options.append(true).create_new(true).mode(0o600).open(&beside)?,
    };
    let line = line(state)?;
    file.write_all(&line)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    sync_folder(path)?;
    Ok((file, line.len() as u64))
}

/// Makes the rename last a power failure.
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> State {
        let rules =
            r#"{"services":[{"service":{"service":"tcp:192.0.2.1:80"},"destinations":[{"address":"10.0.0.1:80"}]}]}"#;
        State::new(serde_json::from_str(rules).unwrap(), RuleSet::default())
    }

    fn change(port: u16) -> Request {
        Request::parse(format!(r#"{{"request":"add_service","service":"tcp:192.0.2.1:{port}"}}"#).as_bytes()).unwrap()
    }

    fn written(changes: u16) -> (tempfile::TempDir, PathBuf, Keeper) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        let mut keeper = Keeper::new(path.clone());
        keeper.replace(&state()).unwrap();
        (1..=changes).for_each(|port| keeper.append(&change(port)).unwrap());
        (folder, path, keeper)
    }

    #[test]
    fn what_is_kept_is_loaded() {
        let (folder, path, mut keeper) = written(3);
        let changes = vec![change(1), change(2), change(3)];
        assert_eq!(load(&path).unwrap(), Some(Kept { state: state(), changes }));
        keeper.replace(&State::new(RuleSet::default(), RuleSet::default())).unwrap();
        assert_eq!(load(&path).unwrap().unwrap().state.rules, RuleSet::default());
        keeper.append(&change(9)).unwrap();
        assert_eq!(load(&path).unwrap().unwrap().changes, [change(9)]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert_eq!(load(&folder.path().join("nosuch")).unwrap(), None);
    }

    #[test]
    fn every_truncation_is_an_earlier_state_or_is_refused_and_left_alone() {
        let (_folder, path, _) = written(2);
        let whole = fs::read(&path).unwrap();
        let first = whole.iter().position(|b| *b == b'\n').unwrap();
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).unwrap();
            let loaded = load(&path);
            if length < first {
                let error = loaded.unwrap_err().to_string();
                assert!(error.contains("state.json") && error.contains("move it away"), "{error}");
                assert_eq!(fs::read(&path).unwrap(), &whole[..length]);
            } else {
                let complete = whole[..length].iter().filter(|b| **b == b'\n').count();
                assert_eq!(loaded.unwrap().unwrap().changes.len(), complete.saturating_sub(1), "{length}");
            }
        }
    }

    #[test]
    fn damage_in_the_middle_is_refused_by_line() {
        let (_folder, path, _) = written(2);
        let text = fs::read_to_string(&path).unwrap().replacen("add_service", "odd_service", 1);
        fs::write(&path, text).unwrap();
        let error = load(&path).unwrap_err().to_string();
        assert!(error.contains("line 2: ") && error.contains("head -n 1 "), "{error}");
    }

    #[test]
    fn the_remedy_that_is_told_works() {
        let (_folder, path, _) = written(3);
        let text = fs::read_to_string(&path).unwrap().replacen(":3\"", ":x\"", 1);
        fs::write(&path, text).unwrap();
        let error = load(&path).unwrap_err().to_string();
        let command = error.split('`').nth(1).unwrap();
        assert!(std::process::Command::new("sh").args(["-c", command]).status().unwrap().success(), "{command}");
        assert_eq!(load(&path).unwrap().unwrap().changes, [change(1), change(2)]);
    }

    #[test]
    fn changes_in_a_hurry_reach_the_disk_together() {
        let (_folder, _, mut keeper) = written(2);
        assert!(keeper.unsynced, "right after the whole was written");
        keeper.sync().unwrap();
        assert!(!keeper.unsynced);
        keeper.synced = keeper.synced.and_then(|at| at.checked_sub(SYNC));
        keeper.append(&change(3)).unwrap();
        assert!(!keeper.unsynced, "a change by itself is on the disk when it is accepted");
    }

    #[test]
    fn a_newer_programs_file_is_refused() {
        let (_folder, path, mut keeper) = written(0);
        keeper.replace(&State { version: 2, ..state() }).unwrap();
        let error = load(&path).unwrap_err().to_string();
        assert!(error.contains("version 2"), "{error}");
    }

    #[test]
    fn a_keeper_is_full_when_the_changes_outgrow_the_rules() {
        let (_folder, _, mut keeper) = written(0);
        keeper.changes = FEWEST_CHANGES;
        assert!(keeper.is_full(0) && !keeper.is_full(FEWEST_CHANGES + 1));
        assert!(Keeper::new("x".into()).is_full(9999));
    }

    #[test]
    fn a_file_that_was_moved_away_is_written_anew() {
        let (_folder, path, keeper) = written(1);
        assert!(!keeper.is_full(0));
        fs::rename(&path, path.with_extension("old")).unwrap();
        assert!(keeper.is_full(0));
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let mut keeper = Keeper::new("/nonexistent/state.json".into());
        let error = keeper.replace(&state()).unwrap_err().to_string();
        assert!(error.starts_with("the state file /nonexistent/state.json cannot be written"), "{error}");
    }
}
