//! Places in an area: GEOSEARCH and GEOSEARCHSTORE, and GEORADIUS with its relatives, which are older words for the same.

use super::super::double::{self, DoubleText};
use super::super::errors::{integer, is, syntax};
use super::super::partial_sort::partial_sort;
use super::super::report::Remade;
use super::super::string::reply_string;
use super::super::zset::{find, store_result};
use super::cell::{Cell, Point};
use super::shape::{Outline, Shape};
use super::sliced::{self, Purpose, Search};
use super::{parse_point, parse_unit, point_of, reply_distance, reply_point};
use crate::command::{CommandError, CommandResult, Execution, KeyFinder, KeyFlags, parse_integer};
use crate::long::report_ahead;
use crate::reply::Reply;
use crate::values::large::{Scored, SortedTree};
use crate::values::sorted_set::SortedSetRef;
use std::cmp::Ordering;
use std::ops::Range;

/// Which command it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialect {
    /// GEORADIUS, GEORADIUSBYMEMBER and their read-only variants: middle and radius stand first.
    Radius {
        by_member: bool,
        may_store: bool,
    },
    Search,
    SearchStore,
}

impl Dialect {
    /// Whether middle and shape are options.
    fn is_new(self) -> bool {
        matches!(self, Self::Search | Self::SearchStore)
    }

    fn may_store_by_option(self) -> bool {
        matches!(self, Self::Radius { may_store: true, .. })
    }

    /// Where the set's key stands.
    fn source(self) -> usize {
        if self == Self::SearchStore { 2 } else { 1 }
    }

    /// Where the options begin.
    fn options(self) -> usize {
        match self {
            Self::Radius { by_member: false, .. } => 6,
            Self::Radius { by_member: true, .. } => 5,
            Self::Search => 2,
            Self::SearchStore => 3,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Nearest,
    Farthest,
}

/// What a middle is given by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    Member,
    Point,
}

/// Where results go.
#[derive(Clone, Copy, Debug)]
struct Destination<'a> {
    key: &'a [u8],
    /// Scores are distances.
    distances: bool,
}

/// What a client asks for.
#[derive(Clone, Debug, Default)]
struct Request<'a> {
    /// GEOSEARCH or GEOSEARCHSTORE.
    is_new: bool,
    /// Which option gave the middle, if one has.
    origin: Option<Origin>,
    /// Unknown also where it is a member of a set that is not there.
    middle: Option<Point>,
    outline: Option<Outline>,
    /// Metres in the unit of distances.
    unit: f64,
    order: Option<Order>,
    /// Zero: all.
    count: usize,
    /// As many as are wanted will do, near or far.
    any: bool,
    details: Details,
    destination: Option<Destination<'a>>,
}

/// What is told of a place besides its name.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Details {
    distance: bool,
    hash: bool,
    point: bool,
}

impl Details {
    fn count(self) -> usize {
        [self.distance, self.hash, self.point].into_iter().filter(|is_wanted| *is_wanted).count()
    }

    /// Encodes one place; its distance is in the client's unit.
    pub(super) fn reply(self, reply: &mut Reply<'_>, scored: Scored<'_>, distance: f64) {
        if self.count() > 0 {
            reply.array(1 + self.count());
        }
        reply_string(reply, scored.member);
        if self.distance {
            reply_distance(reply, distance);
        }
        if self.hash {
            reply.integer(scored.score as i64);
        }
        if self.point {
            reply_point(reply, Point::of_score(scored.score));
        }
    }
}

