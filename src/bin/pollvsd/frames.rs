//! The pools of frames, one on each NUMA node that queues are on ([`crate::nodes`]), as far as there is memory.

use pollvs::config::Config;
use pollvs::io::dpdk::{Eal, MbufPool, PoolError};

use crate::cores::Cores;
use crate::nodes::{self, PoolOn, Pools};

/// Pools, and who takes from which.
#[derive(Debug)]
pub(crate) struct Frames {
    plan: Pools,
    /// As planned; one without memory of its own is another one here.
    pools: Vec<MbufPool>,
    /// Frames that were made.
    count: u64,
    /// Each pool once.
    made: Vec<MbufPool>,
}

impl Frames {
    /// Makes them, with so much room in each frame.
    pub(crate) fn new(eal: &Eal, config: &Config, cores: &Cores, room: usize) -> anyhow::Result<Self> {
        let plan = nodes::pools(config, cores);
        plan.said().iter().for_each(|line| tracing::info!("{line}"));
        let mut frames = Self { plan, pools: Vec::new(), count: 0, made: Vec::new() };
        for (number, on) in frames.plan.all.clone().into_iter().enumerate() {
            frames.add(number, on, |name, node| match node {
                Some(node) => MbufPool::on_node(eal, name, on.frames, room, node),
                None => MbufPool::new(eal, name, on.frames, room),
            })?;
        }
        Ok(frames)
    }

    /// Makes one on its node; or on any, or does with another one. Fails when there is none at all.
    fn add(
        &mut self,
        number: usize,
        on: PoolOn,
        make: impl Fn(&str, Option<u16>) -> Result<MbufPool, PoolError>,
    ) -> anyhow::Result<()> {
        let name = if number == 0 { "frames".to_owned() } else { format!("frames{number}") };
        let near = make(&name, on.node);
        if let (Err(error), Some(node)) = (&near, on.node) {
            tracing::warn!(
                "NUMA node {node} has no memory for its frames, which are on another one: {error}; reserve huge pages there \
                 (/sys/devices/system/node/node{node}/hugepages/*/nr_hugepages)"
            );
        }
        match near.or_else(|error| if on.node.is_some() { make(&name, None) } else { Err(error) }) {
            Ok(pool) => {
                self.made.push(pool);
                self.count += u64::from(on.frames);
                self.pools.push(pool);
            }
            Err(error) => match self.pools.first() {
                Some(first) => {
                    tracing::warn!("queues do with the frames of others: {error}");
                    self.pools.push(*first);
                }
                None => return Err(error.into()),
            },
        }
        Ok(())
    }

    /// Those of a port's queues.
    pub(crate) fn of_port(&self, port: usize) -> Vec<MbufPool> {
        self.plan.queues.get(port).into_iter().flatten().filter_map(|pool| self.pools.get(*pool)).copied().collect()
    }

    /// That from which a worker makes frames.
    pub(crate) fn of_worker(&self, worker: usize) -> MbufPool {
        let planned = self.plan.workers.get(worker).and_then(|pool| self.pools.get(*pool));
        // There is one at least.
        planned.copied().unwrap_or(self.pools[0])
    }

    /// How many are in their pools, and how many there are.
    pub(crate) fn available(&self) -> (usize, u64) {
        (self.made.iter().map(MbufPool::available).sum(), self.count)
    }
}
