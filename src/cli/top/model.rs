//! What `pollvs top` shows: replies and keys in, lines out. Pure: it neither asks nor draws nor knows the time.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use super::feed::{Question, Wish};
use super::state::{State, destination_state, service_state};
use crate::cli::plain::tables::method;
use crate::control::key::word;
use crate::control::reply::{CounterView, DestinationView, Rates, ServiceView, StatusView, WorkerView};
use crate::service::ServiceKey;

/// Values that a sparkline can show.
const HISTORY: usize = 60;

/// The director at one time; `None` for what it could not tell.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Sample {
    /// At a glance.
    pub(super) status: StatusView,
    /// Services with their destinations.
    pub(super) services: Option<Vec<ServiceView>>,
    /// Workers.
    pub(super) workers: Option<Vec<WorkerView>>,
    /// Drop reasons.
    pub(super) drops: Option<Vec<CounterView>>,
    /// Why it could not tell something, a sentence each.
    pub(super) refused: Vec<String>,
}

/// A key of the keyboard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Key {
    /// A letter and the like.
    Char(char),
    /// Up.
    Up,
    /// Down.
    Down,
    /// A page up.
    PageUp,
    /// A page down.
    PageDown,
    /// To the first line.
    Home,
    /// To the last line.
    End,
    /// Return.
    Enter,
    /// Escape.
    Esc,
    /// Tabulator.
    Tab,
    /// Takes back a letter.
    Backspace,
    /// The end, by Ctrl-C.
    Interrupt,
}

/// What a key asks for beyond the screen.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Action {
    /// The end.
    Quit,
    /// A change of the director.
    Change(Wish),
}

/// Which list is shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Pane {
    /// Services and destinations.
    #[default]
    Services,
    /// Workers.
    Workers,
    /// Drop reasons.
    Drops,
}

impl Pane {
    /// All, in the order of their keys.
    pub(super) const ALL: [(Self, &'static str); 3] =
        [(Self::Services, "services"), (Self::Workers, "workers"), (Self::Drops, "drops")];

    fn next(self) -> Self {
        let at = Self::ALL.iter().position(|(pane, _)| *pane == self).unwrap_or(0);
        Self::ALL[(at + 1) % Self::ALL.len()].0
    }
}

/// What the services are sorted by, greatest first.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Sort {
    /// As the director has them.
    #[default]
    Order,
    /// New connections a second.
    Connections,
    /// Active connections.
    Active,
    /// Bytes a second, both ways.
    Bytes,
    /// What is worst first.
    State,
}

impl Sort {
    const ALL: [Self; 5] = [Self::Order, Self::Connections, Self::Active, Self::Bytes, Self::State];

    /// What it is called on the screen.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Order => "order of creation",
            Self::Connections => "connections/s",
            Self::Active => "active",
            Self::Bytes => "bytes/s",
            Self::State => "state",
        }
    }

    fn next(self) -> Self {
        let at = Self::ALL.iter().position(|sort| *sort == self).unwrap_or(0);
        Self::ALL[(at + 1) % Self::ALL.len()]
    }

    fn weigh(self, line: &Line) -> u64 {
        match self {
            Self::Order => 0,
            Self::Connections => line.rates.connections,
            Self::Active => line.active,
            Self::Bytes => line.rates.in_bytes.saturating_add(line.rates.out_bytes),
            Self::State => line.state.level as u64,
        }
    }
}

/// What a line is of.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Id {
    /// The service.
    pub(super) service: ServiceKey,
    /// The destination, if it is one's.
    pub(super) destination: Option<SocketAddr>,
}

/// A service or a destination on the screen.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Line {
    /// Whose.
    pub(super) id: Id,
    /// Its name, after what shows its place.
    pub(super) name: String,
    /// Scheduler or forwarding method.
    pub(super) by: String,
    /// Of a destination: its weight in force.
    pub(super) weight: Option<u32>,
    /// Active connections.
    pub(super) active: u64,
    /// All others.
    pub(super) inactive: u64,
    /// Per second.
    pub(super) rates: Rates,
    /// How it is.
    pub(super) state: State,
}

/// A worker on the screen: what it does in a second.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Load {
    /// As it says of itself.
    pub(super) view: WorkerView,
    /// Of a hundred, the share of its time that went into turns with frames; `None` while there is nothing to compare with.
    pub(super) busy: Option<u64>,
    /// Frames in a burst.
    pub(super) burst: u64,
    /// Frames received off the wire.
    pub(super) received: u64,
    /// Frames transmitted.
    pub(super) transmitted: u64,
    /// Frames given to other workers.
    pub(super) handed_off: u64,
    /// Frames dropped.
    pub(super) dropped: u64,
}