impl<'a> Request<'a> {
    /// Errors come in the real server's order; so members are looked up on the way.
    fn parse(dialect: Dialect, arguments: &[&'a [u8]], set: Option<SortedSetRef<'_>>) -> Result<Self, CommandError> {
        let mut request = Self { unit: 1.0, is_new: dialect.is_new(), ..Self::default() };
        if dialect == Dialect::SearchStore {
            request.destination = Some(Destination { key: arguments[1], distances: false });
        }
        if let Dialect::Radius { by_member, .. } = dialect {
            request.parse_fixed(by_member, arguments, set)?;
        }
        let mut rest = &arguments[dialect.options()..];
        while !rest.is_empty() {
            rest = match request.parse_option(dialect, rest)? {
                Some(more) => more,
                None => request.parse_area(dialect, rest, set)?.ok_or_else(syntax)?,
            };
        }
        request.check(dialect, arguments[0])?;
        Ok(request)
    }

    /// What stands in front of the options of GEORADIUS.
    fn parse_fixed(
        &mut self,
        by_member: bool,
        arguments: &[&'a [u8]],
        set: Option<SortedSetRef<'_>>,
    ) -> Result<(), CommandError> {
        let radius = if by_member {
            if set.is_none() {
                return Ok(());
            }
            self.middle = Some(middle_member(set, arguments[2])?);
            &arguments[3..5]
        } else {
            self.middle = Some(parse_point(arguments[2], arguments[3])?);
            &arguments[4..6]
        };
        self.set_radius(radius[0], radius[1])
    }

    fn set_radius(&mut self, radius: &[u8], unit: &[u8]) -> Result<(), CommandError> {
        let radius = double::parse(radius).ok_or(CommandError::from("ERR need numeric radius"))?;
        if radius < 0.0 {
            return Err("ERR radius cannot be negative".into());
        }
        self.unit = parse_unit(unit)?;
        self.outline = Some(Outline::Circle { radius: radius * self.unit });
        Ok(())
    }

    fn set_box(&mut self, width: &[u8], height: &[u8], unit: &[u8]) -> Result<(), CommandError> {
        let width = double::parse(width).ok_or(CommandError::from("ERR need numeric width"))?;
        let height = double::parse(height).ok_or(CommandError::from("ERR need numeric height"))?;
        if width < 0.0 || height < 0.0 {
            return Err("ERR height or width cannot be negative".into());
        }
        self.unit = parse_unit(unit)?;
        self.outline = Some(Outline::Box { width: width * self.unit, height: height * self.unit });
        Ok(())
    }

    /// One option that is no area; what is behind it. None: it is no such option.
    fn parse_option<'b>(
        &mut self,
        dialect: Dialect,
        words: &'b [&'a [u8]],
    ) -> Result<Option<&'b [&'a [u8]]>, CommandError> {
        let (word, rest) = (words[0], &words[1..]);
        let may_store = dialect.may_store_by_option();
        match rest {
            _ if is(word, "WITHDIST") => self.details.distance = true,
            _ if is(word, "WITHHASH") => self.details.hash = true,
            _ if is(word, "WITHCOORD") => self.details.point = true,
            _ if is(word, "ANY") => self.any = true,
            _ if is(word, "ASC") => self.order = Some(Order::Nearest),
            _ if is(word, "DESC") => self.order = Some(Order::Farthest),
            _ if is(word, "STOREDIST") && dialect == Dialect::SearchStore => {
                self.destination.iter_mut().for_each(|destination| destination.distances = true);
            }
            [count, more @ ..] if is(word, "COUNT") => {
                let count = usize::try_from(integer(count)?).ok().filter(|count| *count > 0);
                self.count = count.ok_or(CommandError::from("ERR COUNT must be > 0"))?;
                return Ok(Some(more));
            }
            [key, more @ ..] if may_store && (is(word, "STORE") || is(word, "STOREDIST")) => {
                self.destination = Some(Destination { key, distances: is(word, "STOREDIST") });
                return Ok(Some(more));
            }
            _ => return Ok(None),
        }
        Ok(Some(rest))
    }

    /// A middle or a shape of GEOSEARCH; what is behind it.
    fn parse_area<'b>(
        &mut self,
        dialect: Dialect,
        words: &'b [&'a [u8]],
        set: Option<SortedSetRef<'_>>,
    ) -> Result<Option<&'b [&'a [u8]]>, CommandError> {
        let (word, rest) = (words[0], &words[1..]);
        if !dialect.is_new() {
            return Ok(None);
        }
        Ok(match rest {
            [member, more @ ..] if is(word, "FROMMEMBER") && self.takes_origin(Origin::Member) => {
                self.middle = set.map(|set| middle_member(Some(set), member)).transpose()?;
                self.origin = Some(Origin::Member);
                Some(more)
            }
            [longitude, latitude, more @ ..] if is(word, "FROMLONLAT") && self.takes_origin(Origin::Point) => {
                self.middle = Some(parse_point(longitude, latitude)?);
                self.origin = Some(Origin::Point);
                Some(more)
            }
            [radius, unit, more @ ..] if is(word, "BYRADIUS") && self.takes_outline(false) => {
                self.set_radius(radius, unit)?;
                Some(more)
            }
            [width, height, unit, more @ ..] if is(word, "BYBOX") && self.takes_outline(true) => {
                self.set_box(width, height, unit)?;
                Some(more)
            }
            [corners, more @ ..] if is(word, "BYPOLYGON") && self.outline.is_none() && self.origin.is_none() => {
                let (corners, more) = parse_corners(corners, more)?;
                self.outline = Some(Outline::Polygon(corners));
                Some(more)
            }
            _ => None,
        })
    }

    /// A middle may be given again, but not one of another kind, nor one to a polygon, which has its own.
    fn takes_origin(&self, origin: Origin) -> bool {
        self.origin.is_none_or(|known| known == origin) && !matches!(self.outline, Some(Outline::Polygon(_)))
    }

    /// A shape may be given again, but not one of another kind.
    fn takes_outline(&self, is_box: bool) -> bool {
        match self.outline {
            None => true,
            Some(Outline::Circle { .. }) => !is_box,
            Some(Outline::Box { .. }) => is_box,
            Some(Outline::Polygon(_)) => false,
        }
    }

    fn check(&self, dialect: Dialect, name: &[u8]) -> Result<(), CommandError> {
        if self.destination.is_some() && self.details.count() > 0 {
            let who = if dialect.is_new() { "GEOSEARCHSTORE" } else { "STORE option in GEORADIUS" };
            return Err(format!("ERR {who} is not compatible with WITHDIST, WITHHASH and WITHCOORD options").into());
        }
        let is_polygon = matches!(self.outline, Some(Outline::Polygon(_)));
        if dialect.is_new() && self.origin.is_none() && !is_polygon {
            let one = "ERR exactly one of FROMMEMBER or FROMLONLAT can be specified for ";
            return Err(CommandError::echo(one, name, ""));
        }
        if dialect.is_new() && self.outline.is_none() {
            let one = "ERR exactly one of BYRADIUS and BYBOX can be specified for ";
            return Err(CommandError::echo(one, name, ""));
        }
        if self.any && self.count == 0 {
            return Err("ERR the ANY argument requires COUNT argument".into());
        }
        Ok(())
    }

    fn shape(&self) -> Option<Shape> {
        match (self.middle, self.outline.clone()?) {
            (_, Outline::Polygon(corners)) => Some(Shape::polygon(corners)),
            (middle, outline) => Some(Shape { middle: middle?, outline }),
        }
    }

    /// The ranks of all that may be in the area.
    fn ranks(&self, shape: &Shape, set: SortedSetRef<'_>) -> Vec<Range<u64>> {
        let ranks = |cell: Cell| {
            let (min, end) = cell.scores();
            set.rank_of_score(min, false)..set.rank_of_score(end, false)
        };
        shape.cover().map(ranks).collect()
    }

    /// How many places will do, wherever they are.
    fn enough(&self) -> usize {
        if self.any { self.count } else { usize::MAX }
    }

    /// How many of so many places are wanted, and in which order; in none, as they are found.
    fn selection(&self, found: usize) -> (usize, Option<Order>) {
        // Some of all, but not the nearest of all, would make no sense.
        let order = self.order.or((self.count > 0 && !self.any).then_some(Order::Nearest));
        (if self.count > 0 { self.count.min(found) } else { found }, order)
    }

    /// The places that are asked for, in order.
    fn search<'k>(&self, shape: &Shape, set: SortedSetRef<'k>, ranks: Vec<Range<u64>>) -> Vec<Found<'k>> {
        let mut found = Vec::new();
        for ranks in ranks {
            let inside = set.range(ranks, false).filter_map(|scored| {
                let distance = shape.distance_m(Point::of_score(scored.score))?;
                Some(Found { scored, distance })
            });
            found.extend(inside.take(self.enough() - found.len()));
        }
        let (length, order) = self.selection(found.len());
        if let Some(order) = order {
            let compare = |a: &Found<'_>, b: &Found<'_>| order.compare(a.distance, b.distance);
            if length == found.len() {
                found.sort_by(compare);
            } else {
                partial_sort(&mut found, 0..length, compare);
            }
        }
        found.truncate(length);
        found.iter_mut().for_each(|found| found.distance /= self.unit);
        found
    }

    /// The same in slices.
    fn search_later(&self, execution: &mut Execution<'_>, shape: Shape, set: SortedTree, ranks: Vec<Range<u64>>) {
        let purpose = match self.destination {
            None => Purpose::Reply(self.details),
            Some(Destination { key, distances }) => {
                let is_told = matches!(self.outline, Some(Outline::Polygon(_)));
                let told = is_told && execution.keyspace.journal.wants_effects();
                let told = told.then(|| Remade::new(b"ZADD", key));
                let database = execution.keyspace.database_id(execution.database);
                let event = self.store_event();
                Purpose::Store { database, destination: key.into(), distances, event, told, is_told }
            }
        };
        let choice =
            sliced::Choice { enough: self.enough(), count: self.count, order: self.selection(0).1, unit: self.unit };
        execution.later.put(Search::new(set, shape, ranks, choice, purpose));
    }

    fn store_event(&self) -> &'static str {
        if self.is_new { "geosearchstore" } else { "georadiusstore" }
    }
}

