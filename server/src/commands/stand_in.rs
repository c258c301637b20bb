//! Stands in for the engine's commands until they are there.
#![allow(clippy::all, clippy::pedantic)]
use crate::command_table::Target;
use torc_engine::command::{Spec, Arity, Flags, KeySpec, KeyFlags, Spread, CommandResult, Execution};
use torc_engine::keyspace::{Access, Expiry};
fn get(e: &mut Execution<'_>, a: &[&[u8]]) -> CommandResult {
    let key = e.keyspace.key(a[1]);
    match e.keyspace.find(e.database, &key, e.now, Access::Touch) { None => e.reply.null(), Some(v) => { let s = v.string().unwrap(); let mut buf = Vec::new(); let b: &[u8] = match s { torc_engine::values::string::StringRef::Integer(i) => { buf.extend_from_slice(i.to_string().as_bytes()); &buf }, torc_engine::values::string::StringRef::Bytes(b) => b, torc_engine::values::string::StringRef::Shared(b) => {buf.extend_from_slice(&b.to_bytes()); &buf} }; e.reply.bulk(b) } }
    Ok(())
}
fn mget(e: &mut Execution<'_>, a: &[&[u8]]) -> CommandResult { e.reply.array(a.len()-1); for k in &a[1..] { get(e, &[b"get", k])?; } Ok(()) }
fn set(e: &mut Execution<'_>, a: &[&[u8]]) -> CommandResult { let key = e.keyspace.key(a[1]); e.keyspace.set_string(e.database, &key, a[2], Expiry::Clear, e.now); e.reply.ok(); Ok(()) }
fn mset(e: &mut Execution<'_>, a: &[&[u8]]) -> CommandResult { if a.len()%2==0 {return Err("ERR wrong number of arguments for 'mset' command".into());} for c in a[1..].chunks(2) { let key = e.keyspace.key(c[0]); e.keyspace.set_string(e.database, &key, c[1], Expiry::Clear, e.now);} e.reply.ok(); Ok(()) }
fn dbsize(e: &mut Execution<'_>, _: &[&[u8]]) -> CommandResult { let n = e.keyspace.len(e.database) as i64; e.reply.integer(n); Ok(()) }
fn rename(e: &mut Execution<'_>, a: &[&[u8]]) -> CommandResult { let k = e.keyspace.key(a[1]); let Some(v) = e.keyspace.take(e.database,&k,e.now) else { return Err("ERR no such key".into()) }; let k2 = e.keyspace.key(a[2]); e.keyspace.put(e.database,&k2,v,e.now); e.reply.ok(); Ok(()) }
const NO: Spec = Spec { name: "ping", arity: Arity::AtLeast(1), flags: Flags::FAST, ..Spec::BASE };
static GET: Spec = Spec { name: "get", arity: Arity::Exact(2), flags: Flags::READONLY, keys: &[KeySpec::range(KeyFlags::RO, 1, 1, 1)], ..NO };
static SET: Spec = Spec { name: "set", arity: Arity::AtLeast(3), flags: Flags::WRITE, keys: &[KeySpec::range(KeyFlags::OW, 1, 1, 1)], ..NO };
static MGET: Spec = Spec { name: "mget", arity: Arity::AtLeast(2), flags: Flags::READONLY, keys: &[KeySpec::range(KeyFlags::RO, 1, -1, 1)], spread: Spread::Gather, ..NO };
static MSET: Spec = Spec { name: "mset", arity: Arity::AtLeast(3), flags: Flags::WRITE, keys: &[KeySpec::range(KeyFlags::OW, 1, -1, 2)], spread: Spread::AllOk, ..NO };
static RENAME: Spec = Spec { name: "rename", arity: Arity::Exact(3), flags: Flags::WRITE, keys: &[KeySpec::range(KeyFlags::RW, 1, 1, 1), KeySpec::range(KeyFlags::OW, 2, 2, 1)], spread: Spread::Overlay, ..NO };
static DBSIZE: Spec = Spec { name: "dbsize", arity: Arity::Exact(1), flags: Flags::READONLY, spread: Spread::AllShardsSum, ..NO };
/// rows
pub(super) fn rows() -> impl Iterator<Item = (&'static Spec, Target)> {
    [(&GET, Target::Engine(get)), (&SET, Target::Engine(set)), (&MGET, Target::Engine(mget)), (&MSET, Target::Engine(mset)), (&RENAME, Target::Engine(rename)), (&DBSIZE, Target::Engine(dbsize))].into_iter()
}
