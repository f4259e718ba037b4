//! The results as a picture: nanoseconds a packet, net of generator and MAC swap, against the number of flows, for IPv4 and IPv6, both axes
//! by powers; beside them what others have published of theirs. The text of an SVG, nothing else.

use std::fmt::Write as _;

use super::report::Row;

/// What is drawn of the results: one core, bursts of so many frames from the ring.
const BURST: usize = 32;
const SOURCE: &str = "ring";
/// Cases in the order of the legend, with their names in the picture and their colours.
const CASES: [(&str, &str, &str); 9] = [
    ("steer", "rx, parse, steer", "#888888"),
    ("dr", "DR", "#009e73"),
    ("persistent", "DR, persistent", "#cc79a7"),
    ("tun", "TUN (IPIP)", "#d55e00"),
    ("nat", "NAT request", "#0072b2"),
    ("nat-reply", "NAT reply", "#56b4e9"),
    ("mix", "mix, 10 % new", "#000000"),
    ("new-dr", "new, DR (SYN)", "#b58900"),
    ("new-nat", "new, NAT (UDP)", "#8c564b"),
];
/// Others' figures for IPv4 on the same kind of machine, those of DPVS v1.10.2 and katran 19f08fe: name, and
/// (flows, ns). What is hot in the cache is drawn at one flow.
const PEERS: [(&str, &[(f64, f64)]); 7] = [
    ("DPVS DR", &[(1.0, 69.0), (200e3, 384.0)]),
    ("DPVS TUN", &[(1.0, 90.0), (200e3, 396.0)]),
    ("DPVS NAT", &[(1.0, 94.0), (200e3, 427.0)]),
    ("katran, tunnel", &[(1.0, 100.0), (1_048_576.0, 431.0)]),
    ("DPVS, new", &[(16384.0, 586.0), (1_048_576.0, 586.0)]),
    ("katran, new, from", &[(16384.0, 403.0), (1_048_576.0, 403.0)]),
    ("katran, new, to", &[(16384.0, 458.0), (1_048_576.0, 458.0)]),
];
const PEER_COLOUR: &str = "#999999";

const WIDTH: f64 = 1180.0;
const HEIGHT: f64 = 576.0;
const TOP: f64 = 70.0;
const BOTTOM: f64 = 470.0;
/// Width of a plot, and where each begins.
const PLOT: f64 = 360.0;
const LEFT: [f64; 2] = [60.0, 650.0];
/// Nanoseconds at the lower and upper edge, and where there are lines.
const RANGE: (f64, f64) = (1.0, 1000.0);
const TICKS: [f64; 10] = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0];
/// Distance of two lines of the legend.
const LINE: f64 = 16.0;

/// One curve: what it is called, its colour, whether it is another's, its points as (flows, ns).
struct Curve {
    name: String,
    colour: &'static str,
    foreign: bool,
    points: Vec<(f64, f64)>,
}

/// One family's plot.
struct Plot {
    left: f64,
    title: String,
    /// Flows at the right edge, as a power of two.
    powers: f64,
    curves: Vec<Curve>,
}

/// The picture of these results.
pub(crate) fn picture(rows: &[Row]) -> String {
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"13\" role=\"img\">\n<title>Nanoseconds a packet by the number of flows</title>\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n"
    );
    text(
        &mut svg,
        (LEFT[0], 24.0),
        "start",
        "#222",
        "ns a packet on one core, net of generator and MAC swap (make bench)",
    );
    for (left, family) in LEFT.into_iter().zip([4, 6]) {
        Plot::new(rows, left, family).draw(&mut svg);
    }
    let notes = [
        "Solid: pollvs, every flow in a scattered order, states, timers, counters and expiry on.",
        "Dashed: others' figures of IPv4, on the same kind of machine, but not in the same run and with other sources of packets.",
        "What was measured hot in the cache is drawn at one flow; new connections have no number of flows.",
    ];
    for (line, note) in notes.into_iter().enumerate() {
        text(&mut svg, (LEFT[0], BOTTOM + 56.0 + LINE * line as f64), "start", "#555", note);
    }
    svg + "</svg>\n"
}

fn text(svg: &mut String, (x, y): (f64, f64), anchor: &str, colour: &str, words: &str) {
    let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"{colour}\">{words}</text>");
}

