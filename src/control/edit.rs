//! The requests that change the rules, as functions of the rules alone: what the journal of the state file is replayed by.

use crate::control::reply::{ErrorCode, Failure};
use crate::control::request::{MarkFamily, Request};
use crate::control::rule_set::with_setting;
use crate::control::standing::drain::Drain;
use crate::control::store::Store;
use crate::mark::{self, MarkRules, Rule};
use crate::settings::Settings;

impl Request {
    /// Does it change the rules, by itself and in the same way whenever it is applied to the same rules?
    pub fn is_edit(&self) -> bool {
        matches!(
            self,
            Self::AddService(_)
                | Self::EditService(_)
                | Self::DeleteService { .. }
                | Self::SetPolicy { .. }
                | Self::SetCheck { .. }
                | Self::RemoveCheck { .. }
                | Self::AddDestination { .. }
                | Self::EditDestination { .. }
                | Self::DeleteDestination { .. }
                | Self::Drain { .. }
                | Self::Undrain { .. }
                | Self::Flush {}
                | Self::SetTimeouts { .. }
                | Self::SetSetting { .. }
                | Self::StartDaemon(_)
                | Self::StopDaemon { .. }
                | Self::AddMark { .. }
                | Self::ReplaceMark { .. }
                | Self::DeleteMark { .. }
                | Self::FlushMarks { .. }
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
            Request::SetPolicy { service, policy } => self.set_policy(service, policy).map(drop),
            Request::SetCheck { service, destination, check } => self.set_check(service, *destination, check),
            Request::RemoveCheck { service, destination } => self.remove_check(service, *destination),
            Request::AddDestination { service, destination } => self.add_destination(service, destination).map(drop),
            Request::EditDestination { service, destination } => self.edit_destination(service, destination),
            Request::DeleteDestination { service, address } => self.delete_destination(service, *address),
            Request::Drain { destination, service, templates, remove, until, .. } => {
                let how = Drain { templates: *templates, remove: *remove, until: *until };
                self.drain(*destination, service.as_ref(), how)
            }
            Request::Undrain { destination, service } => self.undrain(*destination, service.as_ref()),
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
            Request::AddMark { .. }
            | Request::ReplaceMark { .. }
            | Request::DeleteMark { .. }
            | Request::FlushMarks { .. } => {
                let mut rules = self.marks().clone();
                change_marks(&mut rules, request)?;
                self.set_marks(rules);
                Ok(())
            }
            other => Err(Failure::new(ErrorCode::Unsupported, format!("{other:?} is no change of the rules"))),
        }
    }
}

/// Makes the change of mark rules that a request asks for.
fn change_marks(rules: &mut MarkRules, request: &Request) -> Result<(), Failure> {
    match request {
        Request::AddMark { family, rule, position } => {
            let (rule, chain) = (mark_rule(*family, rule)?, rules.of_mut(family.v6()));
            let at = position.map_or(Ok(chain.len()), |p| place(p, chain.len() + 1))?;
            if chain.len() >= mark::MOST_RULES {
                let text = format!("no room for more than {} mark rules", mark::MOST_RULES);
                return Err(Failure::new(ErrorCode::Full, text));
            }
            chain.insert(at, rule);
        }
        Request::ReplaceMark { family, rule, position } => {
            let (rule, chain) = (mark_rule(*family, rule)?, rules.of_mut(family.v6()));
            let at = place(*position, chain.len())?;
            chain[at] = rule;
        }
        Request::DeleteMark { family, position } => {
            let chain = rules.of_mut(family.v6());
            let at = place(*position, chain.len())?;
            chain.remove(at);
        }
        Request::FlushMarks { family: Some(family) } => rules.of_mut(family.v6()).clear(),
        _ => *rules = MarkRules::default(),
    }
    Ok(())
}

fn mark_rule(family: MarkFamily, text: &str) -> Result<Rule, Failure> {
    let wrong = |error| Failure::new(ErrorCode::InvalidArgument, format!("the mark rule {text:?}: {error}"));
    Rule::from_text(family.v6(), text).map_err(wrong)
}

/// The index of a place that is counted from 1 on.
fn place(position: u32, places: usize) -> Result<usize, Failure> {
    let missing = || Failure::new(ErrorCode::NoSuchRule, format!("there is no place {position} among the mark rules"));
    let index = usize::try_from(position).ok().and_then(|p| p.checked_sub(1));
    index.filter(|index| *index < places).ok_or_else(missing)
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
