//! The life of templates: long random histories of one persistent service, against a slow and obvious book of what there must be.
use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{Fate, World};
use pollvs::wire::sample::{at, tcp};

/// What happens. Servers, clients and connections are taken modulo how many there are.
#[derive(Clone, Debug)]
enum Event {
    /// A client opens a connection from a port of its own.
    Open {
        client: u8,
    },
    /// The client of a connection sends an ACK.
    Ack {
        connection: usize,
    },
    /// The server of a connection resets it.
    Reset {
        connection: usize,
    },
    Wait {
        seconds: u32,
    },
    Weight {
        server: u8,
        weight: u32,
    },
    Remove {
        server: u8,
    },
    Add {
        server: u8,
    },
    /// Seconds of persistence.
    Persist {
        seconds: u32,
    },
    Quiescent {
        expire: bool,
    },
    Nodest {
        expire: bool,
    },
}

const CLIENTS: u8 = 3;
const SERVERS: u8 = 3;
/// A template that nobody controls any more, and what one that is due with connections is given.
const MINUTE: u32 = 60;
/// Port of a template that is not followed any more.
const RETIRED: u16 = 65535;

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        8 => (0..CLIENTS).prop_map(|client| Event::Open { client }),
        3 => any::<usize>().prop_map(|connection| Event::Ack { connection }),
        3 => any::<usize>().prop_map(|connection| Event::Reset { connection }),
        5 => (1_u32..70).prop_map(|seconds| Event::Wait { seconds }),
        2 => (0..SERVERS, 0_u32..3).prop_map(|(server, weight)| Event::Weight { server, weight }),
        2 => (0..SERVERS).prop_map(|server| Event::Remove { server }),
        2 => (0..SERVERS).prop_map(|server| Event::Add { server }),
        1 => (1_u32..100).prop_map(|seconds| Event::Persist { seconds }),
        1 => any::<bool>().prop_map(|expire| Event::Quiescent { expire }),
        1 => any::<bool>().prop_map(|expire| Event::Nodest { expire }),
    ]
}

#[derive(Clone, Debug)]
struct Template {
    client: u8,
    port: u16,
    server: u8,
    assured: bool,
    timeout: u32,
    left: u32,
}

#[derive(Clone, Debug)]
struct Connection {
    client: u8,
    cport: u16,
    server: u8,
    template: u32,
    state: &'static str,
    left: u32,
}

/// Time-outs of the states as the world is set.
fn seconds_of(state: &str) -> u32 {
    match state {
        "SYN_RECV" => 60,
        "ESTABLISHED" => 25,
        _ => 10,
    }
}

/// The book.
#[derive(Debug)]
struct Book {
    /// Weight of each server that is there.
    servers: BTreeMap<u8, u32>,
    persistence: u32,
    expire_quiescent: bool,
    expire_nodest: bool,
    templates: BTreeMap<u32, Template>,
    connections: Vec<Connection>,
    made: u32,
    cport: u16,
}

impl Book {
    fn usable(&self, server: u8) -> bool {
        self.servers.get(&server).is_some_and(|weight| *weight > 0)
    }

    fn is_followed(&self, template: &Template) -> bool {
        let weight = self.servers.get(&template.server);
        weight.is_some_and(|weight| *weight > 0 || !self.expire_quiescent)
    }

    /// The client's template, if it has one; its timer starts again. One that is not followed any more steps aside and keeps its time.
    fn followed(&mut self, client: u8) -> Option<u32> {
        let of = |t: &Template| t.client == client && t.port == 80;
        let (id, template) = self.templates.iter().find(|(_, t)| of(t)).map(|(id, t)| (*id, t.clone()))?;
        let follows = self.is_followed(&template);
        let entry = self.templates.get_mut(&id).expect("just found");
        if follows {
            entry.left = entry.timeout;
        } else {
            entry.port = RETIRED;
        }
        follows.then_some(id)
    }

