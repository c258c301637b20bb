//! The bare loop on epoll.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;

use super::load::Epoll;
use super::{CONNECTIONS, Cpu, INPUT_BYTES, Meter, Phase, Responder, SERVER_CORE, Workload, load, pin};

/// Serves by epoll, level-triggered: read once, answer, write.
pub fn serve(workload: Workload) -> Cpu {
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
