//! Places: sorted sets whose scores are cells of a grid over the earth ([`cell`]). A place is a member like any other, so
//! what there is for sorted sets (ZREM, ZRANGE ...) serves places too.
//!
//! ```text
//!   GEOADD key 13.36 38.11 Palermo  ->  ZADD key 3479099956230698 Palermo
//!   GEOSEARCH                       ->  nine cells that cover the shape -> their ranges of scores -> the points inside
//! ```
//!
//! Here are the commands on members by name; [`search`] has those on areas.

mod cell;
mod rows;
mod search;
mod shape;
mod sliced;

pub use rows::COMMANDS;

use super::double;
use super::errors::{is, syntax};
use super::zset::{AddOptions, add_scored, find};
use crate::command::{CommandError, CommandResult, Execution};
use crate::reply::Reply;
use crate::values::sorted_set::SortedSetRef;
use cell::{Point, Span};

/// A point from its longitude and latitude.
fn parse_point(longitude: &[u8], latitude: &[u8]) -> Result<Point, CommandError> {
    let (longitude, latitude) = (double::argument(longitude)?, double::argument(latitude)?);
    if Span::LONGITUDE.contains(longitude) && Span::LATITUDE.contains(latitude) {
        return Ok(Point { longitude, latitude });
    }
    Err(format!("ERR invalid longitude,latitude pair {longitude:.6},{latitude:.6}").into())
}

/// How many metres a unit is.
fn parse_unit(word: &[u8]) -> Result<f64, CommandError> {
    let units = [("m", 1.0), ("km", 1000.0), ("ft", 0.3048), ("mi", 1609.34)];
    let known = units.into_iter().find(|(name, _)| is(word, name));
    known.map(|(_, metres)| metres).ok_or("ERR unsupported unit provided. please use M, KM, FT, MI".into())
}

/// Where a member is.
fn point_of(set: Option<SortedSetRef<'_>>, member: &[u8]) -> Option<Point> {
    set?.score(member).map(Point::of_score)
}

/// Encodes a distance with four decimals.
fn reply_distance(reply: &mut Reply<'_>, distance: f64) {
    let text = match (distance.is_nan(), distance.is_sign_negative()) {
        (false, _) => format!("{distance:.4}"),
        // What C prints: points so exactly opposite that rounding makes their arc longer than half the earth's.
        (true, true) => "-nan".to_owned(),
        (true, false) => "nan".to_owned(),
    };
    reply.bulk(text.as_bytes());
}

/// Encodes longitude and latitude, with up to 17 decimals.
fn reply_point(reply: &mut Reply<'_>, point: Point) {
    reply.array(2);
    for degrees in [point.longitude, point.latitude] {
        let text = format!("{degrees:.17}");
        let short = text.trim_end_matches('0').trim_end_matches('.');
        reply.double_text(if short == "-0" { "0" } else { short });
    }
}

/// `GEOADD key [NX | XX] [CH] longitude latitude member [longitude latitude member ...]`
fn geoadd(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let (mut options, mut rest) = (AddOptions::default(), &arguments[2..]);
    while let [word, more @ ..] = rest {
        let option = if is(word, "NX") {
            &mut options.only_new
        } else if is(word, "XX") {
            &mut options.only_known
        } else if is(word, "CH") {
            &mut options.counts_changed
        } else {
            break;
        };
        *option = true;
        rest = more;
    }
    let (places, left_over) = rest.as_chunks::<3>();
    if places.is_empty() || !left_over.is_empty() || options.only_new && options.only_known {
        return Err(syntax());
    }
    let score = |[longitude, latitude, _]: &[&[u8]; 3]| Ok(parse_point(longitude, latitude)?.score());
    let scores = places.iter().map(score).collect::<Result<Vec<u64>, CommandError>>()?;
    let texts: Vec<String> = scores.iter().map(u64::to_string).collect();
    let mut effect = [&[&b"ZADD"[..]], &arguments[1..arguments.len() - rest.len()]].concat();
    for ([_, _, member], text) in places.iter().zip(&texts) {
        effect.extend([text.as_bytes(), member]);
    }
    let members = places.iter().zip(scores).map(|([_, _, member], score)| (score as f64, *member));
    add_scored(execution, &effect, arguments[1], options, members)
}

/// `GEODIST key member1 member2 [M | KM | FT | MI]`
fn geodist(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let unit = match arguments[4..] {
        [] => 1.0,
        [unit] => parse_unit(unit)?,
        _ => return Err(syntax()),
    };
    let (set, reply) = find(execution, arguments[1])?;
    match (point_of(set, arguments[2]), point_of(set, arguments[3])) {
        (Some(from), Some(to)) => reply_distance(reply, shape::distance_m(from, to) / unit),
        _ => reply.null(),
    }
    Ok(())
}

/// `GEOHASH key [member ...]`
fn geohash(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let (set, reply) = find(execution, arguments[1])?;
    reply.array(arguments.len() - 2);
    for member in &arguments[2..] {
        match point_of(set, member) {
            Some(point) => reply.bulk(&cell::standard_geohash(point)),
            None => reply.null(),
        }
    }
    Ok(())
}

/// `GEOPOS key [member ...]`
fn geopos(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let (set, reply) = find(execution, arguments[1])?;
    reply.array(arguments.len() - 2);
    for member in &arguments[2..] {
        match point_of(set, member) {
            Some(point) => reply_point(reply, point),
            None => reply.null_array(),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