impl Plot {
    fn new(rows: &[Row], left: f64, family: u8) -> Self {
        let drawn = |row: &&Row| row.family == family && row.burst == BURST && row.source == SOURCE && row.workers == 1;
        let own = CASES.iter().map(|&(case, name, colour)| {
            let of_case = rows.iter().filter(drawn).filter(|row| row.case == case);
            let points = of_case.map(|row| (f64::from(row.flows), row.net_ns)).collect();
            Curve { name: name.into(), colour, foreign: false, points }
        });
        let peers = PEERS.iter().filter(|_| family == 4).map(|&(name, points)| Curve {
            name: name.into(),
            colour: PEER_COLOUR,
            foreign: true,
            points: points.to_vec(),
        });
        let mut curves: Vec<_> = own.chain(peers).filter(|curve| !curve.points.is_empty()).collect();
        curves.iter_mut().for_each(|curve| curve.points.sort_by(|a, b| a.0.total_cmp(&b.0)));
        let most = curves.iter().flat_map(|curve| &curve.points).map(|point| point.0).fold(1_048_576.0, f64::max);
        Self { left, title: format!("IPv{family}"), powers: most.log2(), curves }
    }

    fn x(&self, flows: f64) -> f64 {
        self.left + PLOT * flows.log2() / self.powers
    }

    fn draw(&self, svg: &mut String) {
        let right = self.left + PLOT;
        text(svg, (self.left, TOP - 14.0), "start", "#222", &self.title);
        for ns in TICKS {
            let y = y(ns);
            let _ = writeln!(
                svg,
                "<line x1=\"{}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#ddd\"/>",
                self.left
            );
            text(svg, (self.left - 8.0, y + 4.0), "end", "#555", &format!("{ns}"));
        }
        for (power, name) in [(0.0, "1"), (10.0, "1k"), (14.0, "16k"), (20.0, "1M"), (24.0, "16M")] {
            if power <= self.powers {
                text(svg, (self.x(f64::exp2(power)), BOTTOM + 20.0), "middle", "#555", name);
            }
        }
        text(svg, (self.left + PLOT / 2.0, BOTTOM + 36.0), "middle", "#555", "flows");
        self.curves.iter().for_each(|curve| self.draw_curve(svg, curve));
        self.draw_legend(svg);
    }

    fn draw_curve(&self, svg: &mut String, curve: &Curve) {
        let places: Vec<_> = curve.points.iter().map(|(flows, ns)| (self.x(*flows), y(*ns))).collect();
        let line = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect::<Vec<_>>().join(" ");
        let (colour, dash, width) =
            if curve.foreign { (curve.colour, " stroke-dasharray=\"5 4\"", 1.2) } else { (curve.colour, "", 2.0) };
        let _ = writeln!(
            svg,
            "<polyline points=\"{line}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{width}\"{dash}/>"
        );
        for (x, y) in places {
            let _ =
                writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{}\" fill=\"{colour}\"/>", 1.5 + width / 2.0);
        }
    }

    /// The names beside the last points, moved apart, with the figure there.
    fn draw_legend(&self, svg: &mut String) {
        let ends = self.curves.iter().filter_map(|curve| Some((curve, *curve.points.last()?)));
        let mut ends: Vec<_> = ends.collect();
        ends.sort_by(|a, b| b.1.1.total_cmp(&a.1.1));
        let mut places: Vec<f64> = ends.iter().map(|(_, (_, ns))| y(*ns) + 4.0).collect();
        for at in 1..places.len() {
            places[at] = places[at].max(places[at - 1] + LINE);
        }
        if let Some(last) = places.last_mut() {
            *last = last.min(BOTTOM + 4.0);
        }
        for at in (1..places.len()).rev() {
            places[at - 1] = places[at - 1].min(places[at] - LINE);
        }
        for ((curve, (_, ns)), y) in ends.into_iter().zip(places) {
            let label = if ns < 100.0 { format!("{} {ns:.1}", curve.name) } else { format!("{} {ns:.0}", curve.name) };
            text(
                svg,
                (self.left + PLOT + 10.0, y),
                "start",
                if curve.foreign { "#777777" } else { curve.colour },
                &label,
            );
        }
    }
}

fn y(ns: f64) -> f64 {
    let share = (ns.clamp(RANGE.0, RANGE.1) / RANGE.0).log10() / (RANGE.1 / RANGE.0).log10();
    BOTTOM - (BOTTOM - TOP) * share
}