impl Order {
    pub(super) fn compare(self, a: f64, b: f64) -> Ordering {
        match self {
            Self::Nearest => a.total_cmp(&b),
            Self::Farthest => b.total_cmp(&a),
        }
    }
}

fn middle_member(set: Option<SortedSetRef<'_>>, member: &[u8]) -> Result<Point, CommandError> {
    point_of(set, member).ok_or("ERR could not decode requested zset member".into())
}

/// `num-vertices longitude latitude [longitude latitude ...]`; and what is behind them.
fn parse_corners<'b, 'a>(count: &[u8], words: &'b [&'a [u8]]) -> Result<(Vec<Point>, &'b [&'a [u8]]), CommandError> {
    let count = parse_integer(count).ok_or(CommandError::from("ERR invalid number of vertices"))?;
    let coordinates = usize::try_from(count).ok().filter(|count| *count >= 3).and_then(|count| count.checked_mul(2));
    let (corners, rest) = coordinates
        .and_then(|coordinates| words.split_at_checked(coordinates))
        .ok_or(CommandError::from("ERR GEOSEARCH BYPOLYGON must have at least 3 vertices"))?;
    let corners = corners.as_chunks::<2>().0.iter().map(|[longitude, latitude]| parse_point(longitude, latitude));
    Ok((corners.collect::<Result<_, _>>()?, rest))
}

