//! What a connection knows of its user.

use super::user::User;
use super::users::Users;
use std::sync::Arc;

/// The user of a connection. What follows from it and from the default user is worked out when either changes, so that a
/// command looks at one flag.
#[derive(Clone, Debug)]
pub struct Access {
    user: Arc<User>,
    /// It has said the password, or there was none when it came.
    is_authenticated: bool,
    is_admitted: bool,
    is_free: bool,
}

impl Access {
    /// A new connection's.
    pub fn new(users: &Users) -> Self {
        let user = users.default_user().clone();
        let mut access = Self { is_authenticated: user.is_open(), user, is_admitted: false, is_free: false };
        access.refresh(users);
        access
    }

    /// Of a connection of the server's own, which may do everything, whatever becomes of users.
    pub fn of_the_server(users: &Users) -> Self {
        Self { user: users.default_user().clone(), is_authenticated: true, is_admitted: true, is_free: true }
    }

    /// It has said who it is.
    pub fn log_in(&mut self, user: Arc<User>, users: &Users) {
        self.user = user;
        self.is_authenticated = true;
        self.refresh(users);
    }

    /// It has no user any more: what it sends until it is closed is refused.
    pub fn lose(&mut self, users: &Users) {
        self.user = users.default_user().clone();
        (self.is_authenticated, self.is_admitted, self.is_free) = (false, false, false);
    }

    /// The same user by newer rules.
    pub fn replace(&mut self, user: &Arc<User>, users: &Users) {
        self.user = user.clone();
        self.refresh(users);
    }

    fn refresh(&mut self, users: &Users) {
        self.is_admitted = self.is_authenticated || users.default_user().is_open();
        self.is_free = self.is_admitted && self.user.is_unrestricted;
    }

    /// Whether nothing is to be asked.
    #[inline]
    pub fn is_free(&self) -> bool {
        self.is_free
    }

    /// Whether it may run commands at all.
    #[inline]
    pub fn is_admitted(&self) -> bool {
        self.is_admitted
    }

    /// Its user.
    pub fn user(&self) -> &Arc<User> {
        &self.user
    }

    /// Its user's id, or [`User::NOBODY`] if nothing is to be asked.
    pub fn user_to_ask(&self) -> u64 {
        if self.is_free { User::NOBODY } else { self.user.id }
    }
}
