//! `torc-server`: parses what it is told, serves, and ends with 0 when asked to stop.

use std::path::Path;
use std::process::ExitCode;
use torc_server::allocator::CountingAllocator;
use torc_server::check_system::SystemReport;
use torc_server::config::{Config, Machine, Start};
use torc_server::crash;
use torc_server::log::Log;
use torc_server::oom_score;
use torc_server::process::Presence;
use torc_server::server::{Server, StartFailure};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args_os().map(|argument| argument.to_string_lossy().into_owned()).collect();
    let mut loaded = match Config::load(&arguments, &mut Machine) {
        Ok(Start::Serve(loaded)) => *loaded,
        Ok(Start::CheckSystem) => {
            let report = SystemReport::of(Path::new("/"));
            print!("{report}");
            return if report.is_fit() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
        }
        Ok(Start::Print(text)) => {
            println!("{text}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let mut presence = match Presence::establish(&mut loaded.config) {
        Ok(presence) => presence,
        Err(StartFailure(text)) => {
            eprintln!("{text}");
            return ExitCode::FAILURE;
        }
    };
    let log = begin_log(&loaded.config);
    let (version, process) = (env!("CARGO_PKG_VERSION"), std::process::id());
    tracing::info!("Torc {version} is starting, pid={process}");
    if loaded.config.process.always_show_logo {
        // Those who ask for the real server's logo read the line with these words in it.
        tracing::info!("Port: {}, PID: {process}", loaded.config.network.port);
    }
    match Server::start(loaded, &log, || presence.announce()) {
        Ok(server) => {
            if let Err(StartFailure(text)) = server.wait_until_loaded() {
                tracing::error!("{text}");
                tracing::error!("Fatal error loading the DB, check server logs. Exiting.");
                presence.failed(&text);
                // The shards do nothing without their data: the process ends with them.
                return ExitCode::FAILURE;
            }
            presence.ready();
            let outcome = server.wait();
            presence.leave();
            match outcome {
                Ok(()) => {
                    tracing::warn!("Torc is now ready to exit, bye bye...");
                    ExitCode::SUCCESS
                }
                Err(error) => {
                    tracing::error!("Stopped by an error: {error}");
                    ExitCode::FAILURE
                }
            }
        }
        Err(StartFailure(text)) => {
            tracing::error!("{text}");
            eprintln!("{text}");
            presence.failed(&text);
            // Threads that did start wait for their peers: the process ends with them.
            ExitCode::FAILURE
        }
    }
}

/// The log, and what is told in it from the beginning on.
fn begin_log(config: &Config) -> Log {
    let log = Log::new(&config.log);
    log.install();
    if let Err(error) = crash::watch(&config.log) {
        tracing::warn!("A crash would leave no report: {error}");
    }
    if let Err(error) = oom_score::apply(&config.process) {
        tracing::warn!("Unable to write oom_score_adj: {error}");
    }
    log
}
