//! A file's bytes, read ahead of who looks at them.

use crate::reactor::operations::FileHandle;
use crate::tasks::Tasks;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;

/// Bytes that are read at a time, and how many such pieces ahead.
const PIECE_BYTES: usize = 256 << 10;
const PIECES_AHEAD: usize = 4;

/// What was read of a file and not looked at. Reading ends when this is dropped.
pub struct Pieces {
    tasks: Tasks,
    read: Rc<Read>,
}

#[derive(Default)]
struct Read {
    pieces: RefCell<VecDeque<io::Result<Vec<u8>>>>,
    spare: RefCell<Vec<Vec<u8>>>,
    is_over: Cell<bool>,
    name: u64,
}

impl Pieces {
    /// Of a file from an offset on.
    pub fn of(tasks: &Tasks, file: Rc<FileHandle>, offset: u64) -> Self {
        let read = Rc::new(Read { name: tasks.take_name(), ..Read::default() });
        tasks.spawn(read_ahead(tasks.clone(), file, offset, read.clone()));
        Self { tasks: tasks.clone(), read }
    }

    /// The next piece; empty at the end.
    ///
    /// # Errors
    /// It cannot be read; then there is no more.
    pub async fn next(&self) -> io::Result<Vec<u8>> {
        let read = &self.read;
        self.tasks.until(read.name, || !read.pieces.borrow().is_empty() || read.is_over.get()).await;
        let piece = read.pieces.borrow_mut().pop_front();
        self.tasks.wake(read.name);
        piece.unwrap_or_else(|| Ok(Vec::new()))
    }

    /// A piece that has been looked at.
    pub fn give_back(&self, mut piece: Vec<u8>) {
        piece.clear();
        self.read.spare.borrow_mut().push(piece);
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        self.read.is_over.set(true);
        self.tasks.wake(self.read.name);
    }
}

async fn read_ahead(tasks: Tasks, file: Rc<FileHandle>, mut offset: u64, read: Rc<Read>) {
    while !read.is_over.get() {
        let buffer = read.spare.borrow_mut().pop().unwrap_or_else(|| Vec::with_capacity(PIECE_BYTES));
        let piece = file.read_at(offset, buffer).await.map_err(io::Error::from);
        let length = piece.as_ref().map_or(0, Vec::len);
        offset += length as u64;
        read.pieces.borrow_mut().push_back(piece);
        if length == 0 {
            read.is_over.set(true);
        }
        tasks.wake(read.name);
        tasks.until(read.name, || read.is_over.get() || read.pieces.borrow().len() < PIECES_AHEAD).await;
    }
}
