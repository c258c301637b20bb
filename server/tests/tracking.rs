//! Client-side caching over shards: whoever keeps copies hears of every change, and keeps nothing that is no longer so.

mod support;

use std::collections::{BTreeSet, HashMap};
use support::{Client, Reply, Server, encode, eventually, key_of_each_shard};

const SHARDS: [usize; 3] = [1, 2, 5];

fn tracking(server: &Server, options: &str) -> Client {
    let mut client = server.client();
    client.call("HELLO 3");
    assert_eq!(client.ask(&format!("CLIENT TRACKING ON{options}")), "+OK");
    client
}

/// The keys of an invalidation; none is all of them.
fn invalid(push: &Reply) -> Option<Vec<String>> {
    let Reply::Push(parts) = push else { panic!("not a push: {push}") };
    assert_eq!(parts[0].text(), "invalidate");
    matches!(parts[1], Reply::Array(_)).then(|| parts[1].elements().iter().map(Reply::text).collect())
}

/// A client that caches what it reads, and forgets what it is told.
struct Cache {
    client: Client,
    copies: HashMap<String, String>,
}

impl Cache {
    fn take(&mut self, push: &Reply) {
        match invalid(push) {
            Some(keys) => keys.iter().for_each(|key| drop(self.copies.remove(key))),
            None => self.copies.clear(),
        }
    }

    /// Replies to a pipeline of GETs, with whatever is pushed between them.
    fn read(&mut self, keys: &[String]) {
        let wanted: Vec<&String> = keys.iter().filter(|key| !self.copies.contains_key(*key)).collect();
        let pipeline: Vec<u8> = wanted.iter().flat_map(|key| encode(&["GET", key])).collect();
        self.client.send(&pipeline);
        for key in wanted {
            let value = self.reply();
            self.copies.insert(key.clone(), value.to_string());
        }
    }

    fn reply(&mut self) -> Reply {
        loop {
            match self.client.reply() {
                push @ Reply::Push(_) => self.take(&push),
                reply => return reply,
            }
        }
    }
}

#[test]
fn no_copy_outlives_its_key_whoever_changes_it() {
    for shards in SHARDS {
        let server = Server::torc(shards, &[]);
        let keys: Vec<String> = (0..40).map(|number| format!("key:{number}")).collect();
        let mut caches: Vec<Cache> = [("", 0), (" NOLOOP", 1), (" BCAST", 2), ("", 3), (" OPTOUT", 4)]
            .iter()
            .map(|(options, _)| Cache { client: tracking(&server, options), copies: HashMap::new() })
            .collect();
        let mut writers: Vec<Client> = (0..4).map(|_| server.client()).collect();
        let mut random = fastrand::Rng::with_seed(shards as u64);
        for round in 0..150 {
            for writer in &mut writers {
                let mut pipeline = Vec::new();
                for _ in 0..5 {
                    let (one, other) = (&keys[random.usize(..40)], &keys[random.usize(..40)]);
                    pipeline.extend(match random.u8(..6) {
                        0 => encode(&["DEL", one, other]),
                        1 => encode(&["MSET", one, &round.to_string(), other, "x"]),
                        2 => encode(&["COPY", one, other, "REPLACE"]),
                        3 => encode(&["APPEND", one, "y"]),
                        _ => encode(&["SET", one, &random.u32(..).to_string()]),
                    });
                }
                writer.send(&pipeline);
            }
            // Reads and writes run beside each other.
            for cache in &mut caches {
                cache.read(&keys);
            }
            for writer in &mut writers {
                (0..5).for_each(|_| drop(writer.reply()));
            }
        }
        for cache in &mut caches {
            // Everything that was pushed comes before the answer to this.
            cache.client.send(&encode(&["PING"]));
            assert_eq!(cache.reply().to_string(), "+PONG");
            for (key, copy) in &cache.copies {
                assert_eq!(writers[0].ask(&format!("GET {key}")).replace("nil", "_"), *copy, "{key}, {shards} shards");
            }
        }
        for line in ["FLUSHALL", "MSET key:1 1 key:2 2"] {
            writers[0].call(line);
            for cache in &mut caches {
                cache.client.send(&encode(&["PING"]));
                cache.reply();
                assert!(line != "FLUSHALL" || cache.copies.is_empty());
                cache.read(&keys);
            }
        }
    }
}

