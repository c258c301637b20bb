//! The rules of order, each switched off: the simulation has to find the history that it forbids.
//!
//! For each rule a workload in which its counterexample is likely. With the rule off some seed must fail; with all rules
//! on, the same workload must be clean over the same seeds and more.

use super::client::{ClientPlan, Dice, Script};
use super::command::{Command, Key};
use super::judge::judge;
use super::run::Plan;
use super::workload::name_on;
use torc_engine::transaction::rules::Rules;
use torc_server::reactor::simulated::Faults;
use torc_server::settings::Settings;

/// Commands as one pipeline, the next when all of it is answered.
pub fn repeat(times: usize, mut pipeline: impl FnMut(&mut Dice) -> Vec<Command> + 'static) -> ClientPlan {
    let mut left = times;
    let script: Script = Box::new(move |dice, _| {
        if left == 0 {
            return Ok(Vec::new());
        }
        left -= 1;
        Ok(pipeline(dice))
    });
    ClientPlan::patient(script)
}

fn mset(dice: &mut Dice, keys: &[Key]) -> Command {
    Command::MSet(keys.iter().map(|key| (*key, dice.value())).collect())
}

/// Key 0 on shard 0, key 1 on shard 1 ...; two clients a shard at least, so that each shard has some of each kind.
pub fn plan(seed: u64, rules: Rules, shards: usize, clients: Vec<ClientPlan>) -> Plan {
    let names = (0..shards).map(|shard| name_on(shard, shards, (b'a' + shard as u8) as char)).collect();
    Plan {
        seed,
        shards,
        databases: 1,
        rules,
        faults: Faults { network_delay_ns: (100, 5_000), wake_delay_ns: (10, 1_000), ..Faults::calm() },
        // No command is kept from getting in line behind others.
        settings: Settings { hz: 1, unit_patience_ns: 0, long_unit_patience_ns: 0, ..Settings::default() },
        clients,
        names,
        step_ns_max: 2_000,
        loses_wakes: false,
        stops_after: None,
        death: None,
    }
}

/// MSET of two keys on two shards, some of them sent by a third, and readers that look at one key, then at the other.
fn pairs(seed: u64, rules: Rules) -> Plan {
    let writer = || repeat(8, |dice| vec![mset(dice, &[0, 1])]);
    let reader = || repeat(25, |dice| vec![Command::Get(dice.random.u16(..2))]);
    plan(seed, rules, 3, vec![writer(), writer(), writer(), reader(), reader(), reader(), reader(), reader(), reader()])
}

/// MSET of two keys, and a reader of each: on some seeds each of the three lives on a shard of its own. A reader of a key
/// elsewhere would wait for the multicast at the gate.
fn pairs_apart(seed: u64, rules: Rules) -> Plan {
    let writer = repeat(20, |dice| vec![mset(dice, &[0, 1])]);
    let reader = |key: Key| repeat(60, move |_| vec![Command::Get(key)]);
    plan(seed, rules, 3, vec![writer, reader(0), reader(1)])
}

/// Pipelined writes to a shard's own key and to another's, and readers that wait.
fn pipelined_writes(seed: u64, rules: Rules) -> Plan {
    let writer = |shards: Key| {
        repeat(6, move |dice| {
            let first = dice.random.u16(..shards);
            let second = (first + dice.random.u16(1..shards)) % shards;
            vec![Command::set(first, dice.value()), Command::set(second, dice.value())]
        })
    };
    let reader = |shards: Key| repeat(12, move |dice| vec![Command::Get(dice.random.u16(..shards))]);
    let reader_of_all = |shards: Key| repeat(8, move |_| vec![Command::MGet((0..shards).collect())]);
    let shards = 3;
    let clients =
        vec![writer(shards), writer(shards), reader(shards), reader(shards), reader(shards), reader_of_all(shards)];
    plan(seed, rules, shards as usize, clients)
}

