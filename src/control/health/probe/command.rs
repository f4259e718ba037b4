//! A program: good if it exits with 0. It has a process group of its own, which is killed when the program has ended or its time is
//! over, so that what it has started goes along. What it prints is for the outcome; only its beginning is kept, and nobody waits for an
//! end of it that a child in the background holds up. Of the director's descriptors it gets none.

use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, Command};

use super::super::plan::Program;
use super::{Outcome, excerpt, words};

/// Descriptors from here on are none of the program's.
const OTHERS: i32 = 3;
/// Bytes of what it prints that are kept.
const KEPT: usize = 4096;
/// How long what it printed last is waited for after its end.
const LAST_WORDS: Duration = Duration::from_millis(20);

pub(super) async fn probe(program: &Program) -> Outcome {
    let (path, arguments) = program.command.split_first().ok_or("there is no program")?;
    let mut command = Command::new(path);
    command.args(arguments).envs(&program.environment).current_dir("/").process_group(0).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // Not all that a process has open is marked so: DPDK's are not, nor what this one was started with.
    close_fds::set_fds_cloexec_threadsafe(OTHERS, &[]);
    let mut child = command.spawn().map_err(|e| format!("{path}: {}", words(&e)))?;
    let _group = Group::of(&child);
    let (mut out, mut err) = (child.stdout.take(), child.stderr.take());
    let (mut said, mut complained) = (Vec::new(), Vec::new());
    let ended = {
        let printed = async { tokio::join!(keep(out.as_mut(), &mut said), keep(err.as_mut(), &mut complained)) };
        tokio::pin!(printed);
        tokio::select! {
            ended = child.wait() => {
                let _ = tokio::time::timeout(LAST_WORDS, printed).await;
                ended
            }
            _ = &mut printed => child.wait().await,
        }
    };
    let printed = if complained.is_empty() { said } else { complained };
    judge(ended.map_err(|e| words(&e))?, &printed)
}

fn judge(ended: ExitStatus, printed: &[u8]) -> Outcome {
    let status = ended.to_string().replace("exit status:", "exit status");
    let text = if printed.is_empty() { status } else { format!("{status}, {}", excerpt(printed)) };
    if ended.success() { Ok(text) } else { Err(text) }
}

/// Reads to the end, and keeps the beginning: a program that nobody listens to would wait.
async fn keep(from: Option<&mut (impl AsyncRead + Unpin)>, to: &mut Vec<u8>) {
    let Some(from) = from else { return };
    let mut buffer = vec![0; KEPT];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let room = KEPT - to.len();
        to.extend_from_slice(&buffer[..length.min(room)]);
    }
}

/// The process group of a child, killed when this is dropped.
struct Group(Option<Pid>);

impl Group {
    /// That of a child that leads one.
    fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // Nobody may be left in it.
            let _ = killpg(group, Signal::SIGKILL);
        }
    }
}
