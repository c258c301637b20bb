//! What an interpreter and the shard that runs it say to each other.
//!
//! ```text
//!   script: redis.call('GET', k)                         shard
//!     arguments, request ──────> Exchange ──────> runs the command
//!     a value of the language <─ reply (RESP) <── the one reply encoder
//! ```
//!
//! One `Exchange` lives as long as its interpreter and its buffers are used again and again, so that a call allocates
//! nothing. What a script asks for crosses as bytes in both directions: the shard's own encoder writes the reply, in the
//! protocol that the script has chosen, and the interpreter reads it.

/// A run of byte strings in two allocations.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Arguments {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Arguments {
    /// Forgets all, keeps the allocations unless they are large.
    pub fn clear(&mut self) {
        const KEPT_BYTES_MAX: usize = 64 * 1024;
        const KEPT_ARGUMENTS_MAX: usize = 1024;
        self.bytes.clear();
        self.ends.clear();
        self.bytes.shrink_to(KEPT_BYTES_MAX);
        self.ends.shrink_to(KEPT_ARGUMENTS_MAX);
    }

    /// Appends one.
    pub fn push(&mut self, argument: &[u8]) {
        self.bytes.extend_from_slice(argument);
        self.ends.push(self.bytes.len());
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The one at `index`, which must be less than [`Self::len`].
    pub fn get(&self, index: usize) -> &[u8] {
        let from = if index == 0 { 0 } else { self.ends[index - 1] };
        &self.bytes[from..self.ends[index]]
    }

    /// All of them in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        (0..self.len()).map(|index| self.get(index))
    }
}

impl<'a> FromIterator<&'a [u8]> for Arguments {
    fn from_iter<T: IntoIterator<Item = &'a [u8]>>(iter: T) -> Self {
        let mut arguments = Self::default();
        iter.into_iter().for_each(|argument| arguments.push(argument));
        arguments
    }
}

/// The protocol in which a script wants to see replies (`redis.setresp`), or a client its own.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// RESP2, with which every run begins.
    #[default]
    Resp2,
    /// RESP3.
    Resp3,
}

/// The levels of `redis.log`, in the server's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// 0
    Debug,
    /// 1
    Verbose,
    /// 2
    Notice,
    /// 3
    Warning,
}

/// What a script asks of the shard. The arguments are in [`Exchange::arguments`].
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// Run a command: the reply is what a client would get in [`Exchange::protocol`], errors included. What must not run
    /// inside a script is refused by the shard with an error reply.
    #[default]
    Command,
    /// May the user run this command? The reply is `:1`, `:0`, or an error if there is no such command.
    AclCheck,
    /// One argument is to be written to the log. The reply is not read.
    Log(LogLevel),
    /// Which of append-only file (1) and replicas (2) are told of the writes from here on. The reply is not read.
    SetReplication(u8),
    /// CPU seconds used, as `:<microseconds>`.
    Clock,
}

/// What passes between the two sides.
#[derive(Debug, Default)]
pub struct Exchange {
    /// What is asked.
    pub request: Request,
    /// The command and its arguments, or what else the request is about.
    pub arguments: Arguments,
    /// The protocol in which the reply is to be encoded.
    pub protocol: Protocol,
    /// The reply, written by the shard before it resumes the run.
    pub reply: Vec<u8>,
    /// Bytes that the interpreter had taken when its last job was done.
    pub(crate) memory_bytes: usize,
    /// Keys and arguments of the run.
    pub(crate) inputs: Arguments,
    /// How many of the inputs are keys.
    pub(crate) keys: usize,
}

impl Exchange {
    /// Lets go of what a big call left in the buffers.
    pub(crate) fn rest(&mut self) {
        const KEPT_BYTES_MAX: usize = 64 * 1024;
        self.arguments.clear();
        self.inputs.clear();
        self.reply.clear();
        self.reply.shrink_to(KEPT_BYTES_MAX);
        self.protocol = Protocol::Resp2;
    }
}