    fn make(&mut self, client: u8, server: u8) -> u32 {
        let (timeout, left) = (self.persistence, self.persistence);
        self.made += 1;
        self.templates.insert(self.made, Template { client, port: 80, server, assured: false, timeout, left });
        self.made
    }

    fn controls(&self, template: u32) -> bool {
        self.connections.iter().any(|c| c.template == template)
    }

    fn second(&mut self) {
        self.connections.iter_mut().for_each(|c| c.left -= 1);
        self.connections.retain(|c| c.left > 0);
        self.templates.values_mut().for_each(|t| t.left -= 1);
        let due: Vec<u32> = self.templates.iter().filter(|(_, t)| t.left == 0).map(|(id, _)| *id).collect();
        for id in due {
            if self.controls(id) {
                let template = self.templates.get_mut(&id).expect("it is due");
                (template.timeout, template.left) = (MINUTE, MINUTE);
            } else {
                self.templates.remove(&id);
            }
        }
    }

    /// With `expire_nodest_conn` what belongs to a removed server ends when a server is removed.
    fn removed(&mut self) {
        if self.expire_nodest {
            let servers = self.servers.clone();
            self.connections.retain(|c| servers.contains_key(&c.server));
            self.templates.retain(|_, t| servers.contains_key(&t.server));
        }
    }

    fn shown_templates(&self) -> Vec<String> {
        let line = |t: &Template| {
            let state = if t.assured { "ASSURED" } else { "NONE" };
            let (client, server) = (t.client, 11 + t.server);
            format!("TCP {} {state} 203.0.113.{client}:0 192.0.2.10:{1} 198.51.100.{server}:{1}", t.left, t.port)
        };
        sorted(self.templates.values().map(line))
    }

    fn shown_connections(&self) -> Vec<String> {
        let line = |c: &Connection| {
            let (client, server) = (c.client, 11 + c.server);
            format!("TCP {} {} 203.0.113.{client}:{} 192.0.2.10:80 198.51.100.{server}:80", c.left, c.state, c.cport)
        };
        sorted(self.connections.iter().map(line))
    }
}

fn sorted(lines: impl Iterator<Item = String>) -> Vec<String> {
    let mut lines: Vec<String> = lines.collect();
    lines.sort();
    lines
}

/// The director and the book, which the same happens to.
struct Both {
    world: World,
    book: Book,
}

impl Both {
    fn new() -> Self {
        let mut rules = vec!["-A -t 192.0.2.10:80 -s rr -p 50".to_owned(), "--set 25 0 0".to_owned()];
        rules.extend((0..SERVERS).map(|n| format!("-a -t 192.0.2.10:80 -r 198.51.100.{}:80 -m", 11 + n)));
        let rules: Vec<&str> = rules.iter().map(String::as_str).collect();
        let book = Book {
            servers: (0..SERVERS).map(|n| (n, 1)).collect(),
            persistence: 50,
            expire_quiescent: false,
            expire_nodest: false,
            templates: BTreeMap::new(),
            connections: Vec::new(),
            made: 0,
            cport: 1000,
        };
        Self { world: World::new(&rules), book }
    }

    fn open(&mut self, client: u8) -> Result<(), TestCaseError> {
        self.book.cport += 1;
        let cport = self.book.cport;
        let fate = self.world.client(&tcp(at(&format!("203.0.113.{client}:{cport}")), at("192.0.2.10:80")));
        let template = match self.book.followed(client) {
            Some(template) => template,
            None if !(0..SERVERS).any(|n| self.book.usable(n)) => {
                prop_assert!(matches!(&fate, Fate::Out(super::OUTSIDE, _)), "an error to the client, not {}", fate);
                return Ok(());
            }
            // Whom the scheduler picks is its own affair.
            None => {
                let picked = fate.server() - 11;
                prop_assert!(self.book.usable(picked), "server {} cannot be picked", picked);
                self.book.make(client, picked)
            }
        };
        let server = self.book.templates[&template].server;
        prop_assert_eq!(fate.server() - 11, server);
        let connection = Connection { client, cport, server, template, state: "SYN_RECV", left: 60 };
        self.book.connections.push(connection);
        Ok(())
    }

