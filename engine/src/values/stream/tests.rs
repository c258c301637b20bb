//! A stream against a simple model, with frozen views in between.

use super::super::large;
use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;

type Fields = Vec<(Vec<u8>, Vec<u8>)>;
/// To whom, when and how often.
type Delivery = (Option<Vec<u8>>, i64, u64);

/// What a stream is: entries in order, and what each group has pending.
#[derive(Clone, Default, PartialEq, Debug)]
struct Model {
    entries: BTreeMap<StreamId, Fields>,
    groups: BTreeMap<Vec<u8>, BTreeMap<StreamId, Delivery>>,
}

/// The same of a stream.
fn seen(stream: &Stream) -> Model {
    let entries = stream.entries().range(StreamId::MIN, StreamId::MAX).map(|entry| {
        let fields =
            entry.fields().map(|(field, value)| (field.to_bytes().into_owned(), value.to_bytes().into_owned()));
        (entry.id, fields.collect())
    });
    let groups = stream.groups().map(|(name, group)| {
        let pending = group.pending_from(StreamId::MIN).map(|(id, pending)| {
            let consumer = pending.consumer.map(|_| group.name_of(pending.consumer).to_vec());
            (id, (consumer, pending.delivered_at, pending.deliveries))
        });
        (name.to_vec(), pending.collect())
    });
    Model { entries: entries.collect(), groups: groups.collect() }
}

impl Stream {
    /// Counts everything in it anew.
    pub(crate) fn audit(&self) {
        self.entries().audit();
        let mut bytes = 0;
        for (name, group) in self.groups() {
            group.audit();
            bytes += group_bytes(name, group);
        }
        assert_eq!(self.groups_bytes, bytes);
        let back: Vec<_> = self.entries().range_back(StreamId::MIN, StreamId::MAX).map(|entry| entry.id).collect();
        assert!(self.entries().range(StreamId::MIN, StreamId::MAX).map(|entry| entry.id).eq(back.into_iter().rev()));
    }
}

struct Run {
    random: fastrand::Rng,
    limits: Encodings,
    stream: Stream,
    model: Model,
}

impl Run {
    fn text(&mut self) -> Vec<u8> {
        match self.random.u32(..10) {
            0..4 => self.random.i64(-5..5000).to_string().into_bytes(),
            4..9 => vec![self.random.alphanumeric() as u8; self.random.usize(..30)],
            _ => vec![b'l'; self.random.usize(..6000)],
        }
    }

    /// An ID that is there, mostly, or beside one.
    fn id(&mut self) -> StreamId {
        let count = self.model.entries.len();
        if count == 0 || self.random.u32(..8) == 0 {
            return StreamId::new(self.random.u64(..50_000), self.random.u64(..3));
        }
        *self.model.entries.keys().nth(self.random.usize(..count)).expect("an entry")
    }

    fn append(&mut self) {
        let last = self.stream.log().last_id();
        let id = if self.random.bool() {
            last.next().expect("room")
        } else {
            StreamId::new(last.ms + self.random.u64(1..4), self.random.u64(..3))
        };
        let pairs = self.random.usize(1..4);
        let is_usual = self.random.u32(..4) > 0;
        let fields: Fields = (0..pairs)
            .map(|number| {
                let field = if is_usual { format!("field{number}").into_bytes() } else { self.text() };
                (field, self.text())
            })
            .collect();
        let flat: Vec<&[u8]> = fields.iter().flat_map(|(field, value)| [&field[..], value]).collect();
        self.stream.log_mut().append(id, &flat, &self.limits).expect("a higher ID");
        assert_eq!(self.stream.log_mut().append(id, &flat, &self.limits), Err(Refused::NotHigher));
        self.model.entries.insert(id, fields);
    }

    fn trim(&mut self) {
        let length = self.model.entries.len() as u64;
        let is_exact = self.random.bool();
        let threshold = if self.random.bool() {
            Threshold::Length(length.saturating_sub(self.random.u64(..60)))
        } else {
            Threshold::Id(self.id())
        };
        let references =
            *self.random.choice(&[References::Keep, References::Delete, References::Acknowledged]).expect("one");
        let trim = Trim { threshold, is_approximate: !is_exact, limit: 0, references };
        let before = seen(&self.stream);
        let trimmed = self.stream.trim(&trim);
        let is_kept = |entries: &BTreeMap<StreamId, Fields>, id: StreamId| match threshold {
            Threshold::Length(max) => entries.len() as u64 <= max,
            Threshold::Id(min) => id >= min,
        };
        // One by one, from the front, what may go; as many as the stream says if it is to be about.
        for &id in before.entries.keys() {
            if is_kept(&self.model.entries, id)
                || !is_exact && before.entries.len() - self.model.entries.len() == trimmed.count as usize
            {
                break;
            }
            let is_referenced =
                self.stream.groups().any(|(name, group)| group.last_id() < id || before.groups[name].contains_key(&id));
            if references == References::Acknowledged && is_referenced {
                continue;
            }
            self.model.entries.remove(&id);
            if references == References::Delete {
                self.model.groups.values_mut().for_each(|pending| drop(pending.remove(&id)));
            }
        }
        assert_eq!(before.entries.len() - self.model.entries.len(), trimmed.count as usize, "{trim:?}");
    }

