//! The same bare RESP loop on io_uring, on epoll and on glommio: why the data plane has a reactor of its own.
//! `bench/rings.md` has the commands and the results.

#![allow(unsafe_code)] // the ring and epoll, bare: what is measured is the kernel's interface itself

mod bare;

use bare::load::Epoll;
use bare::ring::RingOptions;
use bare::{CONNECTIONS, Cpu, Meter, Phase, Responder, SERVER_CORE, Variant, Workload, compare, load, pin};
use clap::Parser;
use glommio::net::{TcpListener as GlommioListener, TcpStream as GlommioStream};
use glommio::{LocalExecutorBuilder, Placement};
use std::cell::RefCell;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::time::Duration;

/// Compares runtimes under a bare RESP loop.
#[derive(Parser)]
struct Arguments {
    /// Alternating rounds.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Milliseconds measured in each round of each runtime.
    #[arg(long, default_value_t = 1000)]
    measured_ms: u64,
}

const INPUT_BYTES: usize = 16 << 10;

/// Serves by epoll, level-triggered: read once, answer, write.
fn serve_by_epoll(workload: Workload) -> Cpu {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port");
    let address = listener.local_addr().expect("bound");
    let phase = Phase::default();
    let load = load::start(address, workload, phase.clone());
    let server = std::thread::spawn(move || {
        pin(SERVER_CORE);
        run_epoll(&listener, workload, phase)
    });
    load.join().expect("the load ends");
    server.join().expect("the server ends")
}

struct EpollConnection {
    stream: TcpStream,
    leftover: Vec<u8>,
}

fn run_epoll(listener: &TcpListener, workload: Workload, phase: Phase) -> Cpu {
    let (epoll, responder, mut meter) = (Epoll::new(), Responder::new(workload.value_bytes), Meter::new(phase));
    epoll.add(listener.as_raw_fd(), u64::MAX);
    let mut connections: Vec<EpollConnection> = Vec::new();
    let (mut open, mut ready) = (0, Vec::new());
    let (mut input, mut replies) = (vec![0; INPUT_BYTES], Vec::new());
    while connections.len() < CONNECTIONS || open > 0 {
        epoll.wait(&mut ready);
        for index in &ready {
            let Some(connection) = connections.get_mut(*index as usize) else {
                let (stream, _) = listener.accept().expect("accept");
                stream.set_nodelay(true).expect("TCP");
                epoll.add(stream.as_raw_fd(), connections.len() as u64);
                connections.push(EpollConnection { stream, leftover: Vec::new() });
                open += 1;
                continue;
            };
            let count = connection.stream.read(&mut input).unwrap_or(0);
            if count == 0 {
                open -= 1;
                // Out of the set by being closed for reading and writing; the descriptor itself goes at the end.
                epoll.remove(connection.stream.as_raw_fd());
                meter.count(0);
                continue;
            }
            replies.clear();
            let answer = |reply: &[u8]| replies.extend_from_slice(reply);
            let commands = responder.answer_stream(&mut connection.leftover, &input[..count], answer);
            // The load always reads: a blocking write of a few KiB does not block.
            connection.stream.write_all(&replies).expect("the load reads");
            meter.count(commands);
        }
    }
    meter.cost()
}

/// Serves by glommio's sockets: a task a connection.
fn serve_by_glommio(workload: Workload) -> Cpu {
    let phase = Phase::default();
    let (address_sender, address) = std::sync::mpsc::channel::<SocketAddr>();
    let server_phase = phase.clone();
    let server = LocalExecutorBuilder::new(Placement::Fixed(SERVER_CORE))
        .spawn(move || async move {
            let listener = GlommioListener::bind("127.0.0.1:0").expect("a loopback port");
            address_sender.send(listener.local_addr().expect("bound")).expect("the main thread waits");
            run_glommio(listener, workload, server_phase).await
        })
        .expect("glommio");
    let load = load::start(address.recv().expect("bound"), workload, phase);
    load.join().expect("the load ends");
    server.join().expect("the server ends")
}

async fn run_glommio(listener: GlommioListener, workload: Workload, phase: Phase) -> Cpu {
    let meter = Rc::new(RefCell::new(Meter::new(phase)));
    let responder = Rc::new(Responder::new(workload.value_bytes));
    let mut tasks = Vec::new();
    while tasks.len() < CONNECTIONS {
        let stream = listener.accept().await.expect("accept");
        stream.set_nodelay(true).expect("TCP");
        let task = serve_glommio_connection(stream, Rc::clone(&responder), Rc::clone(&meter));
        tasks.push(glommio::spawn_local(task).detach());
    }
    for task in tasks {
        task.await;
    }
    meter.borrow().cost()
}

async fn serve_glommio_connection(mut stream: GlommioStream, responder: Rc<Responder>, meter: Rc<RefCell<Meter>>) {
    use futures_lite::{AsyncReadExt, AsyncWriteExt};
    let (mut input, mut leftover, mut replies) = (vec![0; INPUT_BYTES], Vec::new(), Vec::new());
    loop {
        let count = stream.read(&mut input).await.unwrap_or(0);
        if count == 0 {
            meter.borrow_mut().count(0);
            return;
        }
        replies.clear();
        let commands =
            responder.answer_stream(&mut leftover, &input[..count], |reply| replies.extend_from_slice(reply));
        stream.write_all(&replies).await.expect("the load reads");
        meter.borrow_mut().count(commands);
    }
}

fn main() {
    let arguments = Arguments::parse();
    let measured = Duration::from_millis(arguments.measured_ms);
    let ring = |workload| bare::ring::serve(RingOptions::default(), workload);
    let variants = [
        Variant { name: "io_uring", serve: &ring },
        Variant { name: "epoll", serve: &serve_by_epoll },
        Variant { name: "glommio", serve: &serve_by_glommio },
    ];
    let workloads = [("pipeline 1", Workload::new(1, measured)), ("pipeline 16", Workload::new(16, measured))];
    compare("runtimes", &variants, &workloads, arguments.rounds);
}
