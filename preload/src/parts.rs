//! A program's buffers, one or many, as C gives them: `struct iovec`.
use libc::iovec;

/// The buffers of a call that sends or receives.
#[derive(Debug)]
pub(crate) struct Parts<'a>(&'a [iovec]);

/// How many bytes go from a message's offset `at` into each of buffers with these lengths, as (buffer, offset in it, bytes).
fn spread(
    lengths: impl Iterator<Item = usize>,
    at: usize,
    bytes: usize,
) -> impl Iterator<Item = (usize, usize, usize)> {
    let (mut skip, mut left) = (at, bytes);
    lengths.enumerate().filter_map(move |(index, length)| {
        let offset = skip.min(length);
        skip -= offset;
        let here = (length - offset).min(left);
        left -= here;
        (here > 0).then_some((index, offset, here))
    })
}

impl<'a> Parts<'a> {
    /// # Safety
    /// `count` buffers stand at `start`, and each may be read, and written where [`Parts::write`] is called, for as long as `'a`:
    /// what a program promises by calling `sendmsg` or `recvmsg`.
    pub(crate) unsafe fn new(start: *const iovec, count: usize) -> Self {
        if start.is_null() || count == 0 {
            return Self(&[]);
        }
        // SAFETY: the caller vouches for `count` buffers, and the pointer is not null.
        Self(unsafe { std::slice::from_raw_parts(start, count) })
    }

    fn lengths(&self) -> impl Iterator<Item = usize> {
        self.0.iter().map(|part| if part.iov_base.is_null() { 0 } else { part.iov_len })
    }

    /// Bytes that all buffers hold.
    pub(crate) fn length(&self) -> usize {
        self.lengths().fold(0, usize::saturating_add)
    }

    /// Copies into `to` from offset `at` of the message; says how many bytes there were.
    pub(crate) fn read(&self, at: usize, to: &mut [u8]) -> usize {
        let mut done = 0;
        for (index, offset, bytes) in spread(self.lengths(), at, to.len()) {
            let (Some(part), Some(place)) = (self.0.get(index), to.get_mut(done..done + bytes)) else { break };
            // SAFETY: `spread` stays within the buffer's length, for which the maker of the value has vouched, and `place` has as
            // many bytes; our own memory and the program's do not overlap.
            unsafe { part.iov_base.cast::<u8>().add(offset).copy_to_nonoverlapping(place.as_mut_ptr(), bytes) }
            done += bytes;
        }
        done
    }

    /// Everything in one piece.
    pub(crate) fn gather(&self) -> Vec<u8> {
        let mut all = vec![0; self.length()];
        let length = self.read(0, &mut all);
        all.truncate(length);
        all
    }

    /// Copies `from` into the buffers; says how many bytes there was room for.
    pub(crate) fn write(&self, from: &[u8]) -> usize {
        let mut done = 0;
        for (index, offset, bytes) in spread(self.lengths(), 0, from.len()) {
            let (Some(part), Some(piece)) = (self.0.get(index), from.get(done..done + bytes)) else { break };
            // SAFETY: as in `read`, the other way round.
            unsafe { part.iov_base.cast::<u8>().add(offset).copy_from_nonoverlapping(piece.as_ptr(), bytes) }
            done += bytes;
        }
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with<R>(lengths: &[usize], contents: &[u8], act: impl FnOnce(&Parts) -> R) -> (R, Vec<u8>) {
        let mut rest = contents.iter().copied();
        let mut buffers: Vec<Vec<u8>> =
            lengths.iter().map(|length| (0..*length).map(|_| rest.next().unwrap_or(0)).collect()).collect();
        let parts: Vec<_> = buffers
            .iter_mut()
            .map(|buffer| iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() })
            .collect();
        // SAFETY: the buffers live until the end of the function.
        let result = act(&unsafe { Parts::new(parts.as_ptr(), parts.len()) });
        (result, buffers.concat())
    }

    #[test]
    fn buffers_of_any_lengths_are_one_message() {
        for lengths in [&[6][..], &[1, 2, 3], &[0, 3, 0, 3], &[1, 1, 1, 1, 1, 1]] {
            let (gathered, _) = with(lengths, b"abcdef", |parts| parts.gather());
            assert_eq!(gathered, b"abcdef");
            let ((count, piece), _) = with(lengths, b"abcdef", |parts| {
                let mut piece = [0; 3];
                (parts.read(2, &mut piece), piece)
            });
            assert_eq!((count, &piece), (3, b"cde"));
            let (written, after) = with(lengths, b"abcdef", |parts| parts.write(b"1234"));
            assert_eq!((written, after.as_slice()), (4, &b"1234ef"[..]));
        }
    }

    #[test]
    fn no_more_is_read_or_written_than_there_is() {
        let (count, _) = with(&[2, 2], b"abcd", |parts| parts.read(3, &mut [0; 9]));
        assert_eq!(count, 1);
        let (count, _) = with(&[2, 2], b"abcd", |parts| parts.read(9, &mut [0; 9]));
        assert_eq!(count, 0);
        let (written, after) = with(&[2, 1], b"", |parts| parts.write(b"12345"));
        assert_eq!((written, after.as_slice()), (3, &b"123"[..]));
        // SAFETY: there is no buffer.
        assert!(unsafe { Parts::new(std::ptr::null(), 4) }.gather().is_empty());
    }
}
