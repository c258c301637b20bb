//! [`Rope`] against a vector.

use super::super::{CHUNK_BYTES, Rope};
use super::{Pair, environment, run, text};
use proptest::prelude::*;

struct RopePair {
    rope: Rope,
    model: Vec<u8>,
    views: Vec<(Rope, Vec<u8>)>,
    random: fastrand::Rng,
}

const LENGTH_MAX: usize = 400 * CHUNK_BYTES;

fn check(rope: &Rope, model: &[u8]) {
    rope.audit();
    assert_eq!(rope.len(), model.len() as u64);
    assert!(rope.to_vec() == model);
}

impl Pair for RopePair {
    fn new(seed: u64, profile: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let model: Vec<u8> =
            if profile == 0 { Vec::new() } else { (0..random.usize(..100_000)).map(|_| random.u8(..)).collect() };
        Self { rope: Rope::from_bytes(&model), model, views: Vec::new(), random }
    }

    fn step(&mut self) {
        let length = if self.random.u8(..10) == 0 { self.random.usize(..10_000) } else { self.random.usize(..40) };
        let bytes = text(self.random.u64(..1000), length);
        match self.random.u32(..1000) {
            0..5 => {
                if self.views.len() > 2 {
                    let (view, model) = self.views.swap_remove(0);
                    check(&view, &model);
                }
                self.views.push((self.rope.clone(), self.model.clone()));
            }
            5..300 if self.model.len() < LENGTH_MAX => {
                self.rope.append(&bytes);
                self.model.extend_from_slice(&bytes);
            }
            300..305 if self.model.len() < LENGTH_MAX => self.write(self.model.len() + length * 10, &bytes),
            305..306 if self.model.len() < LENGTH_MAX => self.write(self.model.len() + CHUNK_BYTES * 70, &bytes),
            306..600 => {
                let start = self.random.usize(..=self.model.len());
                let end = (start + length).min(self.model.len());
                let pieces: Vec<u8> =
                    self.rope.pieces(start as u64, (start + length) as u64).flatten().copied().collect();
                assert_eq!(pieces, &self.model[start..end]);
                assert_eq!(self.rope.byte(start as u64), self.model.get(start).copied());
            }
            600.. => {
                let offset = self.random.usize(..=self.model.len());
                self.write(offset, &bytes);
            }
            _ => {}
        }
    }

    fn check(&self) {
        check(&self.rope, &self.model);
        self.views.iter().for_each(|(view, model)| check(view, model));
    }
}

impl RopePair {
    fn write(&mut self, offset: usize, bytes: &[u8]) {
        self.rope.write_at(offset as u64, bytes);
        if self.model.len() < offset + bytes.len() {
            self.model.resize(offset + bytes.len(), 0);
        }
        self.model[offset..offset + bytes.len()].copy_from_slice(bytes);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20))]

    #[test]
    fn equals_a_vector(seed in any::<u64>(), profile in 0..2u64, operations in 0..1000u64) {
        run::<RopePair>(seed, profile, operations);
    }
}

#[test]
fn equals_a_vector_for_long() {
    run::<RopePair>(environment("TORC_LARGE_SEED", 1), 0, environment("TORC_LARGE_OPERATIONS", 20_000));
}