/// `MGET x y; SET x 9` in one pipeline: the MGET may not see the 9.
fn read_then_write(seed: u64, rules: Rules) -> Plan {
    let client = || {
        repeat(10, |dice| {
            let key = dice.random.u16(..2);
            vec![Command::MGet(vec![0, 1]), Command::set(key, dice.value())]
        })
    };
    plan(seed, rules, 2, vec![client(), client(), client()])
}

/// RENAMEs that make half of an MSET wait, and commands that look at everything.
fn cuts(seed: u64, rules: Rules) -> Plan {
    let mover = || {
        repeat(6, |dice| {
            let (from, to) = (dice.random.u16(..3), dice.random.u16(..3));
            vec![Command::set(from, dice.value()), Command::Rename(from, to)]
        })
    };
    let writer = || {
        repeat(6, |dice| {
            let first = dice.random.u16(..3);
            let keys = [first, (first + 1) % 3];
            vec![if dice.percent(70) { mset(dice, &keys) } else { Command::Del(keys.to_vec()) }]
        })
    };
    let watcher = || repeat(10, |dice| vec![if dice.percent(70) { Command::DbSize } else { Command::Keys }]);
    plan(seed, rules, 3, vec![mover(), mover(), writer(), writer(), watcher(), watcher()])
}

/// Two keys that expire at one instant, and readers around it.
fn clocks(seed: u64, rules: Rules) -> Plan {
    let writer = || {
        repeat(8, |dice| {
            let at = dice.now_ms + dice.random.i64(1..4);
            let set = |key: Key, dice: &mut Dice| Command::Set {
                key,
                value: dice.value(),
                expires_at: Some(at),
                if_absent: false,
                get: true,
            };
            vec![set(0, dice), set(1, dice)]
        })
    };
    let reader_of_both = || repeat(25, |_| vec![Command::MGet(vec![0, 1])]);
    let reader = || repeat(25, |dice| vec![Command::Get(dice.random.u16(..2))]);
    let clients = vec![writer(), reader_of_both(), reader_of_both(), reader(), reader()];
    Plan { step_ns_max: 100_000, ..plan(seed, rules, 2, clients) }
}

/// Keys that expire while commands of one and of several hops stand in line for them, in pipelines that look twice.
fn expiring_behind_locks(seed: u64, rules: Rules) -> Plan {
    let client = || {
        repeat(8, |dice| {
            let (key, other) = (dice.random.u16(..3), dice.random.u16(..3));
            let expires_at = Some(dice.now_ms + dice.random.i64(1..4));
            let look = |dice: &mut Dice| match dice.random.u8(..4) {
                0 => Command::Get(key),
                1 => Command::MGet(vec![key, other]),
                2 => Command::Rename(key, other),
                _ => Command::Copy { from: key, to: other, database: 0, replace: true },
            };
            vec![
                Command::Set { key, value: dice.value(), expires_at, if_absent: false, get: true },
                look(dice),
                look(dice),
                look(dice),
            ]
        })
    };
    Plan { step_ns_max: 100_000, ..plan(seed, rules, 3, vec![client(), client(), client()]) }
}

/// Two keys with one expiry on two shards, a third beside the first that RENAMEs hold now and then: the MGET that waits for it
/// runs at its own time, though GETs have found the first key expired meanwhile.
fn expiring_pairs_behind_locks(seed: u64, rules: Rules) -> Plan {
    const HELD: Key = 3;
    let pairs = || {
        repeat(10, |dice| {
            let at = dice.now_ms + dice.random.i64(1..3);
            vec![Command::MSetEx(vec![(0, dice.value()), (1, dice.value())], at)]
        })
    };
    let holder = || repeat(10, |dice| vec![Command::set(HELD, dice.value()), Command::Rename(HELD, 2)]);
    let reader_of_all = || repeat(15, |_| vec![Command::MGet(vec![0, HELD, 1])]);
    let reader = || repeat(25, |_| vec![Command::Get(0)]);
    let clients = vec![pairs(), holder(), holder(), reader_of_all(), reader_of_all(), reader(), reader(), reader()];
    let mut plan = Plan { step_ns_max: 100_000, ..plan(seed, rules, 3, clients) };
    plan.names.push(name_on(0, 3, 'd'));
    plan
}

