//! A user: a name, passwords, permissions, and selectors that add to them.

use super::password::PasswordHash;
use super::permissions::{Denial, FoundKeys, Permissions, Requested};
use super::rule::{Grant, Rule, RuleError};
use super::users::AccessSettings;
use crate::command_table::CommandTable;

/// Whoever may be a connection's user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Its own as long as it lives; [`User::NOBODY`] is nobody's.
    pub id: u64,
    /// How clients call it.
    pub name: Box<[u8]>,
    /// Whether it can log in.
    pub is_enabled: bool,
    /// Whether any password does.
    pub has_no_password: bool,
    sanitizes_payloads: bool,
    passwords: Vec<PasswordHash>,
    permissions: Permissions,
    selectors: Vec<Permissions>,
    /// Whether nothing is denied it.
    pub is_unrestricted: bool,
}

impl User {
    /// The id that no user has: what runs for it may do everything.
    pub const NOBODY: u64 = 0;

    /// One who may do nothing, and cannot log in.
    pub fn new(id: u64, name: &[u8], settings: AccessSettings) -> Self {
        Self {
            id,
            name: name.into(),
            is_enabled: false,
            has_no_password: false,
            sanitizes_payloads: true,
            passwords: Vec::new(),
            permissions: Permissions::new(settings.new_users_have_all_channels),
            selectors: Vec::new(),
            is_unrestricted: false,
        }
    }

    /// Applies a rule; nothing has changed where it fails.
    pub fn apply(&mut self, rule: &Rule, table: &CommandTable, settings: AccessSettings) -> Result<(), RuleError> {
        match rule {
            Rule::Nothing => {}
            Rule::Enabled(is_enabled) => self.is_enabled = *is_enabled,
            Rule::SanitizesPayloads(sanitizes) => self.sanitizes_payloads = *sanitizes,
            Rule::NoPassword => {
                self.has_no_password = true;
                self.passwords.clear();
            }
            Rule::ResetPasswords => {
                self.has_no_password = false;
                self.passwords.clear();
            }
            Rule::AddPassword(hash) => {
                if !self.passwords.contains(hash) {
                    self.passwords.push(*hash);
                }
                self.has_no_password = false;
            }
            Rule::RemovePassword(hash) => {
                let found = self.passwords.iter().position(|known| known == hash);
                self.passwords.remove(found.ok_or(RuleError::NoSuchPassword)?);
            }
            Rule::Selector(grants) => {
                let mut selector = Permissions::new(settings.new_users_have_all_channels);
                grants.iter().try_for_each(|grant| selector.apply(grant, table))?;
                self.selectors.push(selector);
            }
            Rule::ClearSelectors => self.selectors.clear(),
            Rule::Reset => *self = Self::new(self.id, &std::mem::take(&mut self.name), settings),
            Rule::Grant(grant) => self.permissions.apply(grant, table)?,
        }
        let is_unrestricted = self.sets().any(Permissions::is_unrestricted);
        self.is_unrestricted = is_unrestricted;
        Ok(())
    }

    /// The default user, as a server without any rule begins.
    pub fn default_user(table: &CommandTable, settings: AccessSettings) -> Self {
        let mut user = Self::new(1, Self::DEFAULT_NAME, settings);
        let all = [Grant::AllCommands, Grant::AllKeys, Grant::AllChannels].map(Rule::Grant);
        let rules = all.into_iter().chain([Rule::Enabled(true), Rule::NoPassword]);
        for rule in rules {
            user.apply(&rule, table, settings).expect("rules without a condition");
        }
        user
    }

    /// Whether it is the default user with all rights, whatever its password.
    pub(super) fn is_as_it_begins(&self) -> bool {
        let has_all = self.is_unrestricted && self.selectors.is_empty() && self.sanitizes_payloads;
        *self.name == *Self::DEFAULT_NAME && self.is_enabled && has_all && self.permissions.line() == b"~* &* +@all"
    }

    /// The name of the user that new connections have.
    pub const DEFAULT_NAME: &[u8] = b"default";

    /// Whether a connection that has said nothing may run commands for it.
    pub fn is_open(&self) -> bool {
        self.is_enabled && self.has_no_password
    }

    /// Whether the password lets in. Hashed in any case, so that the time does not tell whether it could.
    pub fn accepts(&self, hash: PasswordHash) -> bool {
        let is_known = hash.is_among(&self.passwords);
        self.is_enabled && (self.has_no_password || is_known)
    }

    /// `requirepass`: the only password, or none.
    pub(super) fn set_password(&mut self, password: Option<&[u8]>) {
        self.passwords = password.map(PasswordHash::of).into_iter().collect();
        self.has_no_password = password.is_none();
    }

    fn sets(&self) -> impl Iterator<Item = &Permissions> {
        std::iter::once(&self.permissions).chain(&self.selectors)
    }

    /// Whether it may run a command.
    #[inline]
    pub fn check(&self, requested: &Requested<'_>) -> Result<(), Denial> {
        let mut found = FoundKeys::None;
        let mut denial = None;
        for permissions in self.sets() {
            match permissions.check(requested, &mut found) {
                Ok(()) => return Ok(()),
                Err(other) => denial = denial.max(Some(other)),
            }
        }
        denial.map_or(Ok(()), Err)
    }

    /// Whether it may run a command that reads keys which its arguments do not name.
    pub fn may_read_any_key(&self, requested: &Requested<'_>) -> bool {
        self.sets().any(|set| set.check(requested, &mut FoundKeys::None).is_ok() && set.reads_all_keys())
    }

    /// Whether it may listen to a channel, or to a pattern of channels.
    pub fn may_hear(&self, channel: &[u8], is_pattern: bool) -> bool {
        self.sets().any(|permissions| permissions.allows_channel(channel, is_pattern))
    }

    /// The names of what is true of it, as rules.
    pub fn flags(&self) -> impl Iterator<Item = &'static str> {
        let enabled = if self.is_enabled { "on" } else { "off" };
        let sanitizes = if self.sanitizes_payloads { "sanitize-payload" } else { "skip-sanitize-payload" };
        [Some(enabled), self.has_no_password.then_some("nopass"), Some(sanitizes)].into_iter().flatten()
    }

    /// Hashes of passwords, in the order in which they came.
    pub fn passwords(&self) -> &[PasswordHash] {
        &self.passwords
    }

    /// What it may do outside of selectors.
    pub fn permissions(&self) -> &Permissions {
        &self.permissions
    }

    /// What selectors add.
    pub fn selectors(&self) -> &[Permissions] {
        &self.selectors
    }

    /// `user name rules`, as lines of files say it.
    pub fn line(&self) -> Vec<u8> {
        let mut text = [b"user ", &*self.name, b" "].concat();
        for flag in self.flags() {
            text.extend_from_slice(flag.as_bytes());
            text.push(b' ');
        }
        for hash in &self.passwords {
            text.extend_from_slice(format!("#{hash} ").as_bytes());
        }
        text.extend_from_slice(&self.permissions.line());
        for selector in &self.selectors {
            text.extend_from_slice(&[b" (", &*selector.line(), b")"].concat());
        }
        text
    }
}
