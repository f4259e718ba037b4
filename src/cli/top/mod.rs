//! `pollvs top`: services, destinations and workers on a terminal, renewed every second (`docs/top.md`).

mod change;
mod draw;
mod feed;
mod model;
mod state;

use std::io::{self, IsTerminal as _};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, TryRecvError};
use std::time::{Duration, Instant};

use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::{DefaultTerminal, Frame};

use draw::{Look, draw, list_height};
use feed::{News, Wish};
use model::{Action, Key, Top};

/// How long a key or the director is waited for before the other is looked at.
const GLANCE: Duration = Duration::from_millis(50);

/// Shows the director until somebody has seen enough.
///
/// # Errors
/// When there is no terminal, or it does not do as it is told.
pub fn run(socket: &Path) -> io::Result<()> {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        return Err(io::Error::other(
            "pollvs top needs a terminal; pollvs services and pollvs workers print without one",
        ));
    }
    let colours = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let (wishes, news) = feed::start(socket.to_owned());
    let mut screen = Screen { top: Top::default(), look: Look { colours }, wishes, news, begun: Instant::now() };
    let mut terminal = ratatui::try_init()?;
    let outcome = screen.run(&mut terminal);
    ratatui::try_restore()?;
    outcome
}

struct Screen {
    top: Top,
    look: Look,
    wishes: Sender<Wish>,
    news: Receiver<News>,
    begun: Instant,
}

impl Screen {
    fn run(&mut self, terminal: &mut DefaultTerminal) -> io::Result<()> {
        loop {
            let height = terminal.size()?.height;
            self.top.set_height(list_height(height));
            terminal.draw(|frame: &mut Frame<'_>| draw(frame, &self.top, self.look))?;
            // Until there is something new to draw.
            while !self.hear() {
                if !event::poll(GLANCE)? {
                    continue;
                }
                match event::read()? {
                    Event::Key(hit) => match key(hit).and_then(|key| self.top.key(key)) {
                        Some(Action::Quit) => return Ok(()),
                        // That the feed has ended is told by it.
                        Some(Action::Change(wish)) => drop(self.wishes.send(wish)),
                        None => {}
                    },
                    Event::Resize(..) => {}
                    _ => continue,
                }
                break;
            }
        }
    }

    /// Takes what has come from the director; false if nothing has.
    fn hear(&mut self) -> bool {
        let mut heard = false;
        loop {
            match self.news.try_recv() {
                Ok(News::Heard(sample)) => self.top.heard(*sample, self.begun.elapsed()),
                Ok(News::Lost(why)) => self.top.lost(why, self.begun.elapsed()),
                Ok(News::Done(words) | News::Refused(words)) => self.top.message = words,
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => return heard,
            }
            heard = true;
        }
    }
}

/// What a key means; `None` for those that mean nothing.
fn key(hit: KeyEvent) -> Option<Key> {
    if hit.kind == KeyEventKind::Release {
        return None;
    }
    let control = hit.modifiers.contains(KeyModifiers::CONTROL);
    Some(match hit.code {
        KeyCode::Char('c') if control => Key::Interrupt,
        KeyCode::Char(_) if control => return None,
        KeyCode::Char(letter) => Key::Char(letter),
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        KeyCode::PageUp => Key::PageUp,
        KeyCode::PageDown => Key::PageDown,
        KeyCode::Home => Key::Home,
        KeyCode::End => Key::End,
        KeyCode::Enter => Key::Enter,
        KeyCode::Esc => Key::Esc,
        KeyCode::Tab => Key::Tab,
        KeyCode::Backspace => Key::Backspace,
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
