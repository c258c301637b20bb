//! How a shard sleeps. One that has time wakes for every event. One that many clients keep busy lets their requests gather
//! for a moment, so that one wake-up, one submit and one message to each other shard serve several of them.
//!
//! ```text
//!   share of a core used, over the last window     0 ........ 10 % ............ 25 % ........ 100 %
//!   longest gathering                              none       0 ─── rising ──── gather-time-us, up to four times that
//!                                                                               where clients send many commands at once
//!   events gathered                                7 of 10 clients that sent something in the window
//! ```
//! A gathering ends with so many events or after that time. While it lasts others need not wake the shard: it comes back
//! by itself and finds their messages, so between busy shards nobody pays for wake-ups. If a gathering brings nothing, the
//! next sleep is a plain one, which any event and any message ends.
//!
//! Where the next request has mostly come within [`SOON_NS`], of late and after such a turn (a client that waits for a key is
//! followed by the one who fills it), the shard looks for it for a moment before it sleeps.
//!
//! Measured (two shards and the load on two cores, 50 clients, 100 B values, no pipelining): gathering for at most 0, 200,
//! 400 us took 22.9, 16.6, 12.8 us of server CPU per command, at 35, 39, 43 thousand commands per second; with one
//! shard 13.1 (0), 11.1 (400). Less CPU per command leaves room for more commands, so latency at the same load fell, too.
//! Clients that send 16 commands at once are further apart, and wait for 16 answers: at 400, 800, 1,600 us two shards took
//! 1.57, 1.49, 1.39 times the CPU of one, at the same throughput.

/// Length of a window.
const WINDOW_NS: u64 = 10_000_000;
/// Below this share of a core the shard has time: nobody waits for company.
const SHARE_OF_LEISURE: f64 = 0.10;
/// From this share on it gathers for the full time.
const SHARE_OF_HASTE: f64 = 0.25;
/// The most events that are gathered.
const EVENTS_MAX: u32 = 32;
/// Clients that send so many commands at once lengthen the gathering: those that send twice as many, by twice that time.
const DEPTH: f64 = 4.0;
/// Up to so many times the time that is set.
const LENGTHENED_MAX: f64 = 4.0;

/// Turns whose beginnings are no further apart follow each other soon: a sleep and a wake-up between them cost more.
pub const SOON_NS: u64 = 25_000;
/// Of so many turns it is remembered how soon they were followed.
const TURNS_REMEMBERED: f32 = 32.0;
/// Such a part of them makes it worth while to look for the next one.
const SOON_ENOUGH: f32 = 0.6;

/// What to gather, and how long at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gathering {
    /// Events that end it.
    pub events: u32,
    /// Its longest time.
    pub at_most_ns: u64,
}

/// What clients have asked of a shard since its start.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked {
    /// Commands that ran on it.
    pub commands: u64,
    /// Times that something was received.
    pub reads: u64,
}

/// How busy a shard is and with how many clients.
#[derive(Debug, Default)]
pub struct Pace {
    window_start_ns: u64,
    /// The thread's CPU time when the window began.
    cpu_start_ns: u64,
    /// Clients that have sent something in this window.
    clients_now: u32,
    /// The same for the window before.
    clients: u32,
    /// Share of a core that the shard used in the window before.
    share: f64,
    /// What had been asked when the window began.
    asked_start: Asked,
    /// How many commands a client sent at once in the window before.
    depth: f64,
    /// The last wait was a gathering that brought nothing.
    is_in_vain: bool,
    /// When the last turn with requests began, and whether it sent something.
    last_turn: (u64, bool),
    /// Which part of the turns that sent nothing, and of those that did, was soon followed by another, of late.
    soon: [f32; 2],
}

impl Pace {
    /// Begins a turn; `cpu_ns` gives the thread's CPU time and is asked once a window.
    pub fn begin_turn(&mut self, now_ns: u64, asked: Asked, cpu_ns: impl FnOnce() -> u64) {
        let window_ns = now_ns.saturating_sub(self.window_start_ns);
        if window_ns < WINDOW_NS {
            return;
        }
        let cpu_ns = cpu_ns();
        self.share = cpu_ns.saturating_sub(self.cpu_start_ns) as f64 / window_ns as f64;
        self.clients = std::mem::take(&mut self.clients_now);
        let before = std::mem::replace(&mut self.asked_start, asked);
        // CONFIG RESETSTAT may have begun anew meanwhile.
        let (commands, reads) =
            (asked.commands.saturating_sub(before.commands), asked.reads.saturating_sub(before.reads));
        self.depth = commands as f64 / reads.max(1) as f64;
        (self.window_start_ns, self.cpu_start_ns) = (now_ns, cpu_ns);
    }

    /// A client has sent something, before that last at `before_ns`.
    pub fn received(&mut self, before_ns: u64) {
        self.clients_now += u32::from(before_ns < self.window_start_ns);
    }

    /// A wait is over; `in_vain`: it was a gathering and brought nothing.
    pub fn waited(&mut self, in_vain: bool) {
        self.is_in_vain = in_vain;
    }

