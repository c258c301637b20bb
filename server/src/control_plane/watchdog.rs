//! systemd's watchdog: fed while every shard serves, and not when one hangs, so that the system starts the server again.
//!
//! A shard counts as hanging here when it has not turned, or has served only one script, for half of `WatchdogSec`. A unit
//! should leave it well above the longest script that is meant to run.

use super::pulse::Hang;
use crate::config::Supervisor;
use crate::shared::Shared;
use sd_notify::NotifyState;
use std::time::Duration;

/// The watchdog, where the unit has one.
#[derive(Debug)]
pub(super) struct Watchdog {
    /// What the unit says.
    bites_after: Duration,
    is_starved: bool,
}

impl Watchdog {
    /// As the environment tells a server that systemd supervises.
    pub(super) fn of(shared: &Shared) -> Option<Self> {
        let is_supervised = shared.config().process.supervised_by == Supervisor::Systemd;
        let bites_after = is_supervised.then(sd_notify::watchdog_enabled).flatten()?;
        tracing::info!("systemd's watchdog is fed while all shards serve, every {} ms", bites_after.as_millis());
        Some(Self { bites_after, is_starved: false })
    }

    /// How often it is fed: so often that late ones do no harm.
    pub(super) fn period(&self) -> Duration {
        (self.bites_after / 8).max(Duration::from_millis(5))
    }

    /// How long a shard may hang.
    pub(super) fn limit(&self) -> Duration {
        self.bites_after / 2
    }

    /// Feeds it, unless somebody hangs.
    pub(super) fn look(&mut self, hangs: &[Hang]) {
        let was_starved = std::mem::replace(&mut self.is_starved, !hangs.is_empty());
        match hangs.first() {
            Some(hang) if !was_starved => tracing::warn!("systemd's watchdog is not fed any more. {hang}"),
            Some(_) => {}
            None => {
                if was_starved {
                    tracing::warn!("systemd's watchdog is fed again: all shards serve");
                }
                if let Err(error) = sd_notify::notify(&[NotifyState::Watchdog]) {
                    tracing::debug!("systemd's watchdog cannot be fed: {error}");
                }
            }
        }
    }
}