    fn pend(&mut self) {
        let group = format!("group{}", self.random.u32(..3)).into_bytes();
        if !self.model.groups.contains_key(&group) {
            let last = self.id();
            assert!(self.stream.add_group(&group, Group::new(last, None)));
            self.model.groups.insert(group, BTreeMap::new());
            return;
        }
        let (id, consumer) = (self.id(), format!("consumer{}", self.random.u32(..5)).into_bytes());
        let (kind, count) = (self.random.u32(..12), self.random.u64(..100));
        let pending = self.model.groups.get_mut(&group).expect("a group");
        let result = self.stream.change_group(&group, |_, group| match kind {
            0..7 => {
                let consumer = group.find_consumer(&consumer).or_else(|| group.add_consumer(&consumer, 7));
                group.set_pending(id, Pending { consumer, delivered_at: 9, deliveries: count });
                true
            }
            7 if group.pending(id).is_some() => {
                group.set_pending(id, Pending { consumer: None, delivered_at: 0, deliveries: count });
                true
            }
            8 => group.remove_consumer(&consumer).is_some(),
            7 => false,
            _ => group.release(id),
        });
        match kind {
            0..7 => drop(pending.insert(id, (Some(consumer), 9, count))),
            7 => drop(pending.get_mut(&id).map(|entry| *entry = (None, 0, count))),
            8 => pending.retain(|_, (owner, _, _)| owner.as_ref() != Some(&consumer)),
            _ => assert_eq!(result, Some(pending.remove(&id).is_some())),
        }
        if kind == 11 && count == 0 {
            assert!(self.stream.remove_group(&group));
            self.model.groups.remove(&group);
        }
    }

    fn step(&mut self, growth: u32) {
        match self.random.u32(..100) {
            kind if kind < growth => self.append(),
            90..92 => self.trim(),
            kind if kind < 80 => self.pend(),
            _ => {
                let id = self.id();
                assert_eq!(self.stream.log_mut().delete(id), self.model.entries.remove(&id).is_some());
            }
        }
        let id = self.id();
        let (from, to) = (id, self.id());
        let entries = self.stream.entries();
        assert_eq!(entries.len(), self.model.entries.len() as u64);
        assert_eq!(entries.get(id).is_some(), self.model.entries.contains_key(&id));
        let counted = if from <= to { self.model.entries.range(from..=to).count() } else { 0 };
        assert_eq!(entries.count(from, to), counted as u64);
        assert_eq!(entries.range(from, to).count(), counted);
        assert_eq!(entries.range_back(from, to).count(), counted);
    }
}

fn run(seed: u64, steps: u32, limits: Encodings) {
    let random = fastrand::Rng::with_seed(seed);
    let mut run = Run { random, limits, stream: Stream::default(), model: Model::default() };
    let mut views = Vec::new();
    for step in 0..steps {
        // Grows for a while, then shrinks.
        run.step(if step / 400 % 3 < 2 { 60 } else { 15 });
        if run.random.u32(..100) == 0 {
            views.push((run.stream.clone(), run.model.clone()));
            if views.len() > 4 {
                let at = run.random.usize(..views.len());
                let (stream, model) = views.swap_remove(at);
                assert_eq!(seen(&stream), model);
                stream.audit();
            }
        }
    }
    views.push((run.stream, run.model));
    for (stream, model) in views {
        assert_eq!(seen(&stream), model);
        stream.audit();
    }
}

/// Few entries a node, so that there are many nodes.
fn small_nodes() -> Encodings {
    Encodings { stream_node_entries_max: 5, ..Encodings::default() }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn a_stream_is_what_the_model_says(seed: u64, is_small: bool) {
        run(seed, 2500, if is_small { small_nodes() } else { Encodings::default() });
    }
}

#[test]
#[ignore = "long: a million operations"]
fn a_stream_is_what_the_model_says_for_long() {
    (0..50).for_each(|seed| run(seed, 10_000, small_nodes()));
    (50..100).for_each(|seed| run(seed, 10_000, Encodings::default()));
}

#[test]
fn nodes_end_where_the_directives_say() {
    let count = |entries: u64, limits: &Encodings, text: &[u8]| {
        let mut stream = Stream::default();
        for number in 1..=entries {
            stream.log_mut().append(StreamId::new(number, 0), &[b"field", text], limits).expect("a higher ID");
        }
        stream.audit();
        let nodes: Vec<u64> = stream.entries().nodes().map(|node| node.live()).collect();
        nodes
    };
    let limits = |bytes, entries| Encodings {
        stream_node_bytes_max: bytes,
        stream_node_entries_max: entries,
        ..Encodings::default()
    };
    assert_eq!(count(25, &limits(4096, 10), b"x"), [10, 10, 5]);
    assert_eq!(count(250, &limits(4096, 100), b"x"), [100, 100, 50]);
    assert_eq!(count(250, &limits(0, 0), b"x"), [250]);
    assert_eq!(count(4, &limits(4096, 100), &[b'x'; 5000]), [1, 1, 1, 1]);
    assert_eq!(count(5, &limits(0, 100), &[b'x'; 5000]), [5]);
    // Of 512 bytes and some more each, seven fit.
    assert_eq!(count(8, &limits(4096, 100), &[b'x'; 512]), [7, 1]);
}