/// A place in the area.
#[derive(Clone, Copy, Debug)]
struct Found<'k> {
    scored: Scored<'k>,
    /// From the middle: in metres while it is sorted, then in the client's unit.
    distance: f64,
}

fn run(execution: &mut Execution<'_>, arguments: &[&[u8]], dialect: Dialect) -> CommandResult {
    let options = execution.options;
    let (set, reply) = find(execution, arguments[dialect.source()])?;
    let request = Request::parse(dialect, arguments, set)?;
    let area = set.and_then(|set| request.shape().map(|shape| (set, request.ranks(&shape, set), shape)));
    if let Some((SortedSetRef::Tree(tree), ranks, shape)) = &area
        && options.is_long(ranks.iter().map(|ranks| ranks.end - ranks.start).sum::<u64>() * shape.units(), 0)
    {
        let (view, shape, ranks) = ((*tree).clone(), shape.clone(), ranks.clone());
        if let (Some(destination), false) = (request.destination, matches!(request.outline, Some(Outline::Polygon(_))))
        {
            report_ahead(execution, destination.key, arguments);
        }
        request.search_later(execution, shape, view, ranks);
        return Ok(());
    }
    let found = area.map_or_else(Vec::new, |(set, ranks, shape)| request.search(&shape, set, ranks));
    let Some(destination) = request.destination else {
        reply.array(found.len());
        found.iter().for_each(|place| request.details.reply(reply, place.scored, place.distance));
        return Ok(());
    };
    let score = |place: &Found<'_>| if destination.distances { place.distance } else { place.scored.score };
    let mut members: Vec<(f64, Vec<u8>)> =
        found.iter().map(|place| (score(place), place.scored.member.to_bytes().into_owned())).collect();
    members.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then_with(|| a.1.cmp(&b.1)));
    store(execution, arguments, &request, destination.key, &members);
    Ok(())
}