/// Is the director there?
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) enum Link {
    /// It has not answered yet.
    #[default]
    Waiting,
    /// It answers.
    Up,
    /// It does not, since then, and why.
    Lost(Duration, String),
}

/// What is typed into, or asked.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) enum Prompt {
    /// Nothing.
    #[default]
    None,
    /// The filter is being typed.
    Filter,
    /// May this be done?
    Sure(String, Wish),
    /// The help is shown.
    Help,
}

/// The whole state.
#[derive(Debug, Default)]
pub(super) struct Top {
    /// What was heard last.
    pub(super) sample: Sample,
    heard_at: Option<Duration>,
    /// Now, as last told.
    pub(super) now: Duration,
    /// Each worker.
    pub(super) loads: Vec<Load>,
    /// Frames dropped a second, by the name of the reason.
    pub(super) drops: Vec<(CounterView, u64)>,
    history: HashMap<Id, VecDeque<u64>>,
    all_history: VecDeque<u64>,
    /// The director.
    pub(super) link: Link,
    /// The list.
    pub(super) pane: Pane,
    /// The order of services.
    pub(super) sort: Sort,
    /// The least first.
    pub(super) reversed: bool,
    /// Only what has this in it.
    pub(super) filter: String,
    /// What is typed into.
    pub(super) prompt: Prompt,
    /// The last word of the director on a change, and of the program.
    pub(super) message: String,
    collapsed: HashSet<ServiceKey>,
    cursor: Option<Id>,
    /// The first line that is shown.
    pub(super) offset: usize,
    height: usize,
}

impl Top {
    /// The director has answered.
    pub(super) fn heard(&mut self, sample: Sample, at: Duration) {
        let elapsed = self.heard_at.and_then(|before| at.checked_sub(before)).filter(|e| !e.is_zero());
        let before = std::mem::replace(&mut self.sample, sample);
        let same = before.status.pid == self.sample.status.pid;
        if before.status.pid != 0 && !same {
            self.message = format!("pollvsd was started again: process {}", self.sample.status.pid);
        }
        self.loads = self.compare_workers(&before, elapsed.filter(|_| same));
        self.drops = self.compare_drops(&before, elapsed.filter(|_| same));
        // What it could not tell is shown as it was.
        self.sample.services = self.sample.services.take().or(before.services);
        self.remember();
        (self.heard_at, self.now, self.link) = (Some(at), at, Link::Up);
        self.keep_cursor();
    }

    /// The director does not answer.
    pub(super) fn lost(&mut self, why: String, at: Duration) {
        self.now = at;
        match &mut self.link {
            Link::Lost(_, reason) => *reason = why,
            link => *link = Link::Lost(at, why),
        }
    }

    fn services(&self) -> &[ServiceView] {
        self.sample.services.as_deref().unwrap_or_default()
    }

    fn compare_workers(&self, before: &Sample, elapsed: Option<Duration>) -> Vec<Load> {
        let now = self.sample.workers.clone().unwrap_or_default();
        let before = before.workers.as_deref().unwrap_or_default();
        let load = |view: WorkerView| {
            let old = before.iter().find(|old| old.worker == view.worker && old.turns <= view.turns);
            match (old, elapsed) {
                (Some(old), Some(elapsed)) => compare(view, old, elapsed),
                _ => Load { view, ..Load::default() },
            }
        };
        now.into_iter().map(load).collect()
    }

    fn compare_drops(&self, before: &Sample, elapsed: Option<Duration>) -> Vec<(CounterView, u64)> {
        let now = self.sample.drops.clone().unwrap_or_default();
        let before = before.drops.as_deref().unwrap_or_default();
        let rate = |counter: CounterView| {
            let old = before.iter().find(|old| old.name == counter.name).map(|old| old.count);
            let rate =
                old.zip(elapsed).map_or(0, |(old, elapsed)| per_second(counter.count.saturating_sub(old), elapsed));
            (counter, rate)
        };
        now.into_iter().filter(|counter| counter.count > 0).map(rate).collect()
    }

    /// Keeps the rates of all that there is, and forgets those of what is gone.
    fn remember(&mut self) {
        let mut before = std::mem::take(&mut self.history);
        let services = self.sample.services.as_deref().unwrap_or_default();
        for service in services {
            let destinations = service.destinations.iter().map(|d| (Some(d.address), d.rates));
            for (destination, rates) in std::iter::once((None, service.rates)).chain(destinations) {
                let id = Id { service: service.service, destination };
                let mut values = before.remove(&id).unwrap_or_default();
                push(&mut values, rates.connections);
                self.history.insert(id, values);
            }
        }
        let all = services.iter().map(|s| s.rates.connections).sum();
        push(&mut self.all_history, all);
    }