#[test]
fn a_redirected_client_hears_in_its_own_protocol_and_its_end_is_told() {
    for shards in SHARDS {
        let server = Server::torc(shards, &[]);
        let mut writer = server.client();
        let mut ears: Vec<Client> = (0..shards * 2).map(|_| server.client()).collect();
        let ids: Vec<i64> = ears.iter_mut().map(|ear| ear.call("CLIENT ID").integer()).collect();
        for (index, ear) in ears.iter_mut().enumerate() {
            if index % 2 == 0 {
                ear.call("SUBSCRIBE __redis__:invalidate");
            } else {
                ear.call("HELLO 3");
            }
        }
        for (index, (ear, id)) in ears.iter_mut().zip(&ids).enumerate() {
            let mut reader = server.client();
            reader.call("HELLO 3");
            // What is pipelined behind waits for it.
            reader.send(
                &[encode(&["CLIENT", "TRACKING", "ON", "REDIRECT", &id.to_string()]), encode(&["GET", "k"])].concat(),
            );
            assert_eq!(reader.reply().to_string(), "+OK");
            reader.reply();
            assert_eq!(reader.call("CLIENT GETREDIR").integer(), *id);
            writer.call("SET k 1");
            let expected =
                if index % 2 == 0 { r#"["message" "__redis__:invalidate" ["k"]]"# } else { r#">["invalidate" ["k"]]"# };
            assert_eq!(ear.reply().to_string(), expected);
            writer.call("FLUSHALL");
            let expected =
                if index % 2 == 0 { r#"["message" "__redis__:invalidate" _]"# } else { r#">["invalidate" _]"# };
            assert_eq!(ear.reply().to_string(), expected);
            writer.call(&format!("CLIENT KILL ID {id}"));
            eventually("it is gone", || writer.ask(&format!("CLIENT LIST ID {id}")) == "\"\"");
            reader.call("GET k");
            writer.call("SET k 2");
            assert_eq!(reader.reply().to_string(), format!(">[\"tracking-redir-broken\" :{id}]"));
            assert!(reader.call("CLIENT TRACKINGINFO").to_string().contains("broken_redirect"));
            assert!(reader.call("CLIENT INFO").text().contains(" flags=tR "));
        }
    }
}

#[test]
fn the_table_has_a_limit_and_what_falls_out_is_told() {
    for shards in SHARDS {
        let server = Server::torc(shards, &["--tracking-table-max-keys", "100"]);
        let mut client = tracking(&server, "");
        for number in 0..1000 {
            client.send(&encode(&["GET", &format!("key:{number}")]));
        }
        let (mut replies, mut told) = (0, 0);
        while replies < 1000 {
            match client.reply() {
                push @ Reply::Push(_) => told += invalid(&push).expect("keys").len(),
                _ => replies += 1,
            }
        }
        client.send(&encode(&["PING"]));
        while let push @ Reply::Push(_) = client.reply() {
            told += invalid(&push).expect("keys").len();
        }
        let mut witness = server.client();
        let kept = witness.info_number("tracking_total_keys");
        assert_eq!(kept + told as u64, 1000, "{shards} shards");
        assert!(kept <= 100, "{kept}");
        assert_eq!(witness.info_number("tracking_total_items"), kept);
        assert_eq!(witness.info_number("tracking_clients"), 1);
        witness.call("CONFIG SET tracking-table-max-keys 1");
        for _ in 1..kept {
            invalid(&client.reply()).expect("a key");
        }
        assert_eq!(client.ask("PING"), "+PONG");
        assert_eq!(witness.info_number("tracking_total_keys"), 1);
        assert_eq!(client.ask("CLIENT TRACKING OFF"), "+OK");
        assert_eq!(client.ask("CLIENT TRACKING ON BCAST PREFIX a PREFIX b"), "+OK");
        assert_eq!(witness.info_number("tracking_total_prefixes"), 2);
        drop(client);
        eventually("it is gone", || witness.info_number("tracking_clients") == 0);
        eventually("its prefixes", || witness.info_number("tracking_total_prefixes") == 0);
    }
}

#[test]
fn keys_that_expire_or_are_evicted_are_told() {
    for shards in SHARDS {
        let server = Server::torc(shards, &[]);
        let (mut client, mut writer) = (tracking(&server, ""), server.client());
        // One that was gone before it was read has nothing to be told of.
        let mut told = BTreeSet::new();
        for number in 0..20 {
            writer.call(&format!("SET key:{number} 1 PX 200"));
            client.send(&encode(&["GET", &format!("key:{number}")]));
            let mut reply = client.reply();
            while let push @ Reply::Push(_) = reply {
                told.extend(invalid(&push).expect("keys"));
                reply = client.reply();
            }
            if reply == Reply::Null {
                told.insert(format!("key:{number}"));
            }
        }
        while told.len() < 20 {
            told.extend(invalid(&client.reply()).expect("keys"));
        }
        writer.call("SET evicted 1");
        client.call("GET evicted");
        writer.call("CONFIG SET maxmemory-policy allkeys-random");
        writer.call("CONFIG SET maxmemory 1");
        writer.call("SET other 1");
        assert_eq!(invalid(&client.reply()), Some(vec!["evicted".to_owned()]));
    }
}

/// It is nobody's change, whoever needs the room: also who does not hear of its own changes hears of it. Whatever shard has
/// the key, and whatever shard needs the room.
#[test]
fn what_is_evicted_for_a_client_is_told_to_itself_before_it_goes_on() {
    for shards in SHARDS {
        let server = Server::torc(shards, &["--maxmemory-policy", "volatile-random"]);
        let mut witness = server.client();
        let keys = key_of_each_shard(&mut witness, shards);
        let pairs = keys.iter().flat_map(|volatile| keys.iter().map(move |large| (volatile, large)));
        for (volatile, large) in pairs {
            let mut client = tracking(&server, " NOLOOP");
            let (volatile, large) = (format!("volatile{volatile}"), format!("large{large}"));
            client.call(&format!("SETEX {volatile} 10000 x"));
            client.call(&format!("GET {volatile}"));
            let limit = client.info_number("used_memory") + 100 * 1024;
            client.call(&format!("CONFIG SET maxmemory {limit}"));
            let mut told = Vec::new();
            for words in [&["SETBIT", &large, "1600000", "0"][..], &["GETBIT", &large, "0"]] {
                client.send(&encode(words));
                while let push @ Reply::Push(_) = client.reply() {
                    told.extend(invalid(&push));
                }
            }
            assert_eq!(told, [[&*volatile]], "before the reply to GETBIT {large}, {shards} shards");
            drop(client);
            witness.call("CONFIG SET maxmemory 0");
            witness.call("FLUSHALL");
            eventually("it is freed", || witness.info_number("lazyfree_pending_objects") == 0);
        }
    }
}

/// The keys that a client is told of when each of these is set.
fn told_of(client: &mut Client, writer: &mut Client, keys: &[String]) -> Vec<String> {
    keys.iter().for_each(|key| drop(writer.call(&format!("SET {key} changed"))));
    client.send(&encode(&["PING"]));
    let mut told = Vec::new();
    while let push @ Reply::Push(_) = client.reply() {
        told.extend(invalid(&push).expect("keys"));
    }
    told.sort();
    told
}

/// What each shard has been told, all clients know at once.
#[test]
fn what_scripts_read_is_remembered_for_their_client() {
    const READS: &str = "for _, key in ipairs(ARGV) do redis.call('get', key) end return #ARGV";
    const LONG: &str = "for _, key in ipairs(ARGV) do redis.call('get', key) for n = 1, 1e6 do end end return #ARGV";
    for shards in SHARDS {
        let server = Server::torc(shards, &[]);
        let mut writer = server.client();
        let library = format!(
            "#!lua name=l\nredis.register_function{{function_name='reads', flags={{'no-writes'}}, \
             callback=function(KEYS, ARGV) {READS} end}}"
        );
        writer.call_bytes(&[b"FUNCTION", b"LOAD", library.as_bytes()]);
        let keys: Vec<String> = (0..10).map(|number| format!("key:{number}")).collect();
        let names: Vec<&str> = keys.iter().map(String::as_str).collect();
        // Declared or not, there is no difference: what counts is what was read.
        for head in [
            &["EVAL", READS, "0"][..],
            &["EVAL", READS, "2", "key:0", "declared"],
            &["EVAL_RO", READS, "1", "declared"],
            &["EVAL", LONG, "1", "key:0"],
            &["FCALL", "reads", "0"],
            &["FCALL_RO", "reads", "1", "declared"],
        ] {
            for count in [1, names.len()] {
                let mut client = tracking(&server, "");
                client.send(&encode(&[head, &names[..count]].concat()));
                assert_eq!(client.reply().to_string(), format!(":{count}"));
                let all: Vec<String> = keys.iter().cloned().chain(["declared".to_owned()]).collect();
                let expected = &keys[..count];
                assert_eq!(told_of(&mut client, &mut writer, &all), expected, "{head:?}, {shards} shards");
                assert_eq!(told_of(&mut client, &mut writer, &all), Vec::<String>::new(), "once");
            }
        }
        for options in [" OPTIN", " BCAST PREFIX other"] {
            let mut client = tracking(&server, options);
            client.send(&encode(&[&["EVAL", READS, "0"][..], &names].concat()));
            client.reply();
            assert_eq!(told_of(&mut client, &mut writer, &keys), Vec::<String>::new());
        }
        let mut client = tracking(&server, " OPTIN");
        for line in ["CLIENT CACHING YES", "MULTI"] {
            client.call(line);
        }
        client.send(&encode(&[&["EVAL", READS, "0"][..], &names].concat()));
        client.reply();
        assert_eq!(client.ask("EXEC"), "[:10]");
        assert_eq!(told_of(&mut client, &mut writer, &keys), keys);
    }
}

#[test]
fn a_choice_for_a_transaction_is_for_all_of_it_and_for_nothing_behind_it() {
    for shards in SHARDS {
        for (mode, choice, chosen) in [(" OPTIN", "YES", true), (" OPTOUT", "NO", false)] {
            let server = Server::torc(shards, &[]);
            let mut writer = server.client();
            let keys: Vec<String> = (0..10).map(|number| format!("key:{number}")).collect();
            let told_if = |is_told: bool| if is_told { keys.clone() } else { Vec::new() };
            for is_inside in [false, true] {
                let mut client = tracking(&server, mode);
                let choose = format!("CLIENT CACHING {choice}");
                let lines = if is_inside { ["MULTI", &choose] } else { [&choose, "MULTI"] };
                lines.iter().for_each(|line| drop(client.call(line)));
                keys.iter().for_each(|key| drop(client.call(&format!("GET {key}"))));
                client.call("EXEC");
                assert_eq!(told_of(&mut client, &mut writer, &keys), told_if(chosen), "{mode}, {shards} shards");
                keys.iter().for_each(|key| drop(client.call(&format!("GET {key}"))));
                assert_eq!(told_of(&mut client, &mut writer, &keys), told_if(!chosen), "behind it, {shards} shards");
            }
        }
    }
}

#[test]
fn a_script_that_changes_what_it_has_read_leaves_no_copy() {
    for (options, is_told) in [("", true), (" NOLOOP", false)] {
        for shards in SHARDS {
            let server = Server::torc(shards, &[]);
            let mut client = tracking(&server, options);
            for key in (0..10).map(|number| format!("key:{number}")) {
                let script = "local old = redis.call('get', KEYS[1]) redis.call('set', KEYS[1], 'new') return old";
                // Whatever comes behind the answer has been told by then; between them it is behind what was awaited already.
                let mut told = Vec::new();
                for words in [&["EVAL", script, "1", &key][..], &["PING"]] {
                    client.send(&encode(words));
                    let mut reply = client.reply();
                    while let push @ Reply::Push(_) = reply {
                        told.extend(invalid(&push).expect("keys"));
                        reply = client.reply();
                    }
                }
                let expected = if is_told { vec![key] } else { Vec::new() };
                assert_eq!(told, expected, "{shards} shards");
            }
        }
    }
}
