//! What takes longer than a second says so, on the terminal of standard error and nowhere else.

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use indicatif::ProgressBar;

/// What is done sooner says nothing.
const SILENT: Duration = Duration::from_secs(1);
/// From one picture to the next.
const STEP: Duration = Duration::from_millis(200);

/// Something that is being done, until this is dropped.
#[derive(Debug)]
pub(super) struct Progress {
    count: Arc<AtomicU64>,
    running: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((end, thread)) = self.running.take() {
            drop(end);
            // It only draws; that it has panicked is told by itself.
            let _ = thread.join();
        }
    }
}

impl Progress {
    /// Begins; `what` is being done. Says nothing where lines of an answer run over the same terminal.
    pub(super) fn begin(what: String, prints_lines: bool) -> Self {
        let count = Arc::<AtomicU64>::default();
        let mixed = prints_lines && std::io::stdout().is_terminal();
        let shown = std::io::stderr().is_terminal() && !mixed;
        let running = shown.then(|| {
            let (end, ended) = channel();
            let counted = Arc::clone(&count);
            let draw = move || {
                if ended.recv_timeout(SILENT) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
                let bar = ProgressBar::new_spinner();
                while ended.recv_timeout(STEP) == Err(RecvTimeoutError::Timeout) {
                    bar.set_message(words(&what, counted.load(Ordering::Relaxed), bar.elapsed() + SILENT));
                    bar.tick();
                }
                bar.finish_and_clear();
            };
            (end, std::thread::spawn(draw))
        });
        Self { count, running }
    }

    /// So many more have come.
    pub(super) fn add(&self, more: usize) {
        self.count.fetch_add(more as u64, Ordering::Relaxed);
    }
}

fn words(what: &str, count: u64, elapsed: Duration) -> String {
    let counted = if count > 0 { format!(", {count} so far") } else { String::new() };
    format!("{what}{counted} ({} s)", elapsed.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_and_how_far() {
        assert_eq!(words("applying a.toml", 0, Duration::from_millis(1900)), "applying a.toml (1 s)");
        assert_eq!(words("listing", 300, Duration::from_secs(12)), "listing, 300 so far (12 s)");
    }
}
