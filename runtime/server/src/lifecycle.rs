use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::ClientLimits;

/// Where a connection is. ARCHITECTURE.md ("The life of a connection") says what each state waits for and how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum State {
    /// Nothing of the next request has arrived.
    Waiting,
    /// A part of its head has.
    Reading,
    /// It is on its way from the acceptor to an isolate's thread.
    Moving,
    /// Nothing of the answer has been sent. Over HTTP/2: a stream is open.
    Answering,
    /// The answer is being sent.
    Sending,
    /// The answer has left. What is still to come of the request's body is thrown away: the next request is behind it.
    Draining,
    /// The last answer has left. What the client still sends is thrown away, or the system would take the answer back.
    Lingering,
}

/// The states that a connection passes through, seen from any thread.
#[derive(Debug)]
pub(crate) struct Lifecycle {
    accepted: Instant,
    state: AtomicU8,
    /// When the client began to be waited for: milliseconds after the connection was accepted.
    waits_since: AtomicU64,
}

/// How long the client of a connection is waited for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// For a whole head, from the begin of the connection or the end of the answer before.
    head: Duration,
    /// For the first byte of one while the server drains.
    first_byte_while_leaving: Duration,
}

/// For the first byte of a request while the server drains: what was sent before the client could know is answered.
const FIRST_BYTE_WHILE_LEAVING: Duration = Duration::from_millis(250);

/// For a head that has begun to arrive, and for an HTTP/2 client to leave, while the server drains.
pub(crate) const HEAD_WHILE_LEAVING: Duration = Duration::from_secs(5);

impl State {
    const ALL: [Self; 7] =
        [Self::Waiting, Self::Reading, Self::Moving, Self::Answering, Self::Sending, Self::Draining, Self::Lingering];

    /// Whether a connection may come from this state to the next.
    fn leads_to(self, next: Self) -> bool {
        match self {
            // An answer without a handler says what is wrong with a head, or that it took too long.
            Self::Waiting => matches!(next, Self::Reading | Self::Moving | Self::Answering | Self::Sending),
            Self::Reading => matches!(next, Self::Moving | Self::Answering | Self::Sending),
            Self::Moving => matches!(next, Self::Waiting | Self::Reading),
            Self::Answering => matches!(next, Self::Sending | Self::Waiting),
            Self::Sending => next != Self::Moving,
            Self::Draining => {
                matches!(next, Self::Waiting | Self::Reading | Self::Answering | Self::Sending | Self::Lingering)
            }
            Self::Lingering => false,
        }
    }

    /// Whether it is the client's turn, to send a head.
    fn is_clients_turn(self) -> bool {
        matches!(self, Self::Waiting | Self::Reading | Self::Moving)
    }
}

impl Patience {
    pub(crate) fn over_http1(limits: &ClientLimits) -> Self {
        Self { head: limits.header_timeout, first_byte_while_leaving: FIRST_BYTE_WHILE_LEAVING }
    }

    /// Over HTTP/2 the client has to confirm that it has heard of the end.
    pub(crate) fn over_http2(limits: &ClientLimits) -> Self {
        let head = limits.header_timeout;
        Self { head, first_byte_while_leaving: HEAD_WHILE_LEAVING.min(head) }
    }
}

impl Lifecycle {
    /// Of a connection that was just accepted.
    pub(crate) fn accepted() -> Self {
        Self { accepted: Instant::now(), state: AtomicU8::new(State::Waiting as u8), waits_since: AtomicU64::new(0) }
    }

    pub(crate) fn state(&self) -> State {
        State::ALL[usize::from(self.state.load(Ordering::Relaxed))]
    }

