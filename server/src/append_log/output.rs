//! What goes into the log's file, in order: bytes, cut where a fence stands.
//!
//! A database is selected where it changes, and at the beginning of each file. So each file can be read by itself, and a
//! file that is cut behind a whole record can go on.

use torc_engine::journal::Effects;
use torc_persistence::aof::text;

/// A part of the log.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    /// Commands.
    Bytes(Vec<u8>),
    /// A fence with this number.
    Fence(u64),
}

/// Collects what goes out.
#[derive(Debug, Default)]
pub struct Output {
    /// Pieces before a fence, and fences.
    pieces: Vec<Piece>,
    bytes: Vec<u8>,
    /// The database that the last command was for.
    database: Option<usize>,
    /// Where times are written: the last one, in seconds, and the one now.
    times: Option<(i64, i64)>,
}

impl Output {
    /// Records are marked with times from now on, or not.
    pub fn set_time(&mut self, now_seconds: Option<i64>) {
        let last = self.times.map_or(0, |(last, _)| last);
        self.times = now_seconds.map(|now| (last, now));
    }

    /// The database that is selected where the output has come to.
    pub fn database(&self) -> Option<usize> {
        self.database
    }

    /// A new file begins, or the old one goes on at a place where another database may be selected.
    pub fn forget_database(&mut self) {
        self.database = None;
    }

    fn stamp(&mut self) {
        if let Some((last, now)) = &mut self.times
            && *last < *now
        {
            *last = *now;
            text::write_time(&mut self.bytes, *now);
        }
    }

    fn select(&mut self, database: usize) {
        if self.database != Some(database) {
            self.database = Some(database);
            text::write_select(&mut self.bytes, database);
        }
    }

    /// Commands that need not stand together.
    pub fn effects(&mut self, effects: &Effects) {
        self.stamp();
        for (database, commands) in effects.runs() {
            self.select(database);
            self.bytes.extend_from_slice(commands);
        }
    }

    /// Commands that are whole or absent.
    pub fn unit(&mut self, effects: &Effects) {
        if effects.len() < 2 {
            if !effects.is_empty() {
                self.effects(effects);
            }
            return;
        }
        self.stamp();
        if let Some((database, _)) = effects.iter().next() {
            self.select(database);
        }
        self.bytes.extend_from_slice(text::MULTI);
        for (database, commands) in effects.runs() {
            self.select(database);
            self.bytes.extend_from_slice(commands);
        }
        self.bytes.extend_from_slice(text::EXEC);
    }

    /// A fence.
    pub fn fence(&mut self, number: u64) {
        if !self.bytes.is_empty() {
            self.pieces.push(Piece::Bytes(std::mem::take(&mut self.bytes)));
        }
        self.pieces.push(Piece::Fence(number));
        self.database = None;
    }

    /// Takes all of it.
    pub fn take(&mut self) -> Vec<Piece> {
        let mut pieces = std::mem::take(&mut self.pieces);
        if !self.bytes.is_empty() {
            pieces.push(Piece::Bytes(std::mem::take(&mut self.bytes)));
        }
        pieces
    }
}
