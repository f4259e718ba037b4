//! What a connection to the director owes the program: the requests that are not answered yet, the one that may be sent again
//! when the connection ends, and the answers that are made up where none will come. All in fixed room.
use crate::message::{ERROR_LENGTH, HEADER, Header, messages};

/// Requests of which the answers are awaited at a time. Programs have one; of more, the oldest are forgotten.
const REQUESTS: usize = 8;
/// Bytes of a request that is kept for being sent again. ipvsadm's and keepalived's have less than 300.
const KEPT: usize = 1024;
/// Bytes of the answers that are made up and not read yet.
const MADE_UP: usize = 2 * REQUESTS * ERROR_LENGTH;

/// A queue of at most `N` bytes.
#[derive(Clone, Copy, Debug)]
struct Bytes<const N: usize> {
    bytes: [u8; N],
    length: usize,
}

impl<const N: usize> Bytes<N> {
    const EMPTY: Self = Self { bytes: [0; N], length: 0 };

    fn get(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    /// Adds what fits; says whether it did.
    fn push(&mut self, more: &[u8]) -> bool {
        let end = self.length.saturating_add(more.len());
        let Some(place) = self.bytes.get_mut(self.length..end) else { return false };
        place.copy_from_slice(more);
        self.length = end;
        true
    }
}

/// What one connection owes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owed {
    requests: [Header; REQUESTS],
    count: usize,
    /// The only request that waits, while nothing of its answer has come.
    again: Bytes<KEPT>,
    made_up: Bytes<MADE_UP>,
}

impl Owed {
    pub(crate) const NOTHING: Self =
        Self { requests: [Header::NONE; REQUESTS], count: 0, again: Bytes::EMPTY, made_up: Bytes::EMPTY };

    fn waiting(&self) -> &[Header] {
        self.requests.get(..self.count).unwrap_or_default()
    }

    /// Does a request wait for its answer, or for the rest of it?
    pub(crate) fn is_owed(&self) -> bool {
        self.count > 0
    }

    fn add(&mut self, request: Header) {
        if self.count == REQUESTS {
            self.requests.rotate_left(1);
            self.count -= 1;
        }
        if let Some(place) = self.requests.get_mut(self.count) {
            *place = request;
            self.count += 1;
        }
    }

    fn remove(&mut self, index: usize) {
        if let Some(rest) = self.requests.get_mut(index..self.count) {
            rest.rotate_left(1);
            self.count -= 1;
        }
    }

    /// A datagram of requests goes to the director.
    pub(crate) fn sent(&mut self, datagram: &[u8]) {
        let alone = self.count == 0;
        for (_, request) in messages(datagram).filter(|(_, request)| request.is_answered()) {
            self.add(request);
        }
        self.again.length = 0;
        if alone && self.is_owed() {
            self.again.push(datagram);
        }
    }

    /// The director sent this message.
    pub(crate) fn received(&mut self, answer: Header) {
        let asked = |request: &Header| request.sequence() == answer.sequence();
        let Some(index) = self.waiting().iter().position(asked) else { return };
        let acknowledged = self.waiting().get(index).is_some_and(Header::is_acknowledged);
        self.again.length = 0;
        if answer.ends_an_answer() || !acknowledged {
            self.remove(index);
        }
    }

    /// What may be sent again after the connection ended: a request that was alone and of whose answer nothing came. Once.
    pub(crate) fn again(&mut self) -> Option<Vec<u8>> {
        let request = (!self.again.get().is_empty()).then(|| self.again.get().to_vec());
        self.again.length = 0;
        request
    }

    /// No answer will come: every request that waits is refused with `errno`.
    pub(crate) fn refuse(&mut self, errno: i32) {
        let waiting = self.requests;
        for request in waiting.iter().take(self.count) {
            self.made_up.push(&request.refusal(errno));
        }
        self.count = 0;
        self.again.length = 0;
    }

    /// A datagram never reached the director: each of its requests is refused, also those that would not have been answered.
    pub(crate) fn refuse_unsent(&mut self, datagram: &[u8], errno: i32) {
        self.refuse(errno);
        for (_, request) in messages(datagram) {
            self.made_up.push(&request.refusal(errno));
        }
    }

    /// The answers that are made up, as one datagram; empty when there are none.
    pub(crate) fn made_up(&self) -> &[u8] {
        self.made_up.get()
    }

