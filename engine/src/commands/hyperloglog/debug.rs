//! A look inside: PFDEBUG, PFSELFTEST.

use super::super::errors::is;
use super::registers::{self, REGISTERS};
use super::{EMPTY, Encoding, HEADER_BYTES, Sketch, add, dense, make_dense, make_raw, sparse};
use crate::command::{CommandError, CommandResult, Execution};
use crate::values::{Form, NewCollection, Packed, Type};
use std::fmt::Write as _;

/// The runs as text: `z:` and `Z:` with a number of empty registers, `v:` with rank and number.
fn decoded(runs: &[u8]) -> String {
    let mut text = String::new();
    for run in sparse::runs(runs).map_while(Result::ok) {
        let separator = if text.is_empty() { "" } else { " " };
        let length = run.length;
        let _ = match (run.rank, run.is_extended()) {
            (0, false) => write!(text, "{separator}z:{length}"),
            (0, true) => write!(text, "{separator}Z:{length}"),
            (rank, _) => write!(text, "{separator}v:{rank},{length}"),
        };
    }
    text
}

/// `PFDEBUG GETREG | DECODE | ENCODING | TODENSE key`
pub(super) fn pfdebug(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let Execution { keyspace, reply, database, now, .. } = execution;
    let (subcommand, key) = (arguments[1], keyspace.key(arguments[2]));
    let Some(mut entry) = keyspace.edit(*database, &key, Type::String, *now)? else {
        return Err("ERR The specified key does not exist".into());
    };
    let sketch = Sketch::parse(entry.bytes())?;
    let is_sparse = sketch.encoding == Encoding::Sparse;
    if is(subcommand, "GETREG") || is(subcommand, "TODENSE") {
        make_dense(&mut entry)?;
        entry.changed(u64::from(is_sparse));
        if is(subcommand, "GETREG") {
            reply.array(REGISTERS);
            dense::ranks(&entry.bytes()[HEADER_BYTES..]).for_each(|rank| reply.integer(i64::from(rank)));
        } else {
            reply.integer(i64::from(is_sparse));
        }
        if is_sparse {
            execution.effect(arguments);
        }
    } else if is(subcommand, "DECODE") {
        if !is_sparse {
            return Err("ERR HLL encoding is not sparse".into());
        }
        reply.bulk(decoded(sketch.body).as_bytes());
        make_raw(&mut entry);
    } else if is(subcommand, "ENCODING") {
        reply.status(if is_sparse { "sparse" } else { "dense" });
        make_raw(&mut entry);
    } else {
        return Err(format!("ERR Unknown PFDEBUG subcommand '{}'", String::from_utf8_lossy(subcommand)).into());
    }
    Ok(())
}

/// Elements added by the self-test; fewer than in the real server's, which takes seconds.
const SELF_TEST_ELEMENTS: u64 = 100_000;

fn failed(what: &str) -> CommandError {
    format!("TESTFAILED {what}").into()
}

/// `PFSELFTEST`
pub(super) fn pfselftest(execution: &mut Execution<'_>, _arguments: &[&[u8]]) -> CommandResult {
    let mut model = vec![0; REGISTERS];
    let mut registers = vec![0; dense::DENSE_BYTES];
    for (index, expected) in model.iter_mut().enumerate() {
        *expected = execution.random.u8(..64);
        dense::raise(&mut registers, index, *expected);
    }
    if !dense::ranks(&registers).eq(model) {
        return Err(failed("registers do not keep what they are set to"));
    }
    let bytes_max = super::sparse_bytes_max(execution);
    let mut sketch = NewCollection::packed(&EMPTY, Form::RAW_STRING);
    registers.fill(0);
    let (seed, mut checkpoint) = (execution.random.u64(..), 1);
    for number in 1..=SELF_TEST_ELEMENTS {
        let element = (number ^ seed).to_le_bytes();
        let (index, rank) = registers::place(&element);
        dense::raise(&mut registers, index, rank);
        add(&mut sketch, &[&element], bytes_max)?;
        if number == checkpoint {
            checkpoint *= 10;
            let estimate = dense::histogram(&registers).estimate();
            if Sketch::parse(sketch.bytes())?.estimate()? != estimate {
                return Err(failed("dense and sparse registers disagree"));
            }
            // Six times the standard error; at ten elements two in one register are not that rare.
            let error_max = if number == 10 { 1 } else { (0.0488 * number as f64).ceil() as u64 };
            if estimate.abs_diff(number as i64) > error_max {
                return Err(failed(&format!("Too big error. card:{number} estimate:{estimate}")));
            }
        }
    }
    execution.reply.ok();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::super::harness::Shard;

    #[test]
    fn insides_are_shown() {
        let shard = &mut Shard::default();
        shard.check("PFDEBUG ENCODING k", "-ERR The specified key does not exist\r\n");
        shard.check("PFADD k", ":1\r\n");
        shard.check("PFDEBUG DECODE k", "$7\r\nZ:16384\r\n");
        shard.check("PFDEBUG nonsense k", "-ERR Unknown PFDEBUG subcommand 'nonsense'\r\n");
        assert!(shard.run("PFDEBUG GETREG k").starts_with("*16384\r\n:0\r\n"));
        shard.check("PFDEBUG ENCODING k", "+dense\r\n");
        shard.check("PFDEBUG DECODE k", "-ERR HLL encoding is not sparse\r\n");
        shard.check("PFDEBUG TODENSE k", ":0\r\n");
        shard.check("SET k x", "+OK\r\n");
        shard.check("PFDEBUG TODENSE k", "-WRONGTYPE Key is not a valid HyperLogLog string value.\r\n");
    }

    #[test]
    fn the_self_test_passes() {
        let shard = &mut Shard::default();
        (0..3).for_each(|_| shard.check("PFSELFTEST", "+OK\r\n"));
    }
}
