//! What the console shows of slow commands and hot keys: the newest entries of the slow log, and the costliest keys while HOTKEYS
//! counts them.
//!
//! The slow log's lock is held while a few short texts are made; a shard takes it for commands past the threshold only. Of its
//! keys each shard has told a few with its figures: a key belongs to one shard, so the costliest of all are among them.

use super::figures::HOT_KEYS;
use super::pages::ShardView;
use crate::insight::command_log::{Entry, Reason};
use crate::insight::hot_keys::Cost;
use crate::shared::Shared;
use serde_json::{Value, json};
use std::cmp::Reverse;
use std::time::{SystemTime, UNIX_EPOCH};

/// Entries of the slow log that are shown.
const ENTRIES_MAX: usize = 16;
/// Characters of a command, and of a key's name.
const TEXT_MAX: usize = 160;

/// The newest entries.
pub(super) fn slow_log(shared: &Shared) -> Value {
    let threshold_us = shared.config().observation.slow_log_threshold_us;
    let mut logs = shared.insight.commands();
    let log = logs.of(Reason::Slow);
    let latest: Vec<Value> = log.entries().take(ENTRIES_MAX).map(entry).collect();
    json!({"threshold_usec": threshold_us, "length": log.len(), "latest": latest})
}

fn entry(entry: &Entry) -> Value {
    json!({
        "id": entry.id,
        "at_s": entry.noted.at_s,
        "usec": entry.noted.value,
        "command": shown(entry.noted.arguments.iter().map(Vec::as_slice)),
        "client": entry.address,
        "client_name": shown([&*entry.name].into_iter()),
    })
}

/// The costliest keys of all shards, the costliest first; null where nobody has asked for them.
pub(super) fn hot_keys(shared: &Shared, views: &[ShardView]) -> Value {
    let Some(session) = *shared.insight.hot_keys() else { return Value::Null };
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_millis() as i64);
    let (mut all, mut keys) = (Cost::default(), Vec::new());
    for known in views.iter().map(|view| &view.known) {
        let Some(told) = &known.hot_keys else { continue };
        all.add(told.all);
        keys.extend(told.keys.iter().map(|(key, cost)| (known.figures.shard, key, *cost)));
    }
    keys.sort_unstable_by_key(|(_, key, cost)| (Reverse(session.settings.measure(cost)), *key));
    keys.truncate(HOT_KEYS);
    let value = |cost: &Cost| {
        let usec = session.settings.cpu.then_some(cost.took_ns / 1000);
        (usec, session.settings.net.then_some(cost.bytes))
    };
    let (all_usec, all_bytes) = value(&all);
    let keys: Vec<Value> = keys
        .into_iter()
        .map(|(shard, key, cost)| {
            let (usec, bytes) = value(&cost);
            json!({"key": shown([&**key].into_iter()), "shard": shard, "usec": usec, "bytes": bytes})
        })
        .collect();
    json!({
        "is_active": session.is_active(now_ms),
        "for_ms": session.duration_ms(now_ms),
        "sample_ratio": session.settings.ratio,
        "usec": all_usec,
        "bytes": all_bytes,
        "keys": keys,
    })
}

/// Words as they are read: what is no text is escaped, and the end of what is long is left out.
fn shown<'a>(words: impl Iterator<Item = &'a [u8]>) -> String {
    let mut text = String::new();
    for (index, word) in words.enumerate() {
        if index > 0 {
            text.push(' ');
        }
        for chunk in word.utf8_chunks() {
            for character in chunk.valid().chars() {
                if character.is_control() {
                    text.extend(character.escape_default());
                } else {
                    text.push(character);
                }
            }
            chunk.invalid().iter().for_each(|byte| text.push_str(&format!("\\x{byte:02x}")));
        }
    }
    if let Some((end, _)) = text.char_indices().nth(TEXT_MAX) {
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_short_and_have_no_control_characters() {
        let of = |words: &[&[u8]]| shown(words.iter().copied());
        assert_eq!(of(&[b"set", b"k y", "schl\u{fc}ssel".as_bytes()]), "set k y schl\u{fc}ssel");
        assert_eq!(of(&[b"set", b"\r\n\x00\xff"]), "set \\r\\n\\u{0}\\xff");
        let long = of(&[b"set", &[b'a'; 500]]);
        assert!(long.chars().count() == TEXT_MAX + 1 && long.ends_with("a…"), "{long}");
        assert_eq!(of(&[&[b'a'; TEXT_MAX]]), "a".repeat(TEXT_MAX));
        assert_eq!(of(&[]), "");
    }
}
