//! The state file: what was accepted, kept across restarts. JSON, replaced atomically (written beside, synced, renamed), so that a
//! crash leaves the old or the new one and never half of one. A file that cannot be understood is refused, never overwritten.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::control::rule_set::RuleSet;

/// Version of the format.
const VERSION: u32 = 1;

/// What is kept.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    version: u32,
    /// The rules in force.
    pub rules: RuleSet,
    /// The rules of the configuration file when it was last read: what has changed in the file since is known by it.
    pub file: RuleSet,
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
    #[error(
        "the state file {path} cannot be understood: {reason}; put back a good copy, or move it away to start with the \
         rules of the configuration alone"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
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

impl State {
    /// What is to be kept now.
    pub fn new(rules: RuleSet, file: RuleSet) -> Self {
        Self { version: VERSION, rules, file }
    }

    /// Reads the file; `None` when there is none yet.
    ///
    /// # Errors
    /// [`StateError::Unreadable`], [`StateError::Damaged`].
    pub fn load(path: &Path) -> Result<Option<Self>, StateError> {
        let text = match fs::read(path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(reason) => return Err(StateError::Unreadable { path: path.to_owned(), reason }),
        };
        let damaged = |reason| StateError::Damaged { path: path.to_owned(), reason };
        let state: Self = serde_json::from_slice(&text).map_err(|e| damaged(e.to_string()))?;
        if state.version != VERSION {
            return Err(damaged(format!("it is of version {}, this program knows {VERSION}", state.version)));
        }
        Ok(Some(state))
    }

    /// Replaces the file.
    ///
    /// # Errors
    /// [`StateError::Unwritable`]; the old file is as it was.
    pub fn save(&self, path: &Path) -> Result<(), StateError> {
        self.replace(path).map_err(|reason| StateError::Unwritable { path: path.to_owned(), reason })
    }

    fn replace(&self, path: &Path) -> io::Result<()> {
        let mut beside = path.as_os_str().to_owned();
        beside.push(".new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        sync_folder(path)
    }
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

    #[test]
    fn what_is_saved_is_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        assert!(State::load(&path).unwrap().is_none());
        State::new(RuleSet::default(), RuleSet::default()).save(&path).unwrap();
        state().save(&path).unwrap();
        assert_eq!(State::load(&path).unwrap(), Some(state()));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn every_truncation_is_refused_with_the_name_and_the_remedy_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        state().save(&path).unwrap();
        let whole = fs::read(&path).unwrap();
        for length in 0..whole.len() - 2 {
            fs::write(&path, &whole[..length]).unwrap();
            let error = State::load(&path).unwrap_err().to_string();
            assert!(error.contains("state.json") && error.contains("move it away"), "{error}");
            assert_eq!(fs::read(&path).unwrap(), &whole[..length]);
        }
    }

    #[test]
    fn a_newer_programs_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        State { version: 2, ..state() }.save(&path).unwrap();
        let error = State::load(&path).unwrap_err().to_string();
        assert!(error.contains("version 2"), "{error}");
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let error = state().save(Path::new("/nonexistent/state.json")).unwrap_err().to_string();
        assert!(error.starts_with("the state file /nonexistent/state.json cannot be written"), "{error}");
    }
}
