//! Which NUMA node cores and cards are on (sysfs), where memory is to be, and what to say when a worker and a port are apart: then every
//! frame crosses between nodes. Virtual devices are on none.

use std::fs;
use std::path::Path;

use pollvs::config::{Config, PortConfig};

use crate::cores::Cores;

/// Something that is on a node, if that is known.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Place {
    name: String,
    node: Option<u16>,
}

/// The node of a core.
pub(crate) fn of_core(core: usize) -> Option<u16> {
    let entries = fs::read_dir(format!("/sys/devices/system/cpu/cpu{core}")).ok()?;
    let node = |name: String| name.strip_prefix("node")?.parse().ok();
    entries.flatten().find_map(|entry| node(entry.file_name().into_string().ok()?))
}

/// The node of a PCI device. The kernel says -1 when it does not know.
fn of_device(device: &str) -> Option<u16> {
    let address = device.split(',').next()?;
    let address = if address.matches(':').count() == 1 { format!("0000:{address}") } else { address.to_owned() };
    let file = Path::new("/sys/bus/pci/devices").join(address).join("numa_node");
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// Where the frames of a queue are to be: on the node of its device, which writes them, or, of a virtual device, on that of the worker, which
/// does so in its place.
pub(crate) fn pools(config: &Config, cores: &Cores) -> Pools {
    let port = |p: &PortConfig| QueueOf { node: of_device(&p.device), receives: p.rx_desc.into() };
    let worker = |id: u16| cores.worker(id.into()).and_then(|core| of_core(core.id));
    let workers: Vec<_> = (0..config.director.workers).map(worker).collect();
    Pools::new(&config.ports.iter().map(port).collect::<Vec<_>>(), &workers, config.frames())
}

/// The queues of a port.
#[derive(Clone, Copy, Debug)]
struct QueueOf {
    node: Option<u16>,
    /// Frames that each holds for what it receives.
    receives: u32,
}

/// One pool of frames.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct PoolOn {
    /// `None` for any node.
    pub(crate) node: Option<u16>,
    pub(crate) frames: u32,
}

/// Pools of frames, and who takes from which.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Pools {
    /// At least one.
    pub(crate) all: Vec<PoolOn>,
    /// By port, then by worker: the pool of the queue.
    pub(crate) queues: Vec<Vec<usize>>,
    /// By worker: the pool of the frames that it makes itself.
    pub(crate) workers: Vec<usize>,
}

impl Pools {
    /// One pool for each node that queues are on; of the frames that are needed in all each has as many as may ever be in use of it at once.
    fn new(ports: &[QueueOf], workers: &[Option<u16>], frames: u32) -> Self {
        let mut nodes: Vec<Option<u16>> = Vec::new();
        let mut place = |node: Option<u16>| {
            nodes.iter().position(|known| *known == node).unwrap_or_else(|| {
                nodes.push(node);
                nodes.len() - 1
            })
        };
        let mut queue = |port: &QueueOf| workers.iter().map(|worker| place(port.node.or(*worker))).collect();
        let queues: Vec<Vec<usize>> = ports.iter().map(&mut queue).collect();
        let own = |(index, worker): (usize, &Option<u16>)| {
            let near = nodes.iter().position(|node| node == worker);
            near.or_else(|| Some(*queues.first()?.get(index)?)).unwrap_or(0)
        };
        let own = workers.iter().enumerate().map(own).collect();
        let nodes = if nodes.is_empty() { vec![None] } else { nodes };
        // Frames of any pool may wait anywhere, but for the receive queues of the others.
        let elsewhere = |pool: usize| -> u32 {
            let of_port = |(port, queues): (&QueueOf, &Vec<usize>)| {
                port.receives * queues.iter().filter(|its| **its != pool).count() as u32
            };
            ports.iter().zip(&queues).map(of_port).sum()
        };
        let one = |(pool, node): (usize, &Option<u16>)| PoolOn {
            node: *node,
            frames: frames.saturating_sub(elsewhere(pool)),
        };
        let all = nodes.iter().enumerate().map(one).collect();
        Self { all, queues, workers: own }
    }

    /// What is to be said of them, when there is more than one.
    pub(crate) fn said(&self) -> Vec<String> {
        let node = |node: Option<u16>| node.map_or("any NUMA node".to_owned(), |node| format!("NUMA node {node}"));
        let several = self.all.iter().filter(|_| self.all.len() > 1);
        several.map(|pool| format!("{} frames on {}", pool.frames, node(pool.node))).collect()
    }
}

/// What is to be said of workers and ports that are apart.
pub(crate) fn remarks(config: &Config, cores: &Cores) -> Vec<String> {
    let worker = |id: u16| {
        let core = cores.worker(id.into())?;
        Some(Place { name: format!("{id} (core {})", core.id), node: of_core(core.id) })
    };
    let workers: Vec<Place> = (0..config.director.workers).filter_map(worker).collect();
    let port = |p: &PortConfig| Place { name: p.name.clone(), node: of_device(&p.device) };
    let ports: Vec<Place> = config.ports.iter().map(port).collect();
    apart(&workers, &ports)
}

