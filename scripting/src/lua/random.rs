//! `math.random` and `math.randomseed` as Redis has them: the 48-bit generator of `drand48`, so that a seed gives the same
//! numbers everywhere.

use super::answer::{Fault, Given, Values, define};
use super::number::{to_int, truncated};
use mlua::{Lua, Table, Value};
use std::cell::Cell;
use std::rc::Rc;

const MULTIPLIER: u64 = 0x5_DEEC_E66D;
const INCREMENT: u64 = 0xB;
const MASK: u64 = (1 << 48) - 1;
const BEGIN: u64 = 0x1234_ABCD_330E;

/// The generator.
struct Generator(Cell<u64>);

impl Generator {
    /// The next 31 bits.
    fn next(&self) -> u32 {
        let state = self.0.get().wrapping_mul(MULTIPLIER).wrapping_add(INCREMENT) & MASK;
        self.0.set(state);
        (state >> 17) as u32
    }

    fn seed(&self, seed: i32) {
        self.0.set((seed as u32 as u64) << 16 | 0x330E);
    }
}

/// Puts both into `math`.
pub(super) fn install(lua: &Lua, math: &Table) -> mlua::Result<()> {
    let generator = Rc::new(Generator(Cell::new(BEGIN)));
    let shared = generator.clone();
    define(lua, math, "random", 2, move |_, given| {
        const RANGE: u32 = i32::MAX as u32;
        let fraction = f64::from(shared.next() % RANGE) / f64::from(RANGE);
        let (low, high) = match given.count() {
            0 => return Ok(Value::Number(fraction).into()),
            1 => (1, integer(&given, 1)?),
            2 => (integer(&given, 1)?, integer(&given, 2)?),
            _ => return Err(Fault::text("wrong number of arguments")),
        };
        if low > high {
            return Err(Fault::Argument(given.count(), "interval is empty".to_owned()));
        }
        let width = f64::from(high.wrapping_sub(low).wrapping_add(1));
        Ok(Value::Number((fraction * width).floor() + f64::from(low)).into())
    })?;
    define(lua, math, "randomseed", 1, move |_, given| {
        generator.seed(truncated(given.number(1)?) as i32);
        Ok(Values::None)
    })
}

fn integer(given: &Given<'_>, number: usize) -> Result<i32, Fault> {
    let value = given.number(number)?;
    Ok(if value.abs() < 9e18 { truncated(value) as i32 } else { to_int(value) })
}
