//! All users as one snapshot, and where the newest one is.

use super::attempts::Attempts;
use super::denied::{DeniedLog, Reason};
use super::rule::{Rule, RuleError};
use super::user::User;
use crate::command_table::CommandTable;
use crate::config::Security;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What of the configuration rules depend on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccessSettings {
    /// `acl-pubsub-default allchannels`.
    pub new_users_have_all_channels: bool,
}

/// All users. There is always one of the name `default`.
#[derive(Clone, Debug)]
pub struct Users {
    /// Higher in each snapshot that follows.
    pub version: u64,
    by_name: BTreeMap<Box<[u8]>, Arc<User>>,
    by_id: BTreeMap<u64, Arc<User>>,
    default: Arc<User>,
    next_id: u64,
}

impl Users {
    /// The default user alone, with the password of `requirepass`.
    pub fn new(table: &CommandTable, settings: AccessSettings, password: Option<&[u8]>) -> Self {
        let mut default = User::default_user(table, settings);
        default.set_password(password);
        let (id, default) = (default.id, Arc::new(default));
        Self {
            version: 1,
            by_name: BTreeMap::from([(default.name.clone(), default.clone())]),
            by_id: BTreeMap::from([(id, default.clone())]),
            default,
            next_id: id + 1,
        }
    }

    /// The user of that name.
    pub fn find(&self, name: &[u8]) -> Option<&Arc<User>> {
        self.by_name.get(name)
    }

    /// The user of that id.
    pub fn find_id(&self, id: u64) -> Option<&Arc<User>> {
        self.by_id.get(&id)
    }

    /// The user of new connections.
    pub fn default_user(&self) -> &Arc<User> {
        &self.default
    }

    /// By name, ascending.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<User>> {
        self.by_name.values()
    }

    /// The next snapshot, with the rules applied to the user of that name, which may be new; or the place of the rule that
    /// is wrong.
    pub fn with_rules(
        &self,
        name: &[u8],
        rules: &[Rule],
        table: &CommandTable,
        settings: AccessSettings,
    ) -> Result<Self, (usize, RuleError)> {
        let mut user = match self.find(name) {
            Some(user) => User::clone(user),
            None => User::new(self.next_id, name, settings),
        };
        for (place, rule) in rules.iter().enumerate() {
            user.apply(rule, table, settings).map_err(|error| (place, error))?;
        }
        let mut next = self.clone();
        next.version += 1;
        next.put(user);
        Ok(next)
    }

    /// The next snapshot, with another password of the default user.
    pub fn with_password(&self, password: Option<&[u8]>) -> Self {
        let mut user = User::clone(&self.default);
        user.set_password(password);
        let mut next = self.clone();
        next.version += 1;
        next.put(user);
        next
    }

    /// The next snapshot, without users of these names, and how many there were.
    pub fn without(&self, names: &[&[u8]]) -> (Self, usize) {
        let mut next = self.clone();
        next.version += 1;
        let mut removed = 0;
        for name in names {
            if let Some(user) = next.by_name.remove(*name) {
                next.by_id.remove(&user.id);
                removed += 1;
            }
        }
        (next, removed)
    }

    /// The next snapshot: these users and no others, but for a default one. Who has a name that was there before goes on as
    /// that user.
    pub fn replaced_by(&self, users: Vec<User>, table: &CommandTable, settings: AccessSettings) -> Self {
        let mut next = Self { version: self.version + 1, next_id: self.next_id, ..Self::new(table, settings, None) };
        for mut user in users {
            user.id = self.find(&user.name).map_or(next.next_id, |before| before.id);
            next.put(user);
        }
        next
    }

    fn put(&mut self, user: User) {
        self.next_id = self.next_id.max(user.id + 1);
        let user = Arc::new(user);
        if *user.name == *User::DEFAULT_NAME {
            self.default = user.clone();
        }
        self.by_id.insert(user.id, user.clone());
        self.by_name.insert(user.name.clone(), user);
    }
}

/// What all shards share of it.
#[derive(Debug)]
pub struct SharedAccess {
    users: Mutex<Arc<Users>>,
    denied: Mutex<DeniedLog>,
    denied_counts: [AtomicU64; Reason::ALL.len()],
    /// Who has failed to authenticate, from where.
    pub attempts: Attempts,
}

impl SharedAccess {
    /// As the server begins, before the lines about users are read.
    pub fn new(table: &CommandTable, security: &Security) -> Self {
        let users = Users::new(table, security.access_settings(), security.password.as_deref());
        Self {
            users: Mutex::new(Arc::new(users)),
            denied: Mutex::default(),
            denied_counts: Default::default(),
            attempts: Attempts::default(),
        }
    }

    /// The newest snapshot.
    pub fn users(&self) -> Arc<Users> {
        self.change().clone()
    }

    /// The newest snapshot, to be replaced by the next one.
    pub fn change(&self) -> MutexGuard<'_, Arc<Users>> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was denied lately. Held for moments only.
    pub fn denied(&self) -> MutexGuard<'_, DeniedLog> {
        self.denied.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more was denied.
    pub(super) fn count_denied(&self, reason: Reason) {
        self.denied_counts[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How often something was denied for this reason.
    pub fn denied_count(&self, reason: Reason) -> u64 {
        self.denied_counts[reason as usize].load(Ordering::Relaxed)
    }

    /// CONFIG RESETSTAT.
    pub fn reset_counts(&self) {
        self.denied_counts.iter().for_each(|count| count.store(0, Ordering::Relaxed));
        self.attempts.reset_counts();
    }
}