#[test]
fn a_short_stream_is_small_and_bytes_follow_what_is_there() {
    let mut stream = Stream::default();
    stream.log_mut().append(StreamId::new(1, 1), &[b"field", b"value"], &Encodings::default()).expect("a higher ID");
    assert!(stream.bytes() <= 96, "{}", stream.bytes());
    for number in 2..=10_000 {
        stream
            .log_mut()
            .append(StreamId::new(number, 1), &[b"field", b"value"], &Encodings::default())
            .expect("higher");
    }
    let per_entry = stream.bytes() / 10_000;
    assert!((14..=18).contains(&per_entry), "{per_entry}");
    let trim = Trim { threshold: Threshold::Length(0), is_approximate: false, limit: 0, references: References::Keep };
    assert_eq!(stream.trim(&trim).count, 10_000);
    assert_eq!(
        (stream.bytes(), stream.log().last_id(), stream.log().entries_added()),
        (0, StreamId::new(10_000, 1), 10_000)
    );
}

#[test]
fn a_limit_stops_in_front_of_the_node_that_would_pass_it() {
    let mut stream = Stream::default();
    for number in 1..=30 {
        let limits = Encodings { stream_node_entries_max: 10, ..Encodings::default() };
        stream.log_mut().append(StreamId::new(number, 0), &[b"f", b"v"], &limits).expect("a higher ID");
    }
    let trim =
        |limit| Trim { threshold: Threshold::Length(0), is_approximate: true, limit, references: References::Keep };
    assert_eq!(stream.trim(&trim(9)).count, 0);
    assert_eq!(stream.trim(&trim(25)).count, 20);
    assert_eq!(stream.trim(&trim(0)).count, 10);
}

/// A stream that has many of everything, and something of each kind that tells when it is freed.
fn huge() -> (Stream, [Vec<std::sync::Weak<[u8]>>; 3]) {
    const MANY: u64 = 1000;
    let mut stream = Stream::default();
    for number in 1..=MANY {
        let fields: [&[u8]; 2] = [b"field", &[b'x'; 500]];
        stream.log_mut().append(StreamId::new(number, 0), &fields, &small_nodes()).expect("a higher ID");
        stream.add_group(format!("group {number}").as_bytes(), Group::new(StreamId::MIN, None));
        let name = number.to_string().into_bytes();
        stream.idempotency_mut().set_limits(IdempotencyLimits { duration_s: 100, count_max: 10_000 });
        stream.idempotency_mut().note(b"one producer", &name, StreamId::new(number, 0), 0);
        stream.change_group(b"group 1", |_, group| {
            let consumer = group.add_consumer(&name, 0);
            group.set_pending(StreamId::new(number, 0), Pending { consumer, delivered_at: 0, deliveries: 1 });
        });
    }
    let groups = stream.groups.keys().map(Arc::downgrade).collect();
    let group = &stream.groups[&b"group 1"[..]];
    let consumers = group.consumers().map(|(_, consumer)| Arc::downgrade(consumer.shared_name())).collect();
    let names = stream.idempotency().expect("producers").names().map(Arc::downgrade).collect();
    (stream, [groups, consumers, names])
}

#[test]
fn a_huge_stream_is_freed_in_slices_by_whoever_held_it_last_on_whatever_thread() {
    let (stream, parts) = huge();
    let view = stream.clone();
    let live = |parts: &[Vec<std::sync::Weak<[u8]>>; 3]| {
        parts.each_ref().map(|names| names.iter().filter(|name| name.strong_count() > 0).count())
    };
    drop(stream);
    while large::collect(&mut { usize::MAX }) {}
    assert_eq!(live(&parts), [1000; 3], "the view has all of it");
    assert_eq!(view.entries().len(), 1000);
    let parts = std::thread::spawn(move || {
        drop(view);
        assert_eq!(live(&parts), [1000; 3], "nothing goes at once");
        let (mut steps, mut before) = (0, live(&parts).iter().sum::<usize>());
        while large::collect(&mut { 50 }) {
            let after = live(&parts).iter().sum();
            assert!(before - after <= 50 + 64, "{before} to {after} in one step");
            (steps, before) = (steps + 1, after);
        }
        // Groups, consumers twice, names twice, and the nodes of the trees.
        assert!(steps > 5 * 1000 / 50, "{steps} steps");
        parts
    });
    let parts = parts.join().expect("no panic");
    assert_eq!(live(&parts), [0; 3]);
}