/// Keys that have expired and that nobody has looked at, then written with a time that is over: DBSIZE counts none of them.
fn written_too_late(seed: u64, rules: Rules) -> Plan {
    let client = repeat(10, |dice| {
        let at = dice.now_ms + dice.random.i64(-1..2);
        vec![Command::MSetEx(vec![(0, dice.value()), (1, dice.value())], at), Command::DbSize]
    });
    Plan { step_ns_max: 100_000, ..plan(seed, rules, 2, vec![client]) }
}

/// More messages from each shard to the other in one turn than a bounded inbox would take.
fn floods(seed: u64, rules: Rules) -> Plan {
    let writer = || repeat(3, |dice| (0..12).map(|_| mset(dice, &[0, 1])).collect());
    plan(seed, rules, 2, vec![writer(), writer()])
}

/// Seeds behind the one with a violation that are run with every rule.
const CLEAN_SEEDS: u64 = 50;

/// Fails unless the workload has a violation without the rule, and none with it.
#[track_caller]
fn needs(rules: Rules, workload: fn(u64, Rules) -> Plan, seeds_max: u64, says: &str) {
    let violation = |seed: u64, rules: Rules| judge(workload(seed, rules)).err();
    let found = (0..seeds_max).find_map(|seed| violation(seed, rules).map(|failure| (seed, failure)));
    let Some((found_at, failure)) = found else { panic!("no counterexample in {seeds_max} seeds") };
    assert!(failure.text.contains(says), "seed {found_at} fails otherwise: {failure}");
    for seed in 0..=found_at + CLEAN_SEEDS {
        if let Some(failure) = violation(seed, Rules::default()) {
            panic!("seed {seed}, with every rule: {failure}");
        }
    }
}

#[test]
fn without_the_flag_a_reader_sees_half_an_mset() {
    needs(Rules { flag: false, ..Rules::default() }, pairs_apart, 300, "no order");
}

#[test]
fn without_the_order_of_a_turn_an_older_value_is_read_after_a_newer_one() {
    needs(Rules { turn_order: false, ..Rules::default() }, pairs, 300, "no order");
}

#[test]
fn without_the_gate_a_later_write_overtakes_an_earlier_one() {
    needs(Rules { gate: false, ..Rules::default() }, pipelined_writes, 300, "no order");
}

#[test]
fn without_the_gate_a_read_sees_the_write_behind_it() {
    needs(Rules { gate: false, ..Rules::default() }, read_then_write, 300, "no order");
}

#[test]
fn without_flushed_batches_pipelined_writes_change_places() {
    needs(Rules { batches: false, ..Rules::default() }, pipelined_writes, 300, "no order");
}

#[test]
fn without_cuts_half_an_mset_is_counted() {
    needs(Rules { cuts: false, ..Rules::default() }, cuts, 300, "no order");
}

#[test]
fn without_one_clock_one_of_two_keys_expires() {
    needs(Rules { clocks: false, ..Rules::default() }, clocks, 300, "no order");
}

#[test]
fn with_bounded_inboxes_shards_wait_for_each_other() {
    needs(Rules { unbounded_push: false, ..Rules::default() }, floods, 50, "stuck");
}

/// Fails if the workload has a violation.
#[track_caller]
fn is_clean(workload: fn(u64, Rules) -> Plan, seeds: u64) {
    for seed in 0..seeds {
        if let Err(failure) = judge(workload(seed, Rules::default())) {
            panic!("seed {seed}: {failure}");
        }
    }
}

#[test]
fn nothing_runs_at_an_earlier_time_than_what_was_in_front_of_it() {
    is_clean(expiring_behind_locks, 200);
}

#[test]
fn what_has_expired_is_left_for_those_who_come_from_an_earlier_time() {
    is_clean(expiring_pairs_behind_locks, 200);
}

#[test]
fn an_expired_key_that_is_written_too_late_is_gone_on_every_shard() {
    is_clean(written_too_late, 50);
}
