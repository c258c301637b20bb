//! Bad input of every kind: what a client, a configuration or a machine can do wrong. Each time the one at fault gets a
//! clear error, nobody else is harmed, nothing is lost. The errors' texts stand in `wire/protocol.transcript`; here it is
//! about what else happens.

mod support;
mod bad_input {
    mod clients;
    mod pressure;
    mod starts;
}

use support::Server;

/// That another client is served: on every shard a key can be written and read.
fn assert_serves(server: &Server) {
    let mut client = server.client();
    for index in 0..12 {
        assert_eq!(client.ask(&format!("SET served:{index} {index}")), "+OK");
        assert_eq!(client.ask(&format!("GET served:{index}")), format!("\"{index}\""));
    }
    assert_eq!(client.ask("MGET served:0 served:1 served:2 served:3"), "[\"0\" \"1\" \"2\" \"3\"]");
}
