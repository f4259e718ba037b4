//! The model on the screen. Colours only tell what is wrong: yellow for care, red for bad; without colours the words still say it.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line as Words, Span, Text};
use ratatui::widgets::{Block, Clear, Paragraph, Row, Table};

use super::model::{Line, Link, Load, Pane, Prompt, Top};
use super::state::Level;
use crate::cli::figure::{fitted, percent, short, short_time, sparkline};
use crate::cli::plain::tables::duration;
use crate::control::key::word;
use crate::control::reply::Rates;

/// Lines above a list: three on the director, the panes, and the headings.
const ABOVE: u16 = 5;
/// Lines below it.
const BELOW: u16 = 1;

pub(super) const HELP: [&str; 16] = [
    "1 2 3, Tab      services, workers, drops",
    "up down j k     to a line; PgUp, PgDn, Home, End",
    "Enter, space    show or hide the destinations of a service",
    "e               show or hide those of all",
    "s               sort by: order, connections/s, active, bytes/s, state",
    "r               the other way round",
    "/               only lines with this text in them; Esc shows all",
    "d               no new connections to it; it goes after the last (asks)",
    "D               no new connections to it; it stays (asks)",
    "u               new connections to it again (asks)",
    "q               the end",
    "",
    "k, M, G are thousands, millions, ...; n, u, m, s are units of time.",
    "Rates are estimated over some seconds, as ipvsadm --rate does.",
    "LOAD is the share of time spent on frames, BURST the frames in a turn,",
    "50 %, 99 %, MOST how long turns took in the last 10 to 20 seconds.",
];

/// With or without colours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Look {
    /// False with `NO_COLOR`.
    pub(super) colours: bool,
}

impl Look {
    fn level(self, level: Level) -> Style {
        match level {
            Level::Care if self.colours => Style::new().fg(Color::Yellow),
            Level::Bad if self.colours => Style::new().fg(Color::Red).add_modifier(Modifier::BOLD),
            Level::Bad => Style::new().add_modifier(Modifier::BOLD),
            _ => Style::new(),
        }
    }

    /// Something above zero that should be zero.
    fn fault(self, n: u64) -> Style {
        self.level(if n > 0 { Level::Bad } else { Level::Good })
    }
}

/// Lines that a list has on a screen so high.
pub(super) fn list_height(height: u16) -> usize {
    height.saturating_sub(ABOVE + BELOW).into()
}

/// Draws all of it.
pub(super) fn draw(frame: &mut Frame<'_>, top: &Top, look: Look) {
    let area = frame.area();
    let parts = Layout::vertical([Constraint::Length(ABOVE - 1), Constraint::Fill(1), Constraint::Length(BELOW)]);
    let [above, list, below] = parts.areas(area);
    frame.render_widget(Paragraph::new(heading(top, look, area.width.into())), above);
    match top.pane {
        Pane::Services => services(frame, list, top, look),
        Pane::Workers => workers(frame, list, top, look),
        Pane::Drops => drops(frame, list, top, look),
    }
    frame.render_widget(foot(top, look), below);
    if top.prompt == Prompt::Help {
        help(frame, area);
    }
}

fn heading(top: &Top, look: Look, width: usize) -> Text<'static> {
    Text::from(vec![identity(top, look, width), figures(top, look), trend(top, width), panes(top, width)])
}

/// Who answers, or that nobody does.
fn identity(top: &Top, look: Look, width: usize) -> Words<'static> {
    let status = &top.sample.status;
    let rest = match &top.link {
        Link::Waiting => "waiting for pollvsd".to_owned(),
        Link::Lost(since, why) => {
            let text = format!("NO ANSWER for {} s: {why}", top.now.saturating_sub(*since).as_secs());
            return Words::styled(fitted(&text, width), look.level(Level::Bad).add_modifier(Modifier::REVERSED));
        }
        Link::Up => {
            let draining = if status.draining { ", draining" } else { "" };
            format!(
                "pollvsd {}, process {}, up {}{draining}; {} services, {} destinations (version {})",
                status.version,
                status.pid,
                duration(status.uptime_secs),
                status.services,
                status.destinations,
                status.snapshot
            )
        }
    };
    Words::raw(fitted(&rest, width))
}

