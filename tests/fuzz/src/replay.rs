//! Whole scenarios: any lines of rules and any frames through `pollvs replay`, on its virtual clock. It ends, says something, and what
//! it says is no more than what was put in can lead to.

use std::time::Duration;

use pollvs::replay::results_of;

/// Lines and frames that are taken; the rest is left.
const MOST: usize = 48;
/// Bytes of results that each line or frame may lead to. A listing shows every service, connection and counter.
const BYTES_EACH: usize = 1 << 18;
/// The longest time between two frames: in 250 ms.
const STEP: Duration = Duration::from_millis(250);
/// What lines may begin with: the commands that rules are made of. A loop of the shell may take as long as it likes.
const COMMANDS: [&str; 4] = ["ipvsadm ", "sysctl ", "ip ", "iptables "];

/// Takes `data` as text up to its first zero byte and frames behind it, each with a byte for the time before it and two for its length.
/// Lines that begin with `end ` or a number are steps, the others the setup.
pub fn fuzz_one(data: &[u8]) {
    let text = data.split(|byte| *byte == 0).next().unwrap_or_default();
    let frames = frames(data.get(text.len() + 1..).unwrap_or_default());
    let text = String::from_utf8_lossy(text);
    let (mut setup, mut steps) = (String::new(), String::new());
    for line in text.lines().filter(|line| is_plain(line)).take(MOST) {
        let to = if is_rule(line) { &mut setup } else { &mut steps };
        *to += line;
        *to += "\n";
    }
    let lines = setup.lines().count() + steps.lines().count();
    let most = (lines + frames.len() + 8) * BYTES_EACH;
    if let Ok(files) = results_of(&setup, &steps, frames) {
        let bytes: usize = files.iter().map(|(_, contents)| contents.len()).sum();
        assert!(bytes <= most, "{bytes} bytes of results of {lines} lines");
        assert!(files.iter().any(|(name, contents)| *name == "rules.txt" && !contents.is_empty()));
    }
}

fn is_rule(line: &str) -> bool {
    COMMANDS.iter().any(|command| line.starts_with(command))
}

/// One command of those that rules are made of, perhaps behind the place of a step.
fn is_plain(line: &str) -> bool {
    let command = line.split_once(' ').map_or(line, |(_, rest)| rest);
    (is_rule(line) || is_rule(command)) && !line.contains(['$', '`', ';', '|', '&', '<', '>'])
}

fn frames(mut rest: &[u8]) -> Vec<(Duration, Vec<u8>)> {
    let (mut frames, mut at) = (Vec::new(), Duration::ZERO);
    while let Some((&[wait, high, low], after)) = rest.split_first_chunk::<3>() {
        if frames.len() == MOST {
            break;
        }
        let length = usize::from(u16::from_be_bytes([high, low]) & 0x7ff).min(after.len());
        let (frame, after) = after.split_at(length);
        at += STEP * u32::from(wait);
        frames.push((at, frame.to_vec()));
        rest = after;
    }
    frames
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mutated_scenarios_end() {
        super::super::seeds::mutate(&super::super::seeds::scenarios(), 150, fuzz_one);
    }

    #[test]
    fn the_seeds_are_understood_and_lead_somewhere() {
        for seed in super::super::seeds::scenarios() {
            let text = seed.split(|byte| *byte == 0).next().unwrap();
            let text = std::str::from_utf8(text).unwrap();
            assert!(text.lines().all(is_plain), "{text}");
            let (setup, steps): (Vec<_>, Vec<_>) = text.lines().partition(|line| is_rule(line));
            let frames = frames(&seed[text.len() + 1..]);
            assert!(!frames.is_empty(), "{text}");
            let files = results_of(&setup.join("\n"), &steps.join("\n"), frames).expect("a seed is a scenario");
            let trace = files.iter().find(|(name, _)| *name == "trace.txt").expect("a trace");
            assert!(String::from_utf8_lossy(&trace.1).contains(" -> "), "{text}");
        }
    }
}
