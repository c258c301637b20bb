//! A trial run: whether rings as the driver wants them can be made here.

use io_uring::{Probe, opcode, squeue, types};
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

use super::Options;
use super::buffers::Buffers;
use super::ring::{Patience, Ring};

/// Where the trial failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Making a ring.
    Ring,
    /// Registering provided buffers.
    Buffers,
    /// The kernel does not know this operation.
    Operation(&'static str),
}

/// What failed, and the kernel's error number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    pub step: Step,
    pub errno: i32,
}

/// Every operation that the driver cannot do without.
const OPERATIONS: [(u8, &str); 14] = [
    (opcode::AcceptMulti::CODE, "ACCEPT"),
    (opcode::RecvMulti::CODE, "RECV"),
    (opcode::Send::CODE, "SEND"),
    (opcode::SendMsg::CODE, "SENDMSG"),
    (opcode::Connect::CODE, "CONNECT"),
    (opcode::Close::CODE, "CLOSE"),
    (opcode::AsyncCancel::CODE, "ASYNC_CANCEL"),
    (opcode::MsgRingData::CODE, "MSG_RING"),
    (opcode::OpenAt::CODE, "OPENAT"),
    (opcode::Read::CODE, "READ"),
    (opcode::Write::CODE, "WRITE"),
    (opcode::Fsync::CODE, "FSYNC"),
    (opcode::RenameAt::CODE, "RENAMEAT"),
    (opcode::UnlinkAt::CODE, "UNLINKAT"),
];

/// Makes a ring with its buffers for every shard, all at once, asks for the operations, and drops all of it.
pub fn try_out(shards: usize, options: &Options) -> Result<(), Failure> {
    let mut rings = Vec::with_capacity(shards);
    for _ in 0..shards.max(1) {
        let ring = Ring::new(options).map_err(at(Step::Ring))?;
        let buffers = Buffers::new(options.receive_buffers, options.receive_buffer_bytes, options.spare_buffers_max)
            .map_err(at(Step::Buffers))?;
        buffers.register(&ring.submitter()).map_err(at(Step::Buffers))?;
        rings.push((ring, buffers));
    }
    let mut probe = Probe::new();
    if let Some((ring, _)) = rings.first() {
        ring.submitter().register_probe(&mut probe).map_err(at(Step::Operation("PROBE")))?;
    }
    match OPERATIONS.iter().find(|(code, _)| !probe.is_supported(*code)) {
        Some((_, name)) => Err(Failure { step: Step::Operation(name), errno: libc::EOPNOTSUPP }),
        None => Ok(()),
    }
}

/// Whether the kernel completes a send that is tried (`MSG_DONTWAIT | MSG_WAITALL`, no completion of success) with what it took where
/// that is not all, and else not at all. Where it does not, each send has its completion.
pub(super) fn tells_of_sends_that_are_tried(ring: &mut Ring) -> io::Result<bool> {
    const MORE_THAN_FITS: usize = 1 << 20;
    let (ours, theirs) = UnixStream::pair()?;
    let _ = socket2::SockRef::from(&ours).set_send_buffer_size(16 << 10);
    let bytes = vec![0_u8; MORE_THAN_FITS];
    let mut attempt = |length: usize| -> io::Result<Option<i32>> {
        let flags = libc::MSG_DONTWAIT | libc::MSG_WAITALL | libc::MSG_NOSIGNAL;
        let entry = opcode::Send::new(types::Fd(ours.as_raw_fd()), bytes.as_ptr(), length as u32).flags(flags).build();
        // SAFETY: the bytes outlive the submission, which is over when `enter` returns or never made.
        unsafe { ring.push(entry.flags(squeue::Flags::SKIP_SUCCESS)) };
        ring.enter(Patience::None, 1)?;
        let mut completions = Vec::new();
        ring.reap(&mut completions);
        Ok(completions.first().map(|completion| completion.result))
    };
    let fills = attempt(MORE_THAN_FITS)?;
    let finds_no_room = attempt(1)?;
    let Some(taken) = fills.filter(|taken| (1..MORE_THAN_FITS as i32).contains(taken)) else { return Ok(false) };
    theirs.set_nonblocking(true)?;
    let mut read = vec![0_u8; taken as usize];
    (&theirs).read_exact(&mut read)?;
    let fits = attempt(1)?;
    Ok(finds_no_room == Some(-libc::EAGAIN) && fits.is_none())
}

fn at(step: Step) -> impl Fn(io::Error) -> Failure {
    move |error| Failure { step, errno: error.raw_os_error().unwrap_or(libc::EINVAL) }
}