fn figures(top: &Top, look: Look) -> Words<'static> {
    let status = &top.sample.status;
    let mut sum = Rates::default();
    for service in top.sample.services.iter().flatten() {
        sum.connections += service.rates.connections;
        sum.in_bytes += service.rates.in_bytes;
        sum.out_bytes += service.rates.out_bytes;
    }
    let dropped = top.drops.iter().map(|(_, rate)| rate).sum();
    let full = percent(status.connections, status.connections_max);
    let fullness = if full >= 80 { Level::Bad } else { Level::Good };
    let used = format!("{} of {}, {full} %", short(status.connections), short(status.connections_max));
    let new = short(sum.connections);
    let (bytes_in, bytes_out) = (short(sum.in_bytes), short(sum.out_bytes));
    Words::from(vec![
        Span::raw("connections "),
        Span::styled(used, look.level(fullness)),
        Span::raw(format!("; new {new}/s; bytes/s in {bytes_in}, out {bytes_out}; ")),
        Span::styled(format!("dropped {}/s", short(dropped)), look.fault(dropped)),
    ])
}

/// New connections of what the cursor is on; what somebody should look at goes before.
fn trend(top: &Top, width: usize) -> Words<'static> {
    let warnings: Vec<_> = top.sample.refused.iter().chain(&top.sample.status.warnings).collect();
    if let (Pane::Drops | Pane::Workers, Some(first)) = (top.pane, warnings.first()) {
        let more = if warnings.len() > 1 { format!(" (and {} more)", warnings.len() - 1) } else { String::new() };
        return Words::raw(fitted(&format!("warning: {first}{more}"), width));
    }
    let of = match top.cursor().filter(|_| top.pane == Pane::Services) {
        Some(id) => id.destination.map_or_else(|| word(&id.service), |d| d.to_string()),
        None => "all services".to_owned(),
    };
    let id = top.cursor().filter(|_| top.pane == Pane::Services);
    let history = top.history(id);
    let (now, most) = (history.back().copied().unwrap_or(0), history.iter().max().copied().unwrap_or(0));
    let before = format!("new/s {} ", fitted(&of, width / 3));
    let after = format!(" now {}, most {}", short(now), short(most));
    let room = width.saturating_sub(before.chars().count() + after.chars().count()).min(60);
    Words::raw(format!("{before}{}{after}", sparkline(history.iter().copied(), room)))
}

fn panes(top: &Top, width: usize) -> Words<'static> {
    let mut spans = Vec::new();
    for (number, (pane, name)) in (1..).zip(Pane::ALL) {
        let style = if pane == top.pane { Style::new().add_modifier(Modifier::REVERSED) } else { Style::new() };
        spans.push(Span::styled(format!(" {number} {name} "), style));
        spans.push(Span::raw(" "));
    }
    if top.pane == Pane::Services {
        let turned = if top.reversed { ", turned round" } else { "" };
        let filter = if top.filter.is_empty() { String::new() } else { format!(", only {:?}", top.filter) };
        spans.push(Span::raw(fitted(&format!("by {}{turned}{filter}", top.sort.name()), width.saturating_sub(37))));
    }
    Words::from(spans)
}

/// One column of a list.
struct Column<T> {
    heading: &'static str,
    width: Constraint,
    /// Right-aligned?
    number: bool,
    /// Shown on screens of this width and more.
    from: u16,
    text: fn(&Top, &T) -> String,
    level: fn(&T) -> Level,
}

const fn plain<T>(_: &T) -> Level {
    Level::Good
}