    /// The program has read them.
    pub(crate) fn forget_made_up(&mut self) {
        self.made_up.length = 0;
    }
}

/// A refusal quotes a header, so the room is for whole ones.
const _: () = assert!(MADE_UP.is_multiple_of(ERROR_LENGTH) && KEPT > HEADER);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::tests::message;
    use crate::message::{FAMILY, error_of};

    const ACK: u16 = 0x5;
    const DUMP: u16 = 0x305;

    fn request(flags: u16, sequence: u32, command: u8) -> Vec<u8> {
        message(FAMILY, flags, sequence, &[command, 1, 0, 0])
    }

    fn answer(kind: u16, sequence: u32) -> Header {
        Header::read(&message(kind, 0, sequence, &[0; 4])).unwrap()
    }

    fn refused(owed: &Owed) -> Vec<u32> {
        messages(owed.made_up()).map(|(_, header)| header.sequence()).collect()
    }

    #[test]
    fn an_answer_ends_what_is_owed() {
        for (flags, command, answers) in [
            (ACK, 1, &[2][..]),
            (ACK, 4, &[FAMILY, 2]),
            (DUMP, 4, &[FAMILY, FAMILY, 3]),
            (1, 15, &[FAMILY]),
            (1, 4, &[2]),
        ] {
            let mut owed = Owed::NOTHING;
            owed.sent(&request(flags, 9, command));
            for (index, kind) in answers.iter().enumerate() {
                assert!(owed.is_owed(), "{flags:x} {command}");
                owed.received(answer(*kind, 8));
                assert!(owed.is_owed(), "another request's answer");
                owed.received(answer(*kind, 9));
                assert_eq!(owed.is_owed(), index + 1 < answers.len(), "{flags:x} {command}");
            }
            owed.refuse(5);
            assert!(owed.made_up().is_empty());
        }
    }

    #[test]
    fn a_request_is_sent_again_once_and_only_before_its_answer_began() {
        let mut owed = Owed::NOTHING;
        let dump = request(DUMP, 1, 4);
        owed.sent(&dump);
        assert_eq!(owed.again(), Some(dump.clone()));
        assert_eq!(owed.again(), None);
        assert!(owed.is_owed());
        owed.sent(&dump);
        owed.received(answer(FAMILY, 1));
        assert_eq!(owed.again(), None);
    }

    #[test]
    fn what_has_company_or_is_too_long_is_not_sent_again() {
        let mut owed = Owed::NOTHING;
        owed.sent(&request(ACK, 1, 1));
        owed.sent(&request(ACK, 2, 1));
        assert_eq!(owed.again(), None);
        let mut owed = Owed::NOTHING;
        owed.sent(&message(FAMILY, ACK, 1, &[1; KEPT]));
        assert_eq!(owed.again(), None);
        assert!(owed.is_owed());
    }

    #[test]
    fn everything_that_waits_is_refused() {
        let mut owed = Owed::NOTHING;
        owed.sent(&[request(ACK, 1, 1), request(1, 2, 1), request(1, 3, 15)].concat());
        owed.refuse(libc::EAGAIN);
        // The second is answered only when it fails, and nobody knows whether it did.
        assert_eq!(refused(&owed), [1, 3]);
        assert_eq!(error_of(owed.made_up()), Some(libc::EAGAIN));
        assert!(!owed.is_owed());
        owed.forget_made_up();
        assert!(owed.made_up().is_empty());
    }

    #[test]
    fn what_was_never_sent_is_refused_whole() {
        let mut owed = Owed::NOTHING;
        owed.sent(&request(ACK, 1, 1));
        owed.refuse_unsent(&[request(1, 2, 17), request(ACK, 3, 1)].concat(), libc::EPERM);
        assert_eq!(refused(&owed), [1, 2, 3]);
    }

    #[test]
    fn of_too_many_requests_the_newest_are_remembered() {
        let mut owed = Owed::NOTHING;
        for sequence in 0..20 {
            owed.sent(&request(ACK, sequence, 1));
        }
        owed.refuse(1);
        assert_eq!(refused(&owed), (20 - REQUESTS as u32..20).collect::<Vec<_>>());
        for sequence in 0..100 {
            owed.sent(&request(ACK, sequence, 1));
            owed.refuse(1);
        }
        assert_eq!(refused(&owed).len(), MADE_UP / ERROR_LENGTH);
    }
}
