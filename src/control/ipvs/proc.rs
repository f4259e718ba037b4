//! The texts of `/proc/net/ip_vs*` for the preload library: a request of a type of its own names the file, the answer carries a
//! descriptor to read it from. Short texts stand whole in memory. Connections, of which there may be a million, come by a pipe that is
//! filled as it is read, a page of a worker's table at a time.

use std::fs::File;
use std::io::{Seek as _, Write as _};
use std::os::fd::OwnedFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::memfd::{MFdFlags, memfd_create};
use tokio::io::AsyncWriteExt as _;
use tokio::net::unix::pipe;
use tokio::time::timeout;

use crate::conn::ConnFlags;
use crate::control::reply::{ConnectionView, ServiceView};
use crate::control::{Control, Inner, listing, proc};
use crate::mailbox::{ConnectionRow, WorkerHandle, Workers};

/// The type of a request for a text.
pub(super) const TEXT: u16 = 0x4957;
/// How long the reader of a pipe may rest: as long as a pager is likely to be looked at.
const PATIENCE: Duration = Duration::from_secs(3600);

/// What comes by a pipe.
#[derive(Clone, Copy)]
enum Listing {
    /// A line for each connection and template, below a title.
    Connections(&'static str, fn(&ConnectionView) -> String),
    /// The application helper, and how many connections it reads.
    Helpers,
}

impl Control {
    /// The text of that name, to be read from a descriptor.
    pub(super) async fn ipvs_text(&self, name: &str) -> Result<OwnedFd, Errno> {
        match name {
            "ip_vs_conn" => self.ipvs_pipe(Listing::Connections(proc::CONNECTIONS, proc::connection)),
            "ip_vs_conn_sync" => {
                self.ipvs_pipe(Listing::Connections(proc::CONNECTION_ORIGINS, proc::connection_origin))
            }
            "ip_vs_app" => self.ipvs_pipe(Listing::Helpers),
            _ => in_memory(&self.inner.lock().await.short_text(name).await?),
        }
    }

    fn ipvs_pipe(&self, listing: Listing) -> Result<OwnedFd, Errno> {
        let place = self.listings.clone().try_acquire_owned().map_err(|_| Errno::EBUSY)?;
        let (sender, receiver) = pipe::pipe().map_err(errno)?;
        let reader = receiver.into_blocking_fd().map_err(errno)?;
        let mut pipe = Pipe { workers: self.workers.clone(), sender };
        tokio::spawn(async move {
            pipe.fill(listing).await;
            drop(place);
        });
        Ok(reader)
    }
}

impl Inner {
    async fn short_text(&mut self, name: &str) -> Result<String, Errno> {
        if !matches!(name, "ip_vs" | "ip_vs_stats" | "ip_vs_stats_percpu") {
            return Err(Errno::ENOENT);
        }
        self.ask_totals().await.map_err(|_| Errno::ETIMEDOUT)?;
        let all = self.statistics.all();
        Ok(match name {
            "ip_vs" => proc::services(&self.views_in_kernels_order()),
            "ip_vs_stats" => proc::stats(&all.traffic(), &all.rates()),
            _ => proc::stats_percpu(&self.statistics.workers(), &all.traffic(), &all.rates()),
        })
    }

    fn views_in_kernels_order(&self) -> Vec<ServiceView> {
        let picture = self.picture();
        self.store.services_in_kernels_order().into_iter().map(|s| picture.service_view(s)).collect()
    }
}

/// A listing under way.
struct Pipe {
    workers: Workers,
    sender: pipe::Sender,
}

impl Pipe {
    /// Ends with the tables, with the reader, or with a worker that does not answer.
    async fn fill(&mut self, listing: Listing) -> Option<()> {
        match listing {
            Listing::Connections(title, line) => {
                self.write(title).await?;
                for templates in [false, true] {
                    self.lines(templates, line).await?;
                }
            }
            Listing::Helpers => {
                let helped = self.helped().await?;
                self.write(&proc::helpers(helped)).await?;
            }
        }
        Some(())
    }

    async fn lines(&mut self, templates: bool, line: fn(&ConnectionView) -> String) -> Option<()> {
        for worker in self.workers.clone().iter() {
            let mut at = Some((false, 0));
            while let Some(from) = at {
                let (rows, next) = page(worker, templates, from).await?;
                let view = |row| line(&listing::view(row, templates, worker.id.0));
                self.write(&rows.iter().map(view).collect::<String>()).await?;
                at = next;
            }
        }
        Some(())
    }

    async fn helped(&self) -> Option<usize> {
        let mut helped = 0;
        for worker in self.workers.iter() {
            let mut at = Some((false, 0));
            while let Some(from) = at {
                let (rows, next) = page(worker, false, from).await?;
                helped += rows.iter().filter(|row| row.flags.contains(ConnFlags::HELPED)).count();
                at = next;
            }
        }
        Some(helped)
    }

    async fn write(&mut self, text: &str) -> Option<()> {
        timeout(PATIENCE, self.sender.write_all(text.as_bytes())).await.ok()?.ok()
    }
}

/// Rows of one worker from a place on (IPv6 or not, and the entry), and the place after them.
async fn page(
    worker: &WorkerHandle,
    templates: bool,
    (v6, from): (bool, u32),
) -> Option<(Vec<ConnectionRow>, Option<(bool, u32)>)> {
    let page = worker.connections(templates, v6, from).await;
    let page = page.inspect_err(|silent| tracing::warn!("a listing is cut short: {silent}")).ok()?;
    let next = page.next.map(|next| (v6, next)).or((!v6).then_some((true, 0)));
    Some((page.rows, next))
}

fn in_memory(text: &str) -> Result<OwnedFd, Errno> {
    let mut file = File::from(memfd_create("ip_vs", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(text.as_bytes()).and_then(|()| file.rewind()).map_err(errno)?;
    Ok(file.into())
}

#[allow(clippy::needless_pass_by_value, reason = "as map_err hands it over")]
fn errno(error: std::io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}