const fn column<T>(heading: &'static str, width: u16, text: fn(&Top, &T) -> String) -> Column<T> {
    Column { heading, width: Constraint::Length(width), number: true, from: 0, text, level: plain }
}

const fn wide<T>(column: Column<T>, from: u16) -> Column<T> {
    Column { from, ..column }
}

fn list<T>(frame: &mut Frame<'_>, area: Rect, columns: &[Column<T>], top: &Top, look: Look, rows: &[(T, bool)]) {
    let shown: Vec<_> = columns.iter().filter(|c| area.width >= c.from).collect();
    let aligned = |words: Words<'static>, number: bool| if number { words.right_aligned() } else { words };
    let heading = |c: &&Column<T>| Text::from(aligned(Words::raw(c.heading), c.number));
    let cell = |c: &&Column<T>, row: &T| {
        Text::from(aligned(Words::styled((c.text)(top, row), look.level((c.level)(row))), c.number))
    };
    let line = |(row, chosen): &(T, bool)| {
        let style = if *chosen { Style::new().add_modifier(Modifier::REVERSED) } else { Style::new() };
        Row::new(shown.iter().map(|c| cell(c, row))).style(style)
    };
    let underlined = Style::new().add_modifier(Modifier::UNDERLINED);
    let table = Table::new(rows.iter().map(line), shown.iter().map(|c| c.width))
        .header(Row::new(shown.iter().map(heading)).style(underlined));
    frame.render_widget(table, area);
}

fn service_columns() -> [Column<Line>; 12] {
    let name =
        Column { width: Constraint::Fill(2), number: false, ..column("SERVICE", 0, |_, l: &Line| l.name.clone()) };
    let state = |_: &Top, l: &Line| l.state.text.clone();
    let state = Column {
        width: Constraint::Fill(1),
        number: false,
        level: |l: &Line| l.state.level,
        ..column("STATE", 0, state)
    };
    let trend = |top: &Top, l: &Line| sparkline(top.history(Some(l.id)).iter().copied(), 16);
    [
        name,
        wide(Column { number: false, ..column("BY", 8, |_, l: &Line| l.by.clone()) }, 90),
        column("WEIGHT", 6, |_, l: &Line| l.weight.map_or(String::new(), |w| short(w.into()))),
        column("ACTIVE", 6, |_, l: &Line| short(l.active)),
        column("INACT", 5, |_, l: &Line| short(l.inactive)),
        column("NEW/S", 5, |_, l: &Line| short(l.rates.connections)),
        wide(column("PKT/S IN", 8, |_, l: &Line| short(l.rates.in_packets)), 110),
        wide(column("OUT", 5, |_, l: &Line| short(l.rates.out_packets)), 110),
        column("B/S IN", 6, |_, l: &Line| short(l.rates.in_bytes)),
        column("OUT", 5, |_, l: &Line| short(l.rates.out_bytes)),
        wide(column("NEW/S OF LATE", 16, trend), 130),
        state,
    ]
}

fn services(frame: &mut Frame<'_>, area: Rect, top: &Top, look: Look) {
    let height = usize::from(area.height.saturating_sub(1));
    let chosen = top.cursor();
    let lines = top.lines().into_iter().skip(top.offset).take(height);
    let rows: Vec<_> = lines.map(|line| (chosen == Some(line.id), line)).map(|(chosen, line)| (line, chosen)).collect();
    list(frame, area, &service_columns(), top, look, &rows);
}

