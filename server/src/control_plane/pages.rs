//! What the admin port answers.
//!
//! | path | for whom | what |
//! |---|---|---|
//! | `/` | anybody | the console: a page without data |
//! | `/health` | anybody | 200: the process lives |
//! | `/ready` | with the token | 200, or 503 and why not: loading, stopping, or which shard hangs on what |
//! | `/metrics` | with the token | Prometheus's text format |
//! | `/api/status` | with the token | what the console shows |
//!
//! Where no token is set the port is on loopback. Then a page from elsewhere, whose name has been made to mean this machine,
//! must not read it through somebody's browser: so the host that is asked for has to be an address, or `localhost`.

use super::figures::{Figures, Known};
use super::http::{Answer, Request, Status};
use super::pulse::{HANGS_AFTER, Hang, Pulses};
use super::report::Report;
use super::{metrics, remembered, status};
use crate::shared::Shared;
use serde_json::{Value, json};
use std::borrow::Cow;
use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use subtle::ConstantTimeEq;

/// What pages are made from.
pub(super) struct Pages {
    shared: Arc<Shared>,
    token: Option<Vec<u8>>,
    pulses: Rc<RefCell<Pulses>>,
    figures: Figures,
    began: Instant,
}

/// One shard at one moment.
pub(super) struct ShardView {
    pub(super) known: Known,
    /// How long ago its figures were told; none: never.
    pub(super) age: Option<Duration>,
    pub(super) heartbeat_age: Duration,
    pub(super) hang: Option<Hang>,
}

impl Pages {
    /// As configured.
    pub(super) fn new(shared: Arc<Shared>, pulses: Rc<RefCell<Pulses>>, figures: Figures) -> Self {
        let token = shared.config().admin.token.clone();
        Self { shared, token, pulses, figures, began: Instant::now() }
    }

    /// The answer to a request.
    pub(super) async fn answer(&self, request: &Request) -> Answer {
        if self.token.is_none() && !request.host.as_deref().is_none_or(is_this_machine) {
            return Answer::of(Status::Misdirected);
        }
        match request.path.as_str() {
            "/" => {
                let page = Cow::Borrowed(include_bytes!("console.html").as_slice());
                Answer { status: Status::Ok, content_type: "text/html; charset=utf-8", body: page }
            }
            "/health" => self.health(),
            "/ready" | "/metrics" | "/api/status" if !self.lets_in(request) => Answer::of(Status::Unauthorized),
            "/ready" => {
                let readiness = self.readiness();
                let is_ready = readiness["ready"] == true;
                Answer::json(if is_ready { Status::Ok } else { Status::Unavailable }, &readiness)
            }
            "/metrics" => {
                let (report, views) = self.look().await;
                let body = Cow::Owned(metrics::write(&report, &views, self.shared.databases).into_bytes());
                Answer { status: Status::Ok, content_type: "text/plain; version=0.0.4; charset=utf-8", body }
            }
            "/api/status" => {
                let (report, views) = self.look().await;
                let mut document = status::document(&report, &views, &self.readiness());
                // Neither is any text that may quote stored data.
                let hides_user_data = self.shared.config().log.hides_user_data;
                document["hides_user_data"] = hides_user_data.into();
                document["slow_log"] = if hides_user_data { Value::Null } else { remembered::slow_log(&self.shared) };
                document["hot_keys"] =
                    if hides_user_data { Value::Null } else { remembered::hot_keys(&self.shared, &views) };
                Answer::json(Status::Ok, &document)
            }
            _ => Answer::of(Status::NotFound),
        }
    }

    fn health(&self) -> Answer {
        let alive =
            json!({"alive": true, "process_id": std::process::id(), "uptime_s": self.began.elapsed().as_secs()});
        Answer::json(Status::Ok, &alive)
    }

    /// Takes the same time wherever a token differs.
    fn lets_in(&self, request: &Request) -> bool {
        let Some(token) = &self.token else { return true };
        request.token.as_ref().is_some_and(|given| given.ct_eq(token).into())
    }

    fn readiness(&self) -> Value {
        let shared = &self.shared;
        let is = |flag: &std::sync::atomic::AtomicBool| flag.load(Ordering::Relaxed);
        let hangs: Vec<Value> = self.hangs().iter().map(hang_value).collect();
        let loading = &shared.loading;
        let reason = if is(&shared.stopping) || is(&shared.shutting_down) {
            "stopping"
        } else if is(&loading.is_loading) {
            "loading"
        } else if !hangs.is_empty() {
            "hanging"
        } else {
            return json!({"ready": true, "shards": shared.shards()});
        };
        let mut readiness = json!({"ready": false, "reason": reason, "hangs": hangs});
        if reason == "loading" {
            let figure = |figure: &std::sync::atomic::AtomicU64| figure.load(Ordering::Relaxed);
            readiness["loading"] = json!({
                "bytes": figure(&loading.bytes), "bytes_done": figure(&loading.bytes_done), "keys": figure(&loading.keys),
            });
        }
        readiness
    }

    fn hangs(&self) -> Vec<Hang> {
        let (now, mut pulses) = (Instant::now(), self.pulses.borrow_mut());
        pulses.feel(&self.shared, now).iter().for_each(|line| tracing::warn!("{line}"));
        pulses.hangs(&self.shared, now, HANGS_AFTER)
    }

    /// All figures, each as new as is to be had without waiting for anybody.
    async fn look(&self) -> (Report, Vec<ShardView>) {
        let known = self.figures.gather().await;
        let report = Report::of(&self.shared, &known);
        let (now, mut hangs) = (Instant::now(), self.hangs().into_iter().peekable());
        let pulses = self.pulses.borrow();
        let view = |(shard, known): (usize, Known)| ShardView {
            age: known.at.map(|at| now.saturating_duration_since(at)),
            heartbeat_age: pulses.age(shard, now),
            hang: hangs.next_if(|hang| hang.shard == shard),
            known,
        };
        let views = known.into_iter().enumerate().map(view).collect();
        (report, views)
    }
}

/// A hang as JSON.
pub(super) fn hang_value(hang: &Hang) -> Value {
    json!({
        "shard": hang.shard,
        "for_ms": hang.duration.as_millis() as u64,
        "state": if hang.turns { "runs a script" } else { "does not turn" },
        "command": hang.command,
        "script": hang.script,
    })
}

fn is_this_machine(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_anybody_can_point_here_are_not_ours() {
        for (host, is_ours) in
            [("localhost", true), ("127.0.0.1", true), ("::1", true), ("", false), ("evil.example", false)]
        {
            assert_eq!(is_this_machine(host), is_ours, "{host}");
        }
    }
}
