//! Who has begun something and does not end it holds nobody else up: clients that sleep in the middle of a transaction, and
//! scripts that loop, but for the shard that they run on.

mod support;

use support::{Client, Server, encode, eventually, key_of_each_shard};

const SHARDS: [usize; 3] = [1, 2, 5];

#[test]
fn who_sleeps_in_the_middle_of_a_transaction_holds_nobody_up() {
    for shards in SHARDS {
        let server = Server::torc(shards, &[]);
        let mut witness = server.client();
        let keys = key_of_each_shard(&mut witness, shards);
        let mut sleepers: Vec<Client> = (0..20).map(|_| server.client()).collect();
        for (number, sleeper) in sleepers.iter_mut().enumerate() {
            if number % 2 == 0 {
                assert_eq!(sleeper.ask(&format!("WATCH {}", keys.join(" "))), "+OK");
            }
            assert_eq!(sleeper.ask("MULTI"), "+OK");
            for key in &keys {
                assert_eq!(sleeper.ask(&format!("APPEND {key} {number}")), "+QUEUED");
            }
            assert_eq!(sleeper.ask("FLUSHALL"), "+QUEUED");
        }
        // All that could want what a transaction holds.
        let pairs: Vec<String> = keys.iter().map(|key| format!("{key} x")).collect();
        for other in &mut (0..shards * 2).map(|_| server.client()).collect::<Vec<_>>() {
            for key in &keys {
                assert_eq!(other.ask(&format!("SET {key} 1")), "+OK");
                assert_eq!(other.ask(&format!("EVAL \"return redis.call('incr', KEYS[1])\" 1 {key}")), ":2");
            }
            assert_eq!(other.ask(&format!("MSET {}", pairs.join(" "))), "+OK");
            assert_eq!(other.call("KEYS *").elements().len(), shards);
            assert_eq!([other.ask("MULTI"), other.ask("DBSIZE")], ["+OK", "+QUEUED"]);
            assert_eq!(other.ask("EXEC"), format!("[:{shards}]"));
        }
        for (number, sleeper) in sleepers.iter_mut().enumerate() {
            let reply = sleeper.call("EXEC").to_string();
            // What the watchers watch has changed.
            assert_eq!(reply == "nil*", number % 2 == 0, "{shards} shards: {reply}");
        }
        assert_eq!(witness.ask("DBSIZE"), ":0");
    }
}

/// A client on each shard but the first, in order of shards.
fn clients_of_others(server: &Server, shards: usize) -> Vec<Client> {
    let mut clients: Vec<Option<Client>> = (0..shards).map(|_| None).collect();
    // They go to the quietest shard in turn, and stay until they have said much.
    for mut client in (0..4 * shards).map(|_| server.client()).collect::<Vec<_>>() {
        let line = client.call("CLIENT INFO").text();
        let shard = line.trim_end().rsplit_once("shard=").and_then(|(_, shard)| shard.parse::<usize>().ok());
        clients[shard.expect("a shard")].get_or_insert(client);
    }
    clients.into_iter().skip(1).map(|client| client.expect("one comes to every shard")).collect()
}

#[test]
fn a_script_that_loops_holds_up_its_own_shard_alone() {
    for shards in [2, 5] {
        // Nobody is told that it is busy: who needs that shard waits.
        let server = Server::torc(shards, &["--busy-reply-threshold", "0"]);
        let mut witness = server.client();
        let keys = key_of_each_shard(&mut witness, shards);
        let mut others = clients_of_others(&server, shards);
        let mut waiting = others.swap_remove(0);
        let mut killer = clients_of_others(&server, shards).swap_remove(0);
        others.extend(clients_of_others(&server, shards));
        let mut looping = server.client();
        looping.send(&encode(&["EVAL", "while true do end", "1", &keys[0]]));
        eventually("it runs", || killer.ask("FUNCTION STATS").contains("duration_ms"));
        waiting.send(&encode(&["SET", &keys[0], "waited"]));
        for round in 0..100 {
            for other in &mut others {
                for key in &keys[1..] {
                    assert_eq!(other.ask(&format!("SET {key} {round}")), "+OK");
                }
                let found = other.call(&format!("MGET {}", keys[1..].join(" ")));
                assert!(found.elements().iter().all(|value| value.text() == round.to_string()));
                assert_eq!(other.ask("PING"), "+PONG");
            }
        }
        assert_eq!(killer.ask("SCRIPT KILL"), "+OK");
        assert!(looping.reply().to_string().contains("killed by user"));
        assert_eq!(waiting.reply().to_string(), "+OK");
        assert_eq!(killer.ask(&format!("GET {}", keys[0])), "\"waited\"");
    }
}