    /// How much of the longest gathering there is a reason for.
    pub fn in_haste(&self, gather_ns_max: u64) -> u64 {
        let haste = ((self.share - SHARE_OF_LEISURE) / (SHARE_OF_HASTE - SHARE_OF_LEISURE)).clamp(0.0, 1.0);
        (gather_ns_max as f64 * haste) as u64
    }

    /// A turn with requests, which began then and may have sent something. Whether the next is to be expected so soon that to look
    /// for it costs less than to sleep.
    pub fn turned(&mut self, now_ns: u64, has_sent: bool) -> bool {
        let (before_ns, had_sent) = std::mem::replace(&mut self.last_turn, (now_ns, has_sent));
        let was_soon = now_ns.saturating_sub(before_ns) < SOON_NS;
        let part = &mut self.soon[usize::from(had_sent)];
        *part += (f32::from(u8::from(was_soon)) - *part) / TURNS_REMEMBERED;
        self.soon[usize::from(has_sent)] > SOON_ENOUGH
    }

    /// What the next sleep gathers, if it is to gather.
    pub fn gathering(&self, gather_ns_max: u64) -> Option<Gathering> {
        let events = (self.clients * 7 / 10).min(EVENTS_MAX);
        let lengthened = (self.depth / DEPTH).clamp(1.0, LENGTHENED_MAX);
        let at_most_ns = (self.in_haste(gather_ns_max) as f64 * lengthened) as u64;
        (events > 1 && at_most_ns > 0 && !self.is_in_vain).then_some(Gathering { events, at_most_ns })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX_NS: u64 = 400_000;

    /// A window with so many clients, each sending twice, that took so much of a core; then the next one begins.
    fn after_window(clients: u32, share: f64) -> Pace {
        after_window_of(clients, share, 1)
    }

    /// The same, so many commands at once.
    fn after_window_of(clients: u32, share: f64, depth: u64) -> Pace {
        let mut pace = Pace::default();
        let asked = |reads: u64| Asked { commands: 100 + reads * depth, reads };
        pace.begin_turn(WINDOW_NS, asked(0), || 0);
        for _ in 0..clients {
            pace.received(0);
            pace.received(WINDOW_NS);
        }
        let asked = asked(u64::from(clients) * 2);
        pace.begin_turn(2 * WINDOW_NS - 1, asked, || unreachable!("asked within a window"));
        pace.begin_turn(2 * WINDOW_NS, asked, || (share * WINDOW_NS as f64) as u64);
        pace
    }

    #[test]
    fn a_busy_shard_gathers_most_of_its_clients() {
        let pace = after_window(20, 0.5);
        assert_eq!(pace.gathering(MAX_NS), Some(Gathering { events: 14, at_most_ns: MAX_NS }));
        assert_eq!(after_window(5_000, 0.5).gathering(MAX_NS).map(|it| it.events), Some(EVENTS_MAX));
        assert_eq!(pace.gathering(0), None);
    }

    #[test]
    fn who_sends_many_commands_at_once_is_waited_for_longer() {
        let longest_ns = |depth| after_window_of(20, 0.5, depth).gathering(MAX_NS).map(|it| it.at_most_ns);
        let expected = [(1, 1), (4, 1), (8, 2), (16, 4), (1_000, 4)];
        assert!(expected.iter().all(|(depth, times)| longest_ns(*depth) == Some(times * MAX_NS)));
        assert_eq!(after_window_of(20, 0.1, 16).gathering(MAX_NS), None, "never by a shard that has time");
    }

    #[test]
    fn few_clients_and_an_idle_shard_wait_for_nobody() {
        for clients in 0..3 {
            assert_eq!(after_window(clients, 1.0).gathering(MAX_NS), None, "{clients}");
        }
        assert_eq!(after_window(50, 0.1).gathering(MAX_NS), None);
        let between = after_window(50, 0.175).gathering(MAX_NS).map_or(0, |it| it.at_most_ns);
        assert!(between.abs_diff(MAX_NS / 2) < 10, "{between}");
    }

    #[test]
    fn who_is_mostly_followed_soon_is_looked_for() {
        let mut pace = Pace::default();
        let mut now_ns = 0;
        // A request that is answered by nothing, the one that serves both 10 us later, and a pause.
        let mut pair = |pace: &mut Pace| {
            now_ns += 80_000;
            let first = pace.turned(now_ns, false);
            now_ns += 10_000;
            (first, pace.turned(now_ns, true))
        };
        assert_eq!(pair(&mut pace), (false, false));
        for _ in 0..100 {
            pair(&mut pace);
        }
        assert_eq!(pair(&mut pace), (true, false));
        // It learns that this is over.
        for step in 0..100 {
            pace.turned(1_000_000_000 + step * 100_000, false);
        }
        assert!(!pace.turned(2_000_000_000, false));
    }

    #[test]
    fn a_gathering_in_vain_is_not_repeated() {
        let mut pace = after_window(20, 0.5);
        pace.waited(true);
        assert_eq!(pace.gathering(MAX_NS), None);
        pace.waited(false);
        assert!(pace.gathering(MAX_NS).is_some());
    }
}
