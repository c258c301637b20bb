//! A short storm: all that come are answered, and when they have gone nothing of them is left. How long it takes is no matter here.

use std::path::PathBuf;
use std::process::Command;

/// The server that the workspace's tests have built, beside this test.
fn server() -> Option<PathBuf> {
    let folder = std::env::current_exe().ok()?.parent()?.parent()?.to_owned();
    Some(folder.join("torc-server")).filter(|program| program.exists())
}

fn storm(arguments: &[&str]) {
    let Some(server) = server() else {
        println!("skipped: the server has not been built (cargo nextest run --workspace)");
        return;
    };
    let mut command = Command::new(env!("CARGO_BIN_EXE_storm"));
    let output = command.arg("--server").arg(server).args(["--quiet", "0"]).args(arguments).output();
    let output = output.expect("the program runs");
    let [said, failed] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    assert!(output.status.success(), "{said}\n{failed}");
    assert!(said.contains("longest turn of a shard"), "{said}");
}

#[test]
fn connections_of_all_kinds_come_and_go() {
    storm(&["--seconds", "3", "--rate", "150", "--shards", "3", "--growth-mib-max", "200"]);
}

#[test]
fn handshakes_as_fast_as_they_go() {
    storm(&["--handshakes", "200", "--shards", "2", "--growth-mib-max", "200"]);
}
