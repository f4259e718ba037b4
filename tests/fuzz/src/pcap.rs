//! Capture files: any bytes are read or refused, and what was read survives being written.

use pollvs::io::pcap::{Writer, read};

/// Reads `data` as a capture file.
pub fn fuzz_one(data: &[u8]) {
    let Ok(records) = read(data) else { return };
    let mut writer = Writer::new(Vec::new()).expect("a vector takes all that is written");
    for record in &records {
        if writer.write(record.at, &record.frame).is_err() {
            return;
        }
    }
    assert_eq!(read(&writer.into_inner()).expect("what was written is read"), records);
}

#[cfg(test)]
mod tests {
    #[test]
    fn mutated_captures_are_read_or_refused() {
        super::super::seeds::mutate(&super::super::seeds::captures(), 3000, super::fuzz_one);
    }
}
