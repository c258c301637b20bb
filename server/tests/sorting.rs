//! SORT over shards reads all its keys, those too that elements name, at one moment.

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use support::{Reply, Server};

#[test]
fn what_elements_name_is_of_one_moment() {
    let server = Server::torc(3, &[]);
    assert_eq!(server.client().call("RPUSH l 1 2 3 4 5 6").integer(), 6);
    let is_done = AtomicBool::new(false);
    let writes = |from: usize, client: &mut support::Client| {
        for number in from.. {
            if is_done.load(Ordering::Relaxed) {
                return number - from;
            }
            let pairs: Vec<String> = (1..=6).map(|key| format!("w_{key} {number}")).collect();
            assert_eq!(client.ask(&format!("MSET {}", pairs.join(" "))), "+OK");
        }
        0
    };
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..2)
            .map(|writer| {
                scope.spawn({
                    let server = &server;
                    move || writes(writer * 1_000_000, &mut server.client())
                })
            })
            .collect();
        let mut client = server.client();
        let mut several = 0;
        for round in 0..400 {
            let (command, width) =
                if round % 2 == 0 { ("SORT l GET w_*", 1) } else { ("SORT l BY w_* GET w_* GET #", 2) };
            let reply = client.call(command);
            let values: Vec<String> = reply.elements().iter().step_by(width).map(Reply::to_string).collect();
            assert_eq!(values.len(), 6);
            assert!(values.iter().all(|value| *value == values[0]), "{values:?}");
            several += usize::from(values[0] != "nil");
            // Stored, it is there for the next, and the locks are free again.
            assert_eq!(client.call("SORT l BY w_* GET w_* STORE w_stored").integer(), 6);
            let stored = client.call("LRANGE w_stored 0 -1");
            assert!(stored.elements().iter().all(|value| value == &stored.elements()[0]), "{stored}");
        }
        is_done.store(true, Ordering::Relaxed);
        let written: usize = writers.into_iter().map(|writer| writer.join().expect("a writer")).sum();
        assert!(several > 100 && written > 100, "{several} {written}");
    });
}
