//! Connections to the admin port.
//!
//! ```text
//!   receive ── accept ── one too many? who has been silent for longest leaves
//!      └─ serve (a task each):  hear a head ── answer ── hear the next ...
//!                               │ IDLE_MAX before its first byte, HEAD_TIME_MAX for all of it, ANSWER_TIME_MAX to take an answer
//!                               └ whatever is no request is answered once, and ends this connection alone
//! ```
//! So nobody who keeps connections open, or sends slowly, keeps a probe of a supervisor out.

use super::http::{self, Answer, HEAD_BYTES_MAX, Parsed, Status};
use super::pages::Pages;
use futures_lite::{AsyncReadExt, AsyncWriteExt, future};
use glommio::net::{TcpListener, TcpStream};
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::{Rc, Weak};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

/// At once on one address.
const VISITORS_MAX: usize = 64;
/// Without a request under way.
const IDLE_MAX: Duration = Duration::from_secs(75);
/// From the first byte of a head to its last.
const HEAD_TIME_MAX: Duration = Duration::from_secs(5);
/// Until an answer is taken.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);
/// After accepting has failed.
const REST: Duration = Duration::from_millis(100);

/// One connection, as the others see it.
#[derive(Debug)]
struct Visitor {
    /// Since when it has been listened to; none while it is answered.
    silent_since: Cell<Option<Instant>>,
    is_to_leave: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Visitor {
    fn send_away(&self) {
        self.is_to_leave.set(true);
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }

    /// Ends when it is sent away.
    async fn sent_away(&self) {
        poll_fn(|context| {
            if self.is_to_leave.get() {
                return Poll::Ready(());
            }
            *self.waker.borrow_mut() = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// Accepts for ever.
pub(super) async fn receive(listener: TcpListener, pages: Rc<Pages>) {
    let mut visitors: Vec<Weak<Visitor>> = Vec::new();
    loop {
        let stream = match listener.accept().await {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!("Accepting a connection on the admin port failed: {error}");
                glommio::timer::sleep(REST).await;
                continue;
            }
        };
        visitors.retain(|visitor| visitor.strong_count() > 0);
        if visitors.len() >= VISITORS_MAX {
            let has_made_room = make_room(&visitors);
            // Who is sent away leaves before the next one comes in.
            future::yield_now().await;
            if !has_made_room {
                continue;
            }
        }
        let _ = stream.set_nodelay(true);
        let visitor = Rc::new(Visitor {
            silent_since: Cell::new(Some(Instant::now())),
            is_to_leave: Cell::new(false),
            waker: RefCell::default(),
        });
        visitors.push(Rc::downgrade(&visitor));
        glommio::spawn_local(serve(stream, visitor, pages.clone())).detach();
    }
}

/// Sends away who has been silent for longest, beside those who are about to leave. Whether there is one.
fn make_room(visitors: &[Weak<Visitor>]) -> bool {
    let silent = visitors.iter().filter_map(|visitor| {
        let visitor = visitor.upgrade().filter(|visitor| !visitor.is_to_leave.get())?;
        Some((visitor.silent_since.get()?, visitor))
    });
    let Some((_, longest)) = silent.min_by_key(|(since, _)| *since) else { return false };
    longest.send_away();
    true
}

async fn serve(mut stream: TcpStream, visitor: Rc<Visitor>, pages: Rc<Pages>) {
    let mut received = Vec::new();
    loop {
        visitor.silent_since.set(Some(Instant::now()));
        let heard = hear(&mut stream, &visitor, &mut received).await;
        visitor.silent_since.set(None);
        let (answer, is_head, keeps_alive) = match heard {
            Heard::Nothing => return,
            Heard::Request(request) => {
                let answer = pages.answer(&request).await;
                (answer, request.is_head, request.keeps_alive)
            }
            Heard::Refused(status) => (Answer::of(status), false, false),
        };
        let bytes = answer.encode(is_head, keeps_alive);
        let sending = async { stream.write_all(&bytes).await.is_ok() };
        if !in_time(ANSWER_TIME_MAX, sending).await.unwrap_or(false) {
            return;
        }
        if !keeps_alive {
            return take_leave(stream).await;
        }
    }
}

/// A connection that is closed with bytes unread is reset, and its answer with it: so they are read, some of them.
async fn take_leave(mut stream: TcpStream) {
    const BYTES_MAX: usize = 256 * 1024;
    const TIME_MAX: Duration = Duration::from_millis(500);
    let _ = stream.shutdown(std::net::Shutdown::Write).await;
    let reading = async {
        let (mut buffer, mut total) = ([0; 4096], 0);
        while total < BYTES_MAX {
            match stream.read(&mut buffer).await {
                Ok(0) | Err(_) => return,
                Ok(count) => total += count,
            }
        }
    };
    in_time(TIME_MAX, reading).await;
}

enum Heard {
    /// It has left, or is to leave.
    Nothing,
    Request(http::Request),
    Refused(Status),
}

/// The next head; what came behind it stays in `received`.
async fn hear(stream: &mut TcpStream, visitor: &Visitor, received: &mut Vec<u8>) -> Heard {
    let began = Instant::now();
    let mut head_began = (!received.is_empty()).then_some(began);
    loop {
        if !received.is_empty() {
            match http::parse(received) {
                Parsed::Partial => {}
                Parsed::Refused(status) => return Heard::Refused(status),
                Parsed::Request(request, length) => {
                    received.drain(..length);
                    return Heard::Request(request);
                }
            }
        }
        let until = head_began.map_or(began + IDLE_MAX, |began| began + HEAD_TIME_MAX);
        let mut buffer = [0; 2048];
        let room = buffer.len().min(HEAD_BYTES_MAX - received.len());
        let reading = async { stream.read(&mut buffer[..room]).await.ok() };
        let left = until.saturating_duration_since(Instant::now());
        match in_time(
            left,
            future::or(reading, async {
                visitor.sent_away().await;
                None
            }),
        )
        .await
        {
            None if head_began.is_some() => return Heard::Refused(Status::RequestTimeout),
            None | Some(None | Some(0)) => return Heard::Nothing,
            Some(Some(count)) => {
                received.extend_from_slice(&buffer[..count]);
                head_began.get_or_insert_with(Instant::now);
            }
        }
    }
}

/// What comes of it, if that is in time.
async fn in_time<T>(limit: Duration, work: impl Future<Output = T>) -> Option<T> {
    future::or(async { Some(work.await) }, async {
        glommio::timer::sleep(limit).await;
        None
    })
    .await
}
