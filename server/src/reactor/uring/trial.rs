//! A trial run: whether rings as the driver wants them can be made here.

use io_uring::{Probe, opcode};
use std::io;

use super::Options;
use super::buffers::Buffers;
use super::ring::Ring;

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

fn at(step: Step) -> impl Fn(io::Error) -> Failure {
    move |error| Failure { step, errno: error.raw_os_error().unwrap_or(libc::EINVAL) }
}