    /// New connections a second of late, of a line or of all services.
    pub(super) fn history(&self, id: Option<Id>) -> &VecDeque<u64> {
        id.and_then(|id| self.history.get(&id)).unwrap_or(&self.all_history)
    }

    /// The services and destinations to show, in their order.
    pub(super) fn lines(&self) -> Vec<Line> {
        let mut services: Vec<_> = self.services().iter().filter_map(|s| self.with_destinations(s)).collect();
        self.arrange(&mut services, |(line, _)| line);
        let mut lines = Vec::new();
        for (service, mut destinations) in services {
            let open = !self.collapsed.contains(&service.id.service);
            lines.push(service);
            if open {
                self.arrange(&mut destinations, |line| line);
                lines.extend(destinations);
            }
        }
        lines
    }

    fn arrange<T>(&self, all: &mut [T], line: impl Fn(&T) -> &Line) {
        all.sort_by_key(|one| Reverse(self.sort.weigh(line(one))));
        if self.reversed {
            all.reverse();
        }
    }

    /// A service and those of its destinations that the filter leaves; `None` if it leaves none of both.
    fn with_destinations(&self, s: &ServiceView) -> Option<(Line, Vec<Line>)> {
        let sign = if self.collapsed.contains(&s.service) { '▸' } else { '▾' };
        let sum = |field: fn(&DestinationView) -> u64| s.destinations.iter().map(field).sum();
        let line = Line {
            id: Id { service: s.service, destination: None },
            name: format!("{sign} {}", word(&s.service)),
            by: s.scheduler.name().to_owned(),
            weight: None,
            active: sum(|d| d.active),
            inactive: sum(|d| d.inactive),
            rates: s.rates,
            state: service_state(s),
        };
        let fits = |text: &str| text.to_lowercase().contains(&self.filter.to_lowercase());
        let whole = fits(&word(&s.service)) || fits(&line.by);
        let destinations = s.destinations.iter().map(|d| destination_line(s, d));
        let left: Vec<_> = destinations.filter(|d| whole || fits(&d.name) || fits(&d.state.text)).collect();
        (whole || !left.is_empty()).then_some((line, left))
    }

    /// The line that the cursor is on.
    pub(super) fn cursor(&self) -> Option<Id> {
        self.cursor
    }

    /// The lists have room for so many lines.
    pub(super) fn set_height(&mut self, height: usize) {
        self.height = height;
        self.keep_cursor();
    }

    fn position(&self, lines: &[Line]) -> Option<usize> {
        self.cursor.and_then(|id| lines.iter().position(|line| line.id == id))
    }

    /// Puts the cursor on a line that there is, and that line on the screen.
    fn keep_cursor(&mut self) {
        let lines = self.lines();
        let at = self.position(&lines).unwrap_or_else(|| {
            let service = |line: &Line| self.cursor.is_some_and(|id| id.service == line.id.service);
            lines.iter().position(service).unwrap_or(0)
        });
        self.place(&lines, at);
    }

    fn place(&mut self, lines: &[Line], at: usize) {
        let at = at.min(lines.len().saturating_sub(1));
        self.cursor = lines.get(at).map(|line| line.id);
        let height = self.height.max(1);
        self.offset = self.offset.clamp((at + 1).saturating_sub(height), at).min(lines.len().saturating_sub(height));
    }

    fn go(&mut self, to: impl FnOnce(usize, usize) -> usize) {
        let lines = self.lines();
        let at = to(self.position(&lines).unwrap_or(0), lines.len());
        self.place(&lines, at);
    }

    /// A key was hit.
    pub(super) fn key(&mut self, key: Key) -> Option<Action> {
        if key == Key::Interrupt {
            return Some(Action::Quit);
        }
        match std::mem::take(&mut self.prompt) {
            Prompt::Filter => self.type_filter(key),
            Prompt::Sure(_, wish) => {
                let sure = matches!(key, Key::Char('y' | 'Y'));
                self.message = if sure { String::new() } else { "nothing is changed".to_owned() };
                return sure.then_some(Action::Change(wish));
            }
            Prompt::Help => {}
            Prompt::None => {
                self.message.clear();
                return self.command(key);
            }
        }
        None
    }

    fn type_filter(&mut self, key: Key) {
        match key {
            Key::Enter => return self.keep_cursor(),
            Key::Esc => self.filter.clear(),
            Key::Backspace => drop(self.filter.pop()),
            Key::Char(letter) => self.filter.push(letter),
            _ => {}
        }
        self.prompt = if key == Key::Esc { Prompt::None } else { Prompt::Filter };
        self.keep_cursor();
    }