    /// The connection is in this state from now on.
    pub(crate) fn enter(&self, next: State) {
        let before = self.state();
        debug_assert!(before.leads_to(next), "a connection does not go from {before:?} to {next:?}");
        if next.is_clients_turn() && !before.is_clients_turn() {
            let now = u64::try_from(self.accepted.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.waits_since.store(now, Ordering::Relaxed);
        }
        self.state.store(next as u8, Ordering::Relaxed);
    }

    /// The next request has not arrived as a whole.
    pub(crate) fn wait_for_head(&self, arrived: Arrived) {
        match (self.state(), arrived) {
            (State::Reading, _) | (State::Waiting, Arrived::Nothing) => {}
            (_, Arrived::Nothing) => self.enter(State::Waiting),
            (_, Arrived::Something) => self.enter(State::Reading),
        }
    }

    /// When the client will have been waited for long enough; `None` while it is not its turn. `leaving` is when the
    /// server, or this connection, began to take no more requests.
    pub(crate) fn deadline(&self, patience: Patience, leaving: Option<Instant>) -> Option<Instant> {
        let state = self.state();
        let while_leaving = match state {
            State::Waiting => patience.first_byte_while_leaving,
            State::Reading | State::Moving => HEAD_WHILE_LEAVING,
            State::Answering | State::Sending | State::Draining | State::Lingering => return None,
        };
        let since = self.accepted + Duration::from_millis(self.waits_since.load(Ordering::Relaxed));
        let regular = since + patience.head;
        let Some(leaving) = leaving else { return Some(regular) };
        let deadline = since.max(leaving) + while_leaving;
        // Draining makes nothing longer but what it is the end of.
        Some(if regular > leaving { deadline.min(regular) } else { deadline })
    }

    pub(crate) fn is_overdue(&self, patience: Patience, leaving: Option<Instant>) -> bool {
        self.deadline(patience, leaving).is_some_and(|deadline| deadline <= Instant::now())
    }

    /// Resolves when the connection is overdue.
    pub(crate) async fn overdue(&self, patience: Patience, leaving: Option<Instant>) {
        // A wait that begins while nobody looks is not over before the next look.
        let pause = if leaving.is_some() { patience.first_byte_while_leaving } else { patience.head };
        while !self.is_overdue(patience, leaving) {
            let next_look = self.deadline(patience, leaving).unwrap_or_else(|| Instant::now() + pause);
            tokio::time::sleep_until(next_look.into()).await;
        }
    }
}

/// What there is of a head that is not whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrived {
    Nothing,
    Something,
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Arrived, HEAD_WHILE_LEAVING, Lifecycle, Patience, State};
    use crate::ClientLimits;

    fn patience() -> Patience {
        Patience::over_http1(&ClientLimits { header_timeout: Duration::from_secs(30), ..ClientLimits::default() })
    }

    #[test]
    fn a_head_has_its_time_from_the_begin_of_the_wait_however_it_trickles_and_moves() {
        let lifecycle = Lifecycle::accepted();
        let deadline = lifecycle.deadline(patience(), None);
        assert_eq!(deadline, Some(lifecycle.accepted + Duration::from_secs(30)));
        lifecycle.enter(State::Reading);
        lifecycle.enter(State::Moving);
        std::thread::sleep(Duration::from_millis(5));
        lifecycle.wait_for_head(Arrived::Something);
        lifecycle.wait_for_head(Arrived::Something);
        // The blank line that had arrived was passed over.
        lifecycle.wait_for_head(Arrived::Nothing);
        assert_eq!(lifecycle.deadline(patience(), None), deadline);
        lifecycle.enter(State::Answering);
        assert_eq!(lifecycle.deadline(patience(), None), None, "the client waits, and not the server");
        lifecycle.enter(State::Sending);
        lifecycle.wait_for_head(Arrived::Nothing);
        assert!(lifecycle.deadline(patience(), None) > deadline, "the next head has a time of its own");
    }

    #[test]
    fn while_the_server_drains_an_idle_client_is_let_go_at_once_and_half_a_head_a_little_later() {
        let lifecycle = Lifecycle::accepted();
        let leaving = Instant::now();
        let idle = lifecycle.deadline(patience(), Some(leaving)).expect("it is the client's turn");
        assert!(idle - leaving < Duration::from_secs(1), "{:?}", idle - leaving);
        lifecycle.enter(State::Reading);
        let half = lifecycle.deadline(patience(), Some(leaving)).expect("it is the client's turn");
        assert_eq!(half, leaving + HEAD_WHILE_LEAVING);
        let soon = Patience { head: Duration::from_millis(100), ..patience() };
        let regular = lifecycle.deadline(soon, None).expect("it is the client's turn");
        assert_eq!(lifecycle.deadline(soon, Some(leaving)), Some(regular), "draining makes nothing longer");
        let after = lifecycle.deadline(soon, Some(regular));
        assert_eq!(after, Some(regular + HEAD_WHILE_LEAVING), "whoever was told to leave is given the time to do so");
    }

    #[test]
    fn no_state_follows_the_last_one_and_none_is_never_left() {
        assert!(State::ALL.iter().all(|next| !State::Lingering.leads_to(*next)));
        for state in State::ALL {
            let is_reached = State::ALL.iter().any(|before| before.leads_to(state));
            let is_left = State::ALL.iter().any(|next| state.leads_to(*next));
            assert!(is_reached && (is_left || state == State::Lingering), "{state:?}");
        }
        assert_eq!(State::ALL.map(|state| state as u8), [0, 1, 2, 3, 4, 5, 6], "the order is that of the numbers");
    }
}
