//! What programs that were written for the kernel send: no datagram panics, every answer is made of whole messages, and what is read
//! of a datagram is read again after it has been written.

use std::sync::Arc;

use pollvs::config::Config;
use pollvs::control::{Control, Setup, ipvs};
use pollvs::mailbox::Workers;

/// Takes `data` as a datagram, in the middle of rules that are the same every time.
pub fn fuzz_one(data: &[u8]) {
    assert!(ipvs::reads_back(data));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let control = control();
        for seed in super::seeds::datagrams().iter().take(2) {
            control.answer_datagram(seed).await;
        }
        control.answer_datagram(data).await.iter().for_each(|datagram| check(datagram));
    });
}

/// A director with no workers that keeps nothing.
fn control() -> Control {
    let mut config = Config::default();
    config.director.state = "".into();
    let (network, workers) = (Arc::default(), Workers::default());
    let setup = Setup { config, config_path: None, network, workers, ports: Box::new(Vec::new) };
    Control::new(setup).expect("there is nothing to restore").0
}

/// Whole messages and nothing else.
fn check(mut datagram: &[u8]) {
    assert!(!datagram.is_empty());
    while let Some(length) = datagram.first_chunk().map(|length| u32::from_ne_bytes(*length) as usize) {
        assert!((16..=datagram.len()).contains(&length), "{length} of {}", datagram.len());
        datagram = datagram.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    assert!(datagram.is_empty());
}

#[cfg(test)]
mod tests {
    use super::super::seeds;

    #[test]
    fn mutated_datagrams_do_not_panic() {
        seeds::mutate(&seeds::datagrams(), 100, super::fuzz_one);
    }
}
