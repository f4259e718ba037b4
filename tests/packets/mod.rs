//! Odd frames, each with what becomes of it and under which counter; and what holds for any frame at all.
mod any;
mod odd;

use crate::world::World;

/// Every method, both families, three protocols, one port and all ports, with and without persistence.
fn world() -> World {
    World::new(&[
        "-A -t 192.0.2.10:80 -s rr",
        "-a -t 192.0.2.10:80 -r 198.51.100.11:8080 -m",
        "-A -t 192.0.2.10:81 -s wlc",
        "-a -t 192.0.2.10:81 -r 198.51.100.12:81 -g",
        "-A -t 192.0.2.10:82 -s sh",
        "-a -t 192.0.2.10:82 -r 198.51.100.13:82 -i",
        "-A -u 192.0.2.10:53 -s rr",
        "-a -u 192.0.2.10:53 -r 198.51.100.14:5353 -m",
        "-A -u 192.0.2.11:0 -s rr -p 60",
        "-a -u 192.0.2.11:0 -r 198.51.100.15:0 -m",
        "-A --sctp-service 192.0.2.10:99 -s rr",
        "-a --sctp-service 192.0.2.10:99 -r 198.51.100.16:999 -m",
        "-A -t 192.0.2.10:83 -s rr",
        "-A -t [2001:db8:1::10]:80 -s rr",
        "-a -t [2001:db8:1::10]:80 -r [2001:db8:2::11]:8080 -m",
        "-A -t [2001:db8:1::10]:81 -s rr",
        "-a -t [2001:db8:1::10]:81 -r [2001:db8:2::12]:81 -i",
        "-A -u [2001:db8:1::10]:53 -s rr -p 60 -M 64",
        "-a -u [2001:db8:1::10]:53 -r [2001:db8:2::13]:53 -m",
    ])
}
