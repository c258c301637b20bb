//! LPOS: where in a list an element is.

use super::super::errors::{integer, is, syntax};
use super::list_of;
use super::sliced::{Found, Scan};
use crate::command::{CommandError, CommandResult, Execution, parse_integer};
use crate::long::{Collected, LongWork, Step};
use crate::reply::Protocol;
use crate::values::large::ListTree;
use crate::values::list::{End, ListRef};
use crate::values::{Element, Type};

/// What LPOS asks for.
struct Search {
    from: End,
    /// Matches to pass over.
    skipped: u64,
    /// How many to list; without one, the first alone is the reply.
    count: Option<u64>,
    /// How many elements to look at.
    elements_max: u64,
}

/// A number that may not be negative; zero stands for no limit.
fn limit(text: &[u8], error: &'static str) -> Result<u64, CommandError> {
    let number = parse_integer(text).and_then(|number| u64::try_from(number).ok());
    let number = number.ok_or(CommandError::from(error))?;
    Ok(if number == 0 { u64::MAX } else { number })
}

impl Search {
    fn parse(options: &[&[u8]]) -> Result<Self, CommandError> {
        let mut search = Self { from: End::Left, skipped: 0, count: None, elements_max: u64::MAX };
        let mut rest = options;
        while let [word, more @ ..] = rest {
            let [value, more @ ..] = more else { return Err(syntax()) };
            if is(word, "RANK") {
                let rank = rank(value)?;
                search.from = if rank > 0 { End::Left } else { End::Right };
                search.skipped = rank.unsigned_abs() - 1;
            } else if is(word, "COUNT") {
                search.count = Some(limit(value, "ERR COUNT can't be negative")?);
            } else if is(word, "MAXLEN") {
                search.elements_max = limit(value, "ERR MAXLEN can't be negative")?;
            } else {
                return Err(syntax());
            }
            rest = more;
        }
        Ok(search)
    }

    fn matches<'a>(&self, list: ListRef<'a>, wanted: &'a [u8]) -> impl Iterator<Item = u64> + use<'a> {
        let looked_at = list.end(self.from, self.elements_max);
        let whole = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        let found = list.find(Element::of(wanted), self.from).take_while(move |index| looked_at.contains(index));
        found.skip(whole(self.skipped)).take(whole(self.count.unwrap_or(1)))
    }
}

fn rank(text: &[u8]) -> Result<i64, CommandError> {
    match integer(text)? {
        0 => Err("ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... \
                  or use negative to start from the end of the list"
            .into()),
        // Has no opposite.
        i64::MIN => Err(format!("ERR value is out of range, value must between {} and {}", -i64::MAX, i64::MAX).into()),
        rank => Ok(rank),
    }
}

/// A search through a long list.
struct LongSearch {
    scan: Scan,
    search: Search,
    matches: u64,
    found: Collected,
    is_listing: bool,
}

impl LongSearch {
    fn new(list: &ListTree, wanted: &[u8], search: Search) -> Self {
        let scan = Scan::new(list, wanted, search.from, search.elements_max);
        Self { scan, search, matches: 0, found: Collected::default(), is_listing: false }
    }

    /// Looks at so many elements more; whether that was enough.
    fn look(&mut self, budget: u64, protocol: Protocol) -> bool {
        let Self { scan, search, matches, found, .. } = self;
        let last = search.skipped.saturating_add(search.count.unwrap_or(1));
        scan.look(budget, |index| {
            *matches += 1;
            if *matches > search.skipped {
                found.add(protocol, |reply| reply.integer(index as i64));
            }
            if *matches >= last { Found::Enough } else { Found::Next(0) }
        })
    }
}

impl LongWork for LongSearch {
    fn step(&mut self, execution: &mut Execution<'_>, budget: u64) -> Step {
        let reply = &mut execution.reply;
        if !self.is_listing {
            if !self.look(budget, reply.protocol()) {
                return Step::More;
            }
            self.is_listing = true;
            self.found.close();
            match self.search.count {
                Some(_) => reply.array(self.found.len()),
                None if self.found.is_empty() => reply.null(),
                None => {}
            }
        }
        self.found.hand_out(reply)
    }
}

/// `LPOS key element [RANK rank] [COUNT num-matches] [MAXLEN len]`
pub(super) fn lpos(execution: &mut Execution<'_>, arguments: &[&[u8]]) -> CommandResult {
    let search = Search::parse(&arguments[3..])?;
    let access = execution.access();
    let Execution { keyspace, reply, database, now, options, later, .. } = execution;
    let key = keyspace.key(arguments[1]);
    let list = keyspace.find_typed(*database, &key, *now, access, Type::List)?.map(list_of);
    if let Some(ListRef::Tree(tree)) = list
        && options.is_long_part(search.elements_max.min(tree.len()), tree.len(), tree.bytes())
    {
        later.put(LongSearch::new(tree, arguments[2], search));
        return Ok(());
    }
    let mut found = list.into_iter().flat_map(|list| search.matches(list, arguments[2]));
    if search.count.is_none() {
        match found.next() {
            Some(index) => reply.integer(index as i64),
            None => reply.null(),
        }
        return Ok(());
    }
    let indexes: Vec<u64> = found.collect();
    reply.array(indexes.len());
    indexes.iter().for_each(|index| reply.integer(*index as i64));
    Ok(())
}
