//! The bare loop on glommio's sockets, a task a connection.

use futures_lite::{AsyncReadExt, AsyncWriteExt};
use glommio::net::{TcpListener, TcpStream};
use glommio::{LocalExecutorBuilder, Placement};
use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;

use super::{CONNECTIONS, Cpu, INPUT_BYTES, Meter, Phase, Responder, SERVER_CORE, Workload, load};

/// Serves by glommio's sockets: a task a connection.
pub fn serve(workload: Workload) -> Cpu {
    let phase = Phase::default();
    let (address_sender, address) = std::sync::mpsc::channel::<SocketAddr>();
    let server_phase = phase.clone();
    let server = LocalExecutorBuilder::new(Placement::Fixed(SERVER_CORE))
        .spawn(move || async move {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port");
            address_sender.send(listener.local_addr().expect("bound")).expect("the main thread waits");
            run_glommio(listener, workload, server_phase).await
        })
        .expect("glommio");
    let load = load::start(address.recv().expect("bound"), workload, phase);
    load.join().expect("the load ends");
    server.join().expect("the server ends")
}

async fn run_glommio(listener: TcpListener, workload: Workload, phase: Phase) -> Cpu {
    let meter = Rc::new(RefCell::new(Meter::new(phase)));
    let responder = Rc::new(Responder::new(workload.value_bytes));
    let mut tasks = Vec::new();
    while tasks.len() < CONNECTIONS {
        let stream = listener.accept().await.expect("accept");
        stream.set_nodelay(true).expect("TCP");
        let task = serve_connection(stream, Rc::clone(&responder), Rc::clone(&meter));
        tasks.push(glommio::spawn_local(task).detach());
    }
    for task in tasks {
        task.await;
    }
    meter.borrow().cost()
}

async fn serve_connection(mut stream: TcpStream, responder: Rc<Responder>, meter: Rc<RefCell<Meter>>) {
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
