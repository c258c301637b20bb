//! The handler of fatal signals, and the place where it leaves what it found.
//!
//! There is one [`NOTE`] for the process: the first thread that crashes fills it, any other waits for the end. The handler runs on the
//! thread's alternate stack where there is one (Rust gives one to each of its threads), as the stack may be what is used up.
#![allow(unsafe_code)]

use super::Crash;
use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::IntoRawFd;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering};

/// Frames that are kept.
const FRAMES_MAX: usize = 64;
/// How long the report may take.
const REPORT_MS: i32 = 5_000;

struct Note {
    is_taken: AtomicBool,
    signal: AtomicI32,
    code: AtomicI32,
    address: AtomicUsize,
    thread: AtomicI32,
    frames: [AtomicUsize; FRAMES_MAX],
    count: AtomicUsize,
    /// Where the report is asked for, and where its end is heard of.
    pipes: (AtomicI32, AtomicI32),
}

static NOTE: Note = Note {
    is_taken: AtomicBool::new(false),
    signal: AtomicI32::new(0),
    code: AtomicI32::new(0),
    address: AtomicUsize::new(0),
    thread: AtomicI32::new(0),
    frames: [const { AtomicUsize::new(0) }; FRAMES_MAX],
    count: AtomicUsize::new(0),
    pipes: (AtomicI32::new(-1), AtomicI32::new(-1)),
};

/// Sends these signals to the handler, once each: a second one has its default action. The pipes live as long as the process.
pub(super) fn install(
    told: PipeWriter,
    finished: PipeReader,
    signals: impl IntoIterator<Item = i32>,
) -> io::Result<()> {
    NOTE.pipes.0.store(told.into_raw_fd(), Ordering::Relaxed);
    NOTE.pipes.1.store(finished.into_raw_fd(), Ordering::Relaxed);
    for signal in signals {
        // SAFETY: zero is a valid value of all fields; the handler has the signature that SA_SIGINFO asks for, and does nothing
        // but what may be done at any place of a program.
        let result = unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_fatal as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESETHAND;
            libc::sigaction(signal, &raw const action, std::ptr::null_mut())
        };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

extern "C" fn on_fatal(signal: i32, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    if NOTE.is_taken.swap(true, Ordering::AcqRel) {
        // Another thread has crashed, or this one has while it noted that: the end is near.
        // SAFETY: the first only waits, the second ends the process.
        unsafe {
            libc::poll(std::ptr::null_mut(), 0, REPORT_MS);
            libc::_exit(128 + signal);
        }
    }
    NOTE.signal.store(signal, Ordering::Relaxed);
    // SAFETY: the kernel gives a valid pointer; `si_addr` reads a field of it.
    let (code, address) = unsafe { ((*info).si_code, (*info).si_addr() as usize) };
    NOTE.code.store(code, Ordering::Relaxed);
    NOTE.address.store(address, Ordering::Relaxed);
    // SAFETY: it takes no memory.
    NOTE.thread.store(unsafe { libc::gettid() }, Ordering::Relaxed);
    let mut count = 0;
    // SAFETY: nobody else walks stacks now but a panic, which has done so before it raised the signal.
    unsafe {
        backtrace::trace_unsynchronized(|frame| {
            NOTE.frames[count].store(frame.ip() as usize, Ordering::Relaxed);
            count += 1;
            NOTE.count.store(count, Ordering::Relaxed);
            count < FRAMES_MAX
        });
    }
    let (told, finished) = (NOTE.pipes.0.load(Ordering::Relaxed), NOTE.pipes.1.load(Ordering::Relaxed));
    std::sync::atomic::fence(Ordering::Release);
    // SAFETY: a byte that lives, to a descriptor that stays open; then a wait with a limit.
    unsafe {
        libc::write(told, [1_u8].as_ptr().cast(), 1);
        let mut end = libc::pollfd { fd: finished, events: libc::POLLIN, revents: 0 };
        libc::poll(&raw mut end, 1, REPORT_MS);
        // The handler is gone (SA_RESETHAND): the signal comes again when this returns, with its default action.
        libc::raise(signal);
    }
}

/// What was noted, once the handler has told of it.
pub(super) fn noted() -> Option<Crash> {
    std::sync::atomic::fence(Ordering::Acquire);
    if !NOTE.is_taken.load(Ordering::Acquire) {
        return None;
    }
    let count = NOTE.count.load(Ordering::Relaxed);
    Some(Crash {
        signal: NOTE.signal.load(Ordering::Relaxed),
        code: NOTE.code.load(Ordering::Relaxed),
        address: NOTE.address.load(Ordering::Relaxed),
        thread: NOTE.thread.load(Ordering::Relaxed),
        frames: NOTE.frames[..count].iter().map(|frame| frame.load(Ordering::Relaxed)).collect(),
    })
}
