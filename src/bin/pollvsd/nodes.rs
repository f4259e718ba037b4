//! Which NUMA node cores and cards are on (sysfs), where memory is to be, and what to say when a worker and a port are apart: then every
//! frame crosses between nodes. Virtual devices are on none.

use std::fs;
use std::path::Path;

use pollvs::config::Config;

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

/// The node for frames: that of all ports, as far as it is known.
pub(crate) fn of_frames(config: &Config) -> Option<u16> {
    common(config.ports.iter().map(|port| of_device(&port.device)))
}

fn common(nodes: impl Iterator<Item = Option<u16>>) -> Option<u16> {
    let mut known = nodes.flatten();
    let first = known.next()?;
    known.all(|node| node == first).then_some(first)
}

/// What is to be said of workers and ports that are apart.
pub(crate) fn remarks(config: &Config, cores: &Cores) -> Vec<String> {
    let worker = |id: u16| {
        let core = cores.worker(id.into())?;
        Some(Place { name: format!("{id} (core {})", core.id), node: of_core(core.id) })
    };
    let workers: Vec<Place> = (0..config.director.workers).filter_map(worker).collect();
    let port = |p: &pollvs::config::PortConfig| Place { name: p.name.clone(), node: of_device(&p.device) };
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

    #[test]
    fn frames_are_on_the_node_of_all_ports_or_on_any() {
        let table: [(&[Option<u16>], Option<u16>); 5] = [
            (&[Some(1), Some(1)], Some(1)),
            (&[Some(1), None], Some(1)),
            (&[Some(1), Some(0)], None),
            (&[None], None),
            (&[], None),
        ];
        for (nodes, expected) in table {
            assert_eq!(common(nodes.iter().copied()), expected, "{nodes:?}");
        }
    }

    #[test]
    fn what_the_kernel_does_not_say_is_not_known() {
        assert_eq!(of_device("net_ring0"), None);
        assert_eq!(of_device("ff:1f.7"), None);
        assert_eq!(of_core(usize::MAX), None);
    }
}
