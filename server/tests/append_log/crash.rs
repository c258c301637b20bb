//! kill -9 in the middle of writes, again and again, with clients that know what was acknowledged.
//!
//! ```text
//!   client k, its i-th round:   SET s:k i | RPUSH l:k i | MSET {1}p:k i {2}q:k i {3}r:k i | MULTI SET {4}.. INCR {5}.. EXEC
//!                               noted when sent, and when answered
//!   afterwards:                 l:k is 1, 2, .. m without a gap; each is what was answered, or later, and was sent;
//!                               p, q, r are the same; so are the two of the transaction
//! ```
//! `TORC_CRASH_ROUNDS` says how many rounds a policy and number of shards gets.

use super::support::{Client, Reply, Server, encode};
use super::{ALWAYS, EVERY_SECOND};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const CLIENTS: usize = 8;

fn rounds() -> usize {
    std::env::var("TORC_CRASH_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(2)
}

/// What a client knows.
struct Known {
    /// The last round that was sent.
    sent: u64,
    /// Rounds that were answered whole, and when.
    answered: Vec<(u64, Instant)>,
}

fn round_of(client: usize, round: u64) -> Vec<u8> {
    let number = round.to_string();
    let commands: [Vec<String>; 7] = [
        vec!["SET".into(), format!("s:{client}"), number.clone()],
        vec!["RPUSH".into(), format!("l:{client}"), number.clone()],
        vec![
            "MSET".into(),
            format!("{{1}}p:{client}"),
            number.clone(),
            format!("{{2}}q:{client}"),
            number.clone(),
            format!("{{3}}r:{client}"),
            number.clone(),
        ],
        vec!["MULTI".into()],
        vec!["SET".into(), format!("{{4}}t:{client}"), number],
        vec!["INCR".into(), format!("{{5}}u:{client}")],
        vec!["EXEC".into()],
    ];
    commands.iter().flat_map(|words| encode(words)).collect()
}

/// Writes until the server is gone.
fn write(port: u16, client: usize, first: u64, stops: &AtomicBool) -> Known {
    let mut known = Known { sent: first - 1, answered: Vec::new() };
    let Ok(mut connection) = Client::try_connect(port) else { return known };
    while !stops.load(Ordering::Relaxed) {
        let round = known.sent + 1;
        known.sent = round;
        if std::io::Write::write_all(&mut connection.stream, &round_of(client, round)).is_err() {
            break;
        }
        let replies = (0..7).map_while(|_| connection.receive_if_open()).take_while(|reply| !reply.is_error()).count();
        if replies < 7 {
            break;
        }
        known.answered.push((round, Instant::now()));
    }
    known
}

/// What must be there: `may_lose` rounds that were answered so short before the end may be missing.
fn check(server: &Server, known: &[Known], killed: Instant, may_lose: Duration) {
    let mut client = server.client();
    for (index, known) in known.iter().enumerate() {
        let kept = known.answered.iter().rev().find(|(_, at)| killed.duration_since(*at) >= may_lose);
        let answered = kept.map_or(0, |(round, _)| *round);
        let list = client.call(&format!("LRANGE l:{index} 0 -1"));
        let Reply::Array(items) = list else { panic!("no list: {list}") };
        let last = items.len() as u64;
        for (at, item) in items.iter().enumerate() {
            assert_eq!(item.text(), (at + 1).to_string(), "l:{index} has a gap");
        }
        assert!(last >= answered, "l:{index}: {answered} was acknowledged, {last} is there");
        assert!(last <= known.sent, "l:{index}: {last} was never sent");
        let number = |client: &mut Client, key: &str| -> u64 {
            let reply = client.call(&format!("GET {key}:{index}"));
            if reply == Reply::NullBulk { 0 } else { reply.text().parse().expect("a number") }
        };
        let before = number(&mut client, "s");
        // Of what was sent together and not acknowledged, any part may be there.
        assert!(before >= answered && before <= known.sent, "s:{index} is {before}, of {answered} to {}", known.sent);
        let parts = ["{1}p", "{2}q", "{3}r"].map(|key| number(&mut client, key));
        assert!(parts.iter().all(|part| *part == parts[0]), "half of an MSET: {parts:?}");
        assert!(parts[0] >= answered && parts[0] <= known.sent, "{parts:?} of {answered} to {}", known.sent);
        let pair = ["{4}t", "{5}u"].map(|key| number(&mut client, key));
        assert!(pair[0] == pair[1], "half of a transaction: {pair:?}");
        assert!(pair[0] >= answered && pair[0] <= known.sent, "{pair:?} of {answered} to {}", known.sent);
    }
}

fn crash_again_and_again(shards: usize, arguments: &[&str], may_lose: Duration) {
    let mut server = Server::torc(shards, arguments);
    let mut random = fastrand::Rng::with_seed(shards as u64 + 7);
    let mut next = [1; CLIENTS];
    for round in 0..rounds() {
        let (port, stops) = (server.port, AtomicBool::new(false));
        let (directory, known, killed) = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..CLIENTS)
                .map(|index| {
                    let (stops, first) = (&stops, next[index]);
                    scope.spawn(move || write(port, index, first, stops))
                })
                .collect();
            if random.bool() {
                std::thread::sleep(Duration::from_millis(random.u64(0..300)));
                drop(server.client().call("BGREWRITEAOF"));
            }
            std::thread::sleep(Duration::from_millis(random.u64(20..1500)));
            let killed = Instant::now();
            let directory = server.kill();
            stops.store(true, Ordering::Relaxed);
            let known: Vec<Known> = writers.into_iter().map(|writer| writer.join().expect("a client")).collect();
            (directory, known, killed)
        });
        // Another number of shards each time: the log does not care.
        let shards = [1, 2, 5][(shards + round) % 3];
        server = Server::torc_on(directory, shards, arguments);
        check(&server, &known, killed, may_lose);
        let mut client = server.client();
        for (index, next) in next.iter_mut().enumerate() {
            // Rounds go on behind what is there; what was half done of the last one is made whole.
            let last = client.ask(&format!("LLEN l:{index}")).trim_start_matches(':').parse::<u64>().expect("a length");
            for key in ["s", "{1}p", "{2}q", "{3}r", "{4}t", "{5}u"] {
                drop(client.call(&format!("SET {key}:{index} {last}")));
            }
            *next = last + 1;
        }
    }
    let directory = server.kill();
    if let Some(real) = Server::real_on(directory.clone(), &["--appendonly", "yes", "--enable-debug-command", "yes"]) {
        let theirs = super::digest(&real);
        let directory = real.kill();
        let ours = Server::torc_on(directory, shards, arguments);
        assert_eq!(super::digest(&ours), theirs, "the real server has read something else");
    } else {
        drop(std::fs::remove_dir_all(directory));
    }
}

#[test]
fn nothing_acknowledged_is_lost_on_one_shard() {
    crash_again_and_again(1, ALWAYS, Duration::ZERO);
}

#[test]
fn nothing_acknowledged_is_lost_on_two_shards() {
    crash_again_and_again(2, ALWAYS, Duration::ZERO);
}

#[test]
fn nothing_acknowledged_is_lost_on_five_shards() {
    crash_again_and_again(5, ALWAYS, Duration::ZERO);
}

#[test]
fn at_most_a_second_is_lost_where_syncs_come_once_a_second() {
    for shards in [1, 2, 5] {
        crash_again_and_again(shards, EVERY_SECOND, Duration::from_secs(1));
    }
}
