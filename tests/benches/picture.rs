//! The picture shows every curve that was measured, inside its frame, and says whose figures the others are.

use super::draw::picture;
use super::report::Row;

fn row(case: &str, family: u8, flows: u32, ns: f64) -> Row {
    let (case, source) = (case.into(), "ring".into());
    Row {
        case,
        family,
        flows,
        workers: 1,
        burst: 32,
        source,
        ns: ns + 2.0,
        net_ns: ns,
        mpps: 1e3 / ns,
        min_ns: ns,
        max_ns: ns,
        rounds: 7,
    }
}

/// The values of an attribute.
fn values(svg: &str, attribute: &str) -> Vec<f64> {
    let from = format!(" {attribute}=\"");
    svg.split(&from).skip(1).filter_map(|rest| rest.split('"').next()?.parse().ok()).collect()
}

#[test]
fn every_curve_is_in_the_picture_and_in_its_frame() {
    // The same figures, far too large and too small ones: names have to be moved apart, points to stay inside.
    let cases = ["dr", "tun", "nat", "nat-reply", "persistent", "new-dr", "new-nat", "mix", "steer"];
    let rows: Vec<_> = cases
        .iter()
        .flat_map(|case| {
            [(1, 9.0), (1024, -3.0), (1 << 20, 4321.0), (1 << 24, 11.5)].map(|(flows, ns)| (case, flows, ns))
        })
        .flat_map(|(case, flows, ns)| [4, 6].map(|family| row(case, family, flows, ns)))
        .collect();
    let svg = picture(&rows);
    assert_eq!(svg.matches("<polyline").count(), 2 * cases.len() + 7, "own curves of both families, others' of one");
    for name in
        ["DR 11.5", "TUN (IPIP) 11.5", "NAT reply 11.5", "mix, 10 % new 11.5", "DPVS NAT 427", "katran, tunnel 431"]
    {
        assert!(svg.contains(&format!(">{name}<")), "{name} has a name and a figure");
    }
    assert!(svg.contains("others' figures") && svg.contains("same kind of machine"));
    assert!(values(&svg, "cx").iter().all(|x| (60.0..=1010.0).contains(x)));
    assert!(values(&svg, "cy").iter().all(|y| (70.0..=470.0).contains(y)));
    let legend: Vec<f64> =
        svg.split("x=\"430.0\" y=\"").skip(1).filter_map(|rest| rest.split('"').next()?.parse().ok()).collect();
    assert_eq!(legend.len(), cases.len() + 7);
    assert!(legend.windows(2).all(|pair| pair[1] - pair[0] >= 15.9), "no name lies on another: {legend:?}");
}

#[test]
fn what_was_not_measured_is_not_drawn() {
    let svg = picture(&[row("dr", 6, 1024, 9.0)]);
    assert!(svg.contains(">DR 9.0<") && !svg.contains("TUN (IPIP)"));
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
}

#[test]
fn a_result_has_the_keys_that_others_read() {
    let row = serde_json::to_value(row("dr", 4, 1024, 9.0)).unwrap();
    let keys: Vec<_> = row.as_object().unwrap().keys().cloned().collect();
    let mut expected =
        ["case", "family", "flows", "workers", "burst", "source", "ns", "net_ns", "mpps", "min_ns", "max_ns", "rounds"];
    expected.sort_unstable();
    assert_eq!(keys, expected);
}