    fn command(&mut self, key: Key) -> Option<Action> {
        let page = self.height.max(1);
        match key {
            Key::Char('q') => return Some(Action::Quit),
            Key::Up | Key::Char('k') => self.go(|at, _| at.saturating_sub(1)),
            Key::Down | Key::Char('j') => self.go(|at, _| at + 1),
            Key::PageUp => self.go(|at, _| at.saturating_sub(page)),
            Key::PageDown => self.go(|at, _| at + page),
            Key::Home => self.go(|_, _| 0),
            Key::End => self.go(|_, count| count),
            Key::Tab => self.pane = self.pane.next(),
            Key::Char(digit @ '1'..='3') => self.pane = Pane::ALL[digit as usize - '1' as usize].0,
            Key::Char('?' | 'h') => self.prompt = Prompt::Help,
            Key::Esc => {
                self.filter.clear();
                self.keep_cursor();
            }
            _ if self.pane == Pane::Services => self.services_command(key),
            _ => {}
        }
        None
    }

    /// Keys of the list of services.
    fn services_command(&mut self, key: Key) {
        match key {
            Key::Char('/') => self.prompt = Prompt::Filter,
            Key::Char('s') => self.sort = self.sort.next(),
            Key::Char('r') => self.reversed = !self.reversed,
            Key::Enter | Key::Char(' ') => self.fold(),
            Key::Char('e') => self.fold_all(),
            Key::Char('d') => self.ask(super::change::drain),
            Key::Char('D') => self.ask(super::change::quiesce),
            Key::Char('u') => self.ask(super::change::undrain),
            _ => {}
        }
        self.keep_cursor();
    }

    /// Shows or hides the destinations of the service that the cursor is in.
    fn fold(&mut self) {
        if let Some(Id { service, .. }) = self.cursor
            && !self.collapsed.remove(&service)
        {
            self.collapsed.insert(service);
            self.cursor = Some(Id { service, destination: None });
        }
    }

    fn fold_all(&mut self) {
        let all: Vec<_> = self.services().iter().map(|s| s.service).collect();
        if self.collapsed.is_empty() {
            self.collapsed.extend(all);
        } else {
            self.collapsed.clear();
        }
    }

    /// Asks whether a change of the destination under the cursor is to be made.
    fn ask(&mut self, change: fn(ServiceKey, &DestinationView) -> Question) {
        let chosen = self.cursor.and_then(|id| {
            let service = self.services().iter().find(|s| s.service == id.service)?;
            let destination = service.destinations.iter().find(|d| Some(d.address) == id.destination)?;
            Some((service.service, destination))
        });
        match chosen.map(|(service, destination)| change(service, destination)) {
            Some(Ok((question, wish))) => self.prompt = Prompt::Sure(question, wish),
            Some(Err(words)) => self.message = words,
            None => "choose a destination first".clone_into(&mut self.message),
        }
    }
}

fn destination_line(s: &ServiceView, d: &DestinationView) -> Line {
    Line {
        id: Id { service: s.service, destination: Some(d.address) },
        name: format!("  {}", d.address),
        by: method(d),
        weight: Some(d.weight),
        active: d.active,
        inactive: d.inactive,
        rates: d.rates,
        state: destination_state(d),
    }
}

fn push(values: &mut VecDeque<u64>, value: u64) {
    if values.len() == HISTORY {
        values.pop_front();
    }
    values.push_back(value);
}

fn per_second(count: u64, elapsed: Duration) -> u64 {
    let rate = u128::from(count) * 1000 / elapsed.as_millis().max(1);
    u64::try_from(rate).unwrap_or(u64::MAX)
}

fn compare(view: WorkerView, old: &WorkerView, elapsed: Duration) -> Load {
    let rate = |now: u64, before: u64| per_second(now.saturating_sub(before), elapsed);
    let bursts = view.busy_turns.saturating_sub(old.busy_turns);
    let busy_ns = u128::from(view.busy_ns.saturating_sub(old.busy_ns));
    let busy = busy_ns * 100 / elapsed.as_nanos().max(1);
    Load {
        busy: Some(u64::try_from(busy.min(100)).unwrap_or(100)),
        burst: view.frames.saturating_sub(old.frames).checked_div(bursts).unwrap_or(0),
        received: rate(view.received, old.received),
        transmitted: rate(view.transmitted, old.transmitted),
        handed_off: rate(view.handed_off, old.handed_off),
        dropped: rate(view.dropped, old.dropped),
        view,
    }
}
