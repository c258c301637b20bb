//! The control plane: one thread with a glommio executor, beside the shards and never waited for by them. Today it feels
//! the shards' pulse; cluster bus, metrics and console come to live here, so that no script on a shard delays them.

use crate::shared::Shared;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often the pulse is felt.
const HEARTBEAT: Duration = Duration::from_millis(100);
/// A shard that does not turn for this long is reported.
const STALL_REPORTED_AFTER: Duration = Duration::from_secs(2);

/// The running thread.
pub struct ControlPlane {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What is known of a shard's pulse.
struct Pulse {
    turns: u64,
    since: Instant,
    reported: bool,
}

impl ControlPlane {
    /// Starts the thread.
    pub fn start(shared: Arc<Shared>) -> io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let told = stop.clone();
        let (report, reports) = std::sync::mpsc::channel();
        let thread = std::thread::Builder::new().name("control".into()).spawn(move || {
            let executor = glommio::LocalExecutorBuilder::new(glommio::Placement::Unbound)
                .name("control")
                .io_memory(1 << 20)
                .ring_depth(32)
                .make();
            match executor {
                Ok(executor) => {
                    let _ = report.send(Ok(()));
                    executor.run(heartbeat(shared, told));
                }
                Err(error) => drop(report.send(Err(io::Error::other(error.to_string())))),
            }
        })?;
        match reports.recv() {
            Ok(result) => result.map(|()| Self { stop, thread: Some(thread) }),
            Err(_) => Err(io::Error::other("its thread ended at once")),
        }
    }

    /// Ends the thread.
    pub fn stop(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn heartbeat(shared: Arc<Shared>, stop: Arc<AtomicBool>) {
    let mut pulses: Vec<Pulse> =
        (0..shared.shards()).map(|_| Pulse { turns: 0, since: Instant::now(), reported: false }).collect();
    while !stop.load(Ordering::Relaxed) {
        glommio::timer::sleep(HEARTBEAT).await;
        let now = Instant::now();
        for (shard, pulse) in pulses.iter_mut().enumerate() {
            let turns = shared.gauges[shard].turns.load(Ordering::Relaxed);
            if let Some(line) = feel(pulse, turns, now, shard) {
                tracing::warn!("{line}");
            }
        }
    }
}

/// Takes a shard's count of turns; a line for the log where its pulse stopped or came back.
fn feel(pulse: &mut Pulse, turns: u64, now: Instant, shard: usize) -> Option<String> {
    let stalled = now.duration_since(pulse.since);
    if turns != pulse.turns {
        let was_reported = pulse.reported;
        *pulse = Pulse { turns, since: now, reported: false };
        return was_reported.then(|| format!("Shard {shard} turns again after {} ms", stalled.as_millis()));
    }
    if stalled < STALL_REPORTED_AFTER || pulse.reported {
        return None;
    }
    pulse.reported = true;
    Some(format!("Shard {shard} has not turned for {} ms: a long command, or no processor time", stalled.as_millis()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stopped_pulse_is_reported_once_and_its_return_too() {
        let start = Instant::now();
        let mut pulse = Pulse { turns: 5, since: start, reported: false };
        assert!(feel(&mut pulse, 5, start + Duration::from_secs(1), 0).is_none());
        assert!(feel(&mut pulse, 5, start + Duration::from_secs(3), 0).is_some());
        assert!(feel(&mut pulse, 5, start + Duration::from_secs(4), 0).is_none());
        let line = feel(&mut pulse, 6, start + Duration::from_secs(5), 0).expect("its return");
        assert!(line.contains("turns again after 5000 ms"), "{line}");
    }
}