fn worker_columns() -> [Column<Load>; 13] {
    let fault = |l: &Load| if l.dropped > 0 { Level::Bad } else { Level::Good };
    let crowded = |l: &Load| if l.view.connections * 5 > l.view.connections_max * 4 { Level::Bad } else { Level::Good };
    let busy = |l: &Load| if l.busy.is_some_and(|busy| busy >= 90) { Level::Bad } else { Level::Good };
    let load = |_: &Top, l: &Load| l.busy.map_or("-".to_owned(), |busy| format!("{busy} %"));
    let full = Column {
        level: crowded,
        ..column("FULL", 5, |_, l: &Load| format!("{} %", percent(l.view.connections, l.view.connections_max)))
    };
    [
        column("WORKER", 6, |_, l: &Load| l.view.worker.to_string()),
        column("CORE", 4, |_, l: &Load| l.view.cpu.map_or("-".to_owned(), |c| c.to_string())),
        Column { level: busy, ..column("LOAD", 5, load) },
        column("BURST", 5, |_, l: &Load| l.burst.to_string()),
        column("50 %", 5, |_, l: &Load| short_time(l.view.bursts.p50_ns)),
        column("99 %", 5, |_, l: &Load| short_time(l.view.bursts.p99_ns)),
        column("MOST", 5, |_, l: &Load| short_time(l.view.bursts.max_ns)),
        column("RECV/S", 6, |_, l: &Load| short(l.received)),
        column("SENT/S", 6, |_, l: &Load| short(l.transmitted)),
        column("HANDED/S", 8, |_, l: &Load| short(l.handed_off)),
        Column { level: fault, ..column("DROP/S", 6, |_, l: &Load| short(l.dropped)) },
        wide(column("CONNECTIONS", 11, |_, l: &Load| short(l.view.connections)), 95),
        full,
    ]
}

fn workers(frame: &mut Frame<'_>, area: Rect, top: &Top, look: Look) {
    let rows: Vec<_> = top.loads.iter().map(|load| (load.clone(), false)).collect();
    list(frame, area, &worker_columns(), top, look, &rows);
}

/// A drop reason: name, total, how many a second, text.
type Drop = (String, u64, u64, String);

fn drops(frame: &mut Frame<'_>, area: Rect, top: &Top, look: Look) {
    let left = |heading, width, text| Column { width, number: false, ..column(heading, 0, text) };
    let columns: [Column<Drop>; 4] = [
        left("REASON", Constraint::Length(18), |_, d: &Drop| d.0.clone()),
        Column {
            level: |d: &Drop| if d.2 > 0 { Level::Bad } else { Level::Good },
            ..column("A SECOND", 8, |_, d: &Drop| short(d.2))
        },
        column("ALL", 6, |_, d: &Drop| short(d.1)),
        left("MEANING", Constraint::Fill(1), |_, d: &Drop| d.3.clone()),
    ];
    let mut rows: Vec<_> =
        top.drops.iter().map(|(c, rate)| ((c.name.clone(), c.count, *rate, c.text.clone()), false)).collect();
    rows.sort_by_key(|((_, all, rate, _), _)| std::cmp::Reverse((*rate, *all)));
    list(frame, area, &columns, top, look, &rows);
}

/// Keys, a question, or the last word.
fn foot(top: &Top, look: Look) -> Words<'static> {
    match &top.prompt {
        Prompt::Filter => Words::raw(format!("/{}_   Enter keeps it, Esc shows all", top.filter)),
        Prompt::Sure(question, _) => {
            Words::styled(format!("y/n  {question}"), look.level(Level::Care).add_modifier(Modifier::REVERSED))
        }
        _ if !top.message.is_empty() => Words::raw(top.message.clone()),
        _ if top.pane == Pane::Services => {
            Words::raw("? help  / filter  s sort  Enter fold  d drain  u undrain  Tab pane  q quit")
        }
        _ => Words::raw("? help  Tab pane  q quit"),
    }
}

fn help(frame: &mut Frame<'_>, area: Rect) {
    let (width, height) = (74.min(area.width), 18.min(area.height));
    let middle = Rect { x: (area.width - width) / 2, y: (area.height - height) / 2, width, height };
    let words: Vec<_> = HELP.iter().map(|line| Words::raw(*line)).collect();
    frame.render_widget(Clear, middle);
    frame.render_widget(Paragraph::new(words).block(Block::bordered().title(" keys ")), middle);
}