fn apart(workers: &[Place], ports: &[Place]) -> Vec<String> {
    let one = |port: &Place| {
        let node = port.node?;
        let elsewhere = workers.iter().filter(|worker| worker.node.is_some_and(|own| own != node));
        let names: Vec<&str> = elsewhere.map(|worker| worker.name.as_str()).collect();
        (!names.is_empty()).then(|| {
            format!(
                "port {} is on NUMA node {node}, and these workers are not: {}; each of its frames crosses between nodes; name cores of \
                 /sys/devices/system/node/node{node}/cpulist in [director] cpus",
                port.name,
                names.join(", ")
            )
        })
    };
    ports.iter().filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(all: &[(&str, Option<u16>)]) -> Vec<Place> {
        all.iter().map(|(name, node)| Place { name: (*name).to_owned(), node: *node }).collect()
    }

    #[test]
    fn workers_that_are_on_another_node_than_a_port_are_named() {
        let workers = places(&[("0 (core 2)", Some(0)), ("1 (core 9)", Some(1)), ("2 (core 3)", Some(0)), ("3", None)]);
        let ports = places(&[("outside", Some(1)), ("inside", Some(0)), ("virtual", None)]);
        let said = apart(&workers, &ports);
        assert_eq!(said.len(), 2);
        assert!(
            said[0].starts_with("port outside is on NUMA node 1, and these workers are not: 0 (core 2), 2 (core 3);")
        );
        assert!(said[1].starts_with("port inside is on NUMA node 0, and these workers are not: 1 (core 9);"));
        assert_eq!(apart(&workers[..1], &ports[1..]), Vec::<String>::new());
    }

    fn pools_of(ports: &[Option<u16>], workers: &[Option<u16>]) -> Pools {
        let ports: Vec<_> = ports.iter().map(|node| QueueOf { node: *node, receives: 100 }).collect();
        Pools::new(&ports, workers, 1000)
    }

    #[test]
    fn each_queue_has_frames_on_the_node_of_its_device_or_else_of_its_worker() {
        type Case<'a> =
            (&'a [Option<u16>], &'a [Option<u16>], &'a [(Option<u16>, u32)], &'a [&'a [usize]], &'a [usize]);
        let (zero, one) = (Some(0), Some(1));
        let table: [Case<'_>; 8] = [
            // One node, or none that is known: one pool with all frames.
            (&[zero, zero], &[zero, zero], &[(zero, 1000)], &[&[0, 0], &[0, 0]], &[0, 0]),
            (&[None], &[None, None], &[(None, 1000)], &[&[0, 0]], &[0, 0]),
            (&[], &[zero], &[(None, 1000)], &[], &[0]),
            // Workers apart from all ports take what the ports have.
            (&[one, one], &[zero, zero], &[(one, 1000)], &[&[0, 0], &[0, 0]], &[0, 0]),
            // A port on each node: a pool on each, without the receive queues of the other.
            (&[zero, one], &[zero, one], &[(zero, 800), (one, 800)], &[&[0, 0], &[1, 1]], &[0, 1]),
            (&[one, zero], &[zero], &[(one, 900), (zero, 900)], &[&[0], &[1]], &[1]),
            // Virtual devices: the worker copies.
            (&[None, None], &[zero, one], &[(zero, 800), (one, 800)], &[&[0, 1], &[0, 1]], &[0, 1]),
            (
                &[one, None],
                &[zero, one, None],
                &[(one, 800), (zero, 500), (None, 500)],
                &[&[0, 0, 0], &[1, 0, 2]],
                &[1, 0, 2],
            ),
        ];
        for (ports, workers, all, queues, own) in table {
            let pools = pools_of(ports, workers);
            let found: Vec<_> = pools.all.iter().map(|pool| (pool.node, pool.frames)).collect();
            assert_eq!((&*found, &*pools.workers), (all, own), "{ports:?} {workers:?}");
            assert_eq!(pools.queues, queues, "{ports:?} {workers:?}");
        }
    }

    #[test]
    fn pools_are_told_of_when_there_are_several() {
        assert_eq!(pools_of(&[Some(1)], &[Some(0)]).said(), Vec::<String>::new());
        let said = pools_of(&[Some(1), None], &[None]).said();
        assert_eq!(said, ["900 frames on NUMA node 1", "900 frames on any NUMA node"]);
    }

    #[test]
    fn what_the_kernel_does_not_say_is_not_known() {
        assert_eq!(of_device("net_ring0"), None);
        assert_eq!(of_device("ff:1f.7"), None);
        assert_eq!(of_core(usize::MAX), None);
    }
}