    fn ack(&mut self, index: usize) {
        let Connection { client, cport, server, template, .. } = self.book.connections[index];
        self.world.client(&tcp(at(&format!("203.0.113.{client}:{cport}")), at("192.0.2.10:80")).letters("A"));
        if self.book.servers.contains_key(&server) {
            let connection = &mut self.book.connections[index];
            if connection.state == "SYN_RECV" {
                connection.state = "ESTABLISHED";
            }
            connection.left = seconds_of(connection.state);
            let is_established = connection.state == "ESTABLISHED";
            if let Some(template) = self.book.templates.get_mut(&template) {
                template.assured |= is_established;
            }
        } else if self.book.expire_nodest {
            self.book.connections.remove(index);
        }
    }

    fn reset(&mut self, index: usize) {
        let Connection { client, cport, server, .. } = self.book.connections[index];
        let from = at(&format!("198.51.100.{}:80", 11 + server));
        self.world.server(&tcp(from, at(&format!("203.0.113.{client}:{cport}"))).letters("R"));
        let connection = &mut self.book.connections[index];
        (connection.state, connection.left) = ("CLOSE", seconds_of("CLOSE"));
    }

    fn happen(&mut self, event: &Event) -> Result<(), TestCaseError> {
        let open = self.book.connections.len();
        match *event {
            Event::Open { client } => self.open(client)?,
            Event::Ack { connection } if open > 0 => self.ack(connection % open),
            Event::Reset { connection } if open > 0 => self.reset(connection % open),
            Event::Wait { seconds } => {
                self.world.sleep(seconds);
                (0..seconds).for_each(|_| self.book.second());
            }
            Event::Persist { seconds } => {
                self.world.ipvsadm(&format!("-E -t 192.0.2.10:80 -s rr -p {seconds}"));
                self.book.persistence = seconds;
            }
            Event::Quiescent { expire } => {
                self.world.sysctl(|s| s.expire_quiescent_template = expire);
                self.book.expire_quiescent = expire;
            }
            Event::Nodest { expire } => {
                self.world.sysctl(|s| s.expire_nodest_conn = expire);
                self.book.expire_nodest = expire;
            }
            _ => self.edit(event),
        }
        self.world.expire();
        prop_assert_eq!(sorted(self.world.templates().into_iter()), self.book.shown_templates());
        prop_assert_eq!(sorted(self.world.connections().into_iter()), self.book.shown_connections());
        Ok(())
    }

    fn edit(&mut self, event: &Event) {
        let line = |verb: &str, server: u8, more: &str| {
            format!("-{verb} -t 192.0.2.10:80 -r 198.51.100.{}:80 {more}", 11 + server)
        };
        match *event {
            Event::Weight { server, weight } if self.book.servers.contains_key(&server) => {
                self.world.ipvsadm(&line("e", server, &format!("-m -w {weight}")));
                self.book.servers.insert(server, weight);
            }
            Event::Add { server } if !self.book.servers.contains_key(&server) => {
                self.world.ipvsadm(&line("a", server, "-m -w 1"));
                self.book.servers.insert(server, 1);
            }
            Event::Remove { server } if self.book.servers.contains_key(&server) => {
                self.world.ipvsadm(&line("d", server, ""));
                self.book.servers.remove(&server);
                self.book.removed();
            }
            _ => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(150) })]

    #[test]
    fn templates_live_as_the_book_says(events in prop::collection::vec(event(), 1..120)) {
        let mut both = Both::new();
        events.iter().try_for_each(|event| both.happen(event))?;
    }
}
