//! Where a frame comes from and goes to: ports, workers, and the two sides of a port.

/// Index of a port, in the order of the configuration.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct PortId(pub u16);

/// Index of a worker.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct WorkerId(pub u16);

/// Where a frame came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Origin {
    /// Off the wire.
    #[default]
    Wire,
    /// From the kernel, through the port's twin: it leaves by that port unless it belongs to a connection.
    Twin,
}
