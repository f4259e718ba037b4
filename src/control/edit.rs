//! The requests that change the rules, as functions of the rules alone: what the journal of the state file is replayed by.

use crate::control::reply::{ErrorCode, Failure};
use crate::control::request::Request;
use crate::control::rule_set::with_setting;
use crate::control::store::Store;
use crate::settings::Settings;

impl Request {
    /// Does it change the rules, by itself and in the same way whenever it is applied to the same rules?
    pub fn is_edit(&self) -> bool {
        matches!(
            self,
            Self::AddService(_)
                | Self::EditService(_)
                | Self::DeleteService { .. }
                | Self::AddDestination { .. }
                | Self::EditDestination { .. }
                | Self::DeleteDestination { .. }
                | Self::Flush {}
                | Self::SetTimeouts { .. }
                | Self::SetSetting { .. }
                | Self::StartDaemon(_)
                | Self::StopDaemon { .. }
        )
    }
}

impl Store {
    /// Makes the change that a request asks for.
    ///
    /// # Errors
    /// As the single changes; [`ErrorCode::Unsupported`] for a request that is none. Nothing has changed then.
    pub fn edit(&mut self, request: &Request) -> Result<(), Failure> {
        match request {
            Request::AddService(spec) => self.add_service(spec).map(drop),
            Request::EditService(spec) => self.edit_service(spec).map(drop),
            Request::DeleteService { service } => self.delete_service(service),
            Request::AddDestination { service, destination } => self.add_destination(service, destination).map(drop),
            Request::EditDestination { service, destination } => self.edit_destination(service, destination),
            Request::DeleteDestination { service, address } => self.delete_destination(service, *address),
            Request::SetTimeouts { tcp, tcp_fin, udp } => {
                self.set_settings(with_timeouts(self.settings(), [*tcp, *tcp_fin, *udp]))
            }
            Request::SetSetting { name, value } => self.set_settings(with_setting(&self.settings(), name, *value)?),
            // Settled when it was accepted, so that the interface is not asked again.
            Request::StartDaemon(spec) => self.start_daemon(spec, Some(0)),
            Request::StopDaemon { role } => self.stop_daemon(*role),
            Request::Flush {} => {
                self.flush();
                Ok(())
            }
            other => Err(Failure::new(ErrorCode::Unsupported, format!("{other:?} is no change of the rules"))),
        }
    }
}

/// The settings with new time-outs in seconds; 0 leaves one as it is.
fn with_timeouts(mut settings: Settings, seconds: [u32; 3]) -> Settings {
    let t = &mut settings.timeouts;
    for (slot, new) in [&mut t.tcp, &mut t.tcp_fin, &mut t.udp].into_iter().zip(seconds) {
        if new != 0 {
            *slot = new;
        }
    }
    settings
}