/// Stores the result. Servers of 7.0 know no polygons: to them it is told as what has come out.
fn store(
    execution: &mut Execution<'_>,
    arguments: &[&[u8]],
    request: &Request<'_>,
    destination: &[u8],
    members: &[(f64, Vec<u8>)],
) {
    let event = request.store_event();
    let is_told_as_result = matches!(request.outline, Some(Outline::Polygon(_))) && !members.is_empty();
    if is_told_as_result && execution.keyspace.journal.wants_effects() {
        execution.effect(&[b"DEL", destination]);
        let scores: Vec<DoubleText> = members.iter().map(|(score, _)| DoubleText::new(*score)).collect();
        let mut effect = vec![&b"ZADD"[..], destination];
        for ((_, member), score) in members.iter().zip(&scores) {
            effect.extend([score.as_str().as_bytes(), member]);
        }
        store_result(execution, &effect, destination, members, event);
    } else {
        store_result(execution, arguments, destination, members, event);
    }
    // Each member counts as a change, unlike in other commands that store a result.
    execution.keyspace.dirty += (members.len() as u64).saturating_sub(1);
}

/// `GEOSEARCH key FROMMEMBER member | FROMLONLAT longitude latitude BYRADIUS radius unit | BYBOX width height unit |
/// BYPOLYGON num-vertices longitude latitude [...] [ASC | DESC] [COUNT count [ANY]] [WITHCOORD] [WITHDIST] [WITHHASH]`
pub(super) fn geosearch(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    run(execution, arguments, Dialect::Search)
}

/// `GEOSEARCHSTORE destination source`, then as GEOSEARCH, without the details and with `[STOREDIST]`
pub(super) fn geosearchstore(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    run(execution, arguments, Dialect::SearchStore)
}

/// `GEORADIUS key longitude latitude radius unit [...] [STORE key | STOREDIST key]`
pub(super) fn georadius(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    run(execution, arguments, Dialect::Radius { by_member: false, may_store: true })
}

/// `GEORADIUS_RO key longitude latitude radius unit [...]`
pub(super) fn georadius_ro(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    run(execution, arguments, Dialect::Radius { by_member: false, may_store: false })
}

/// `GEORADIUSBYMEMBER key member radius unit [...] [STORE key | STOREDIST key]`
pub(super) fn georadiusbymember(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    run(execution, arguments, Dialect::Radius { by_member: true, may_store: true })
}

/// `GEORADIUSBYMEMBER_RO key member radius unit [...]`
pub(super) fn georadiusbymember_ro(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    run(execution, arguments, Dialect::Radius { by_member: true, may_store: false })
}

/// GEORADIUS names a destination by its last STORE or STOREDIST; the specs tell of the first of each.
fn destination(arguments: &[&[u8]], first_option: usize) -> Option<usize> {
    let stores = |index: &usize| is(arguments[*index], "STORE") || is(arguments[*index], "STOREDIST");
    let mut found = None;
    let mut index = first_option;
    while index + 1 < arguments.len() {
        if stores(&index) {
            index += 1;
            found = Some(index);
        }
        index += 1;
    }
    found
}

fn named_keys(arguments: &[&[u8]], first_option: usize, visit: &mut dyn FnMut(usize, KeyFlags)) -> bool {
    visit(1, KeyFlags::RO.or(KeyFlags::ACCESS));
    if let Some(index) = destination(arguments, first_option) {
        visit(index, KeyFlags::OW.or(KeyFlags::UPDATE));
    }
    true
}

pub(super) static RADIUS_KEYS: KeyFinder = KeyFinder::named(|arguments, visit| named_keys(arguments, 6, visit));
pub(super) static RADIUS_BY_MEMBER_KEYS: KeyFinder =
    KeyFinder::named(|arguments, visit| named_keys(arguments, 5, visit));
