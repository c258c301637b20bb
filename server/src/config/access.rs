//! CONFIG GET and CONFIG SET.

use super::directive::{Context, Mutability};
use super::glob;
use super::rewrite;
use super::table::{DIRECTIVES, directive};
use super::{Config, Directive, Host};
use std::collections::BTreeMap;
use std::fmt;
use torc_engine::command::CommandError;

/// A configuration that has changed, and by what; nothing has acted on it yet.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The configuration as it becomes.
    pub config: Config,
    /// Names of the directives whose value differs now, as the table spells them.
    pub names: Vec<&'static str>,
}

/// Why CONFIG SET changed nothing. Shown as the error that clients know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigSetError {
    /// No such directive.
    Unknown {
        /// As the client wrote it.
        name: Vec<u8>,
    },
    /// A value was refused, or the directive may not change, or acting on it failed.
    Failed {
        /// The directive.
        name: String,
        /// Why.
        reason: String,
    },
}

impl ConfigSetError {
    /// A change that was valid and could not be carried out, for example a port that is in use.
    pub fn failed(name: &str, reason: &str) -> Self {
        Self::Failed { name: name.to_owned(), reason: reason.to_owned() }
    }
}

impl fmt::Display for ConfigSetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown { .. } => f.write_str(&CommandError::from(self.clone()).to_text()),
            Self::Failed { name, reason } => {
                write!(f, "ERR CONFIG SET failed (possibly related to argument '{name}') - {reason}")
            }
        }
    }
}

impl std::error::Error for ConfigSetError {}

impl From<ConfigSetError> for CommandError {
    fn from(error: ConfigSetError) -> Self {
        match error {
            ConfigSetError::Unknown { name } => {
                Self::echo("ERR Unknown option or number of arguments for CONFIG SET - '", &name, "'")
            }
            ConfigSetError::Failed { .. } => error.to_string().into(),
        }
    }
}

impl Config {
    /// CONFIG GET: what fits any of the names or patterns. A directive asked for by name is shown under that spelling;
    /// hidden ones are shown only so.
    pub fn get(&self, patterns: &[&[u8]]) -> Vec<(String, Vec<u8>)> {
        // Found under each spelling once, old names beside new ones.
        let mut found: BTreeMap<&'static str, (String, Vec<u8>)> = BTreeMap::new();
        for pattern in patterns {
            if !glob::is_pattern(pattern) {
                if let Some((row, name)) = directive(pattern) {
                    let shown = String::from_utf8_lossy(pattern).into_owned();
                    found.entry(name).or_insert_with(|| (shown, row.get(self)));
                }
                continue;
            }
            for row in DIRECTIVES.iter().filter(|row| !row.hidden) {
                for name in [Some(row.name), row.alias].into_iter().flatten() {
                    if glob::matches_name(pattern, name) {
                        found.entry(name).or_insert_with(|| (name.to_owned(), row.get(self)));
                    }
                }
            }
        }
        found.into_values().collect()
    }

    /// CONFIG SET without the acting: the configuration as it would become, or why not. All pairs or none.
    pub fn change(
        &self,
        pairs: &[(&[u8], &[u8])],
        client_is_local: bool,
        host: &mut dyn Host,
    ) -> Result<Change, ConfigSetError> {
        let rows = self.find_changeable(pairs, client_is_local)?;
        let mut config = self.clone();
        let mut context = Context { host, first_save: false, at_run_time: true };
        for ((row, name), (_, value)) in rows.iter().zip(pairs) {
            let words: Vec<Vec<u8>> = if row.takes_many_words() {
                value.split(|&byte| byte == b' ').map(<[u8]>::to_vec).collect()
            } else {
                vec![value.to_vec()]
            };
            row.set(&mut config, &words, &mut context).map_err(|reason| ConfigSetError::failed(name, &reason))?;
        }
        let mut names: Vec<&'static str> =
            rows.iter().filter(|(row, _)| row.get(self) != row.get(&config)).map(|(row, _)| row.name).collect();
        names.dedup();
        Ok(Change { config, names })
    }

    /// [`Config::change`] taken over at once; returns the names of what differs now.
    pub fn set(
        &mut self,
        pairs: &[(&[u8], &[u8])],
        client_is_local: bool,
        host: &mut dyn Host,
    ) -> Result<Vec<&'static str>, ConfigSetError> {
        let change = self.change(pairs, client_is_local, host)?;
        *self = change.config;
        Ok(change.names)
    }

    /// CONFIG REWRITE: the text of the configuration's file as it is to be.
    pub fn rewritten(&self, old: &[u8], host: &mut dyn Host) -> Vec<u8> {
        rewrite::rewritten(old, self, Some(&Self::defaults(host)))
    }

    /// The same with every directive there is, whatever its value.
    pub fn rewritten_whole(&self, old: &[u8]) -> Vec<u8> {
        rewrite::rewritten(old, self, None)
    }

    /// The rows named, provided that all of them exist, may change, and stand there once.
    fn find_changeable(
        &self,
        pairs: &[(&[u8], &[u8])],
        client_is_local: bool,
    ) -> Result<Vec<(&'static Directive, &'static str)>, ConfigSetError> {
        let mut rows: Vec<(&'static Directive, &'static str)> = Vec::with_capacity(pairs.len());
        for (written, _) in pairs {
            let Some((row, name)) = directive(written) else {
                return Err(ConfigSetError::Unknown { name: written.to_vec() });
            };
            let refusal = match row.mutability {
                Mutability::AtStart => Some("can't set immutable config"),
                Mutability::Protected if !self.security.protected_configs.allows(client_is_local) => {
                    Some("can't set protected config")
                }
                _ if rows.iter().any(|(_, earlier)| *earlier == name) => Some("duplicate parameter"),
                _ => None,
            };
            if let Some(reason) = refusal {
                return Err(ConfigSetError::failed(&String::from_utf8_lossy(written), reason));
            }
            rows.push((row, name));
        }
        Ok(rows)
    }
}

#[cfg(test)]
mod tests {
    use super::super::load::tests::{FakeMachine, load};
    use super::*;

    fn start() -> Config {
        load(&["torc-server"]).config
    }

    fn get(config: &Config, name: &str) -> String {
        let found = config.get(&[name.as_bytes()]);
        found.into_iter().map(|(_, value)| String::from_utf8_lossy(&value).into_owned()).collect()
    }

    /// `CONFIG SET` with the pairs; the answer of the server.
    fn set(config: &mut Config, pairs: &[(&str, &str)]) -> String {
        let pairs: Vec<(&[u8], &[u8])> =
            pairs.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
        match config.set(&pairs, true, &mut FakeMachine::default()) {
            Ok(_) => "OK".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    fn refused(name: &str, reason: &str) -> String {
        format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {reason}")
    }

    #[test]
    fn values_are_refused_in_the_words_clients_know() {
        let range = |min: &str, max: &str| format!("argument must be between {min} and {max} inclusive");
        for (name, value, reason) in [
            ("port", "99999", range("0", "65535")),
            ("port", "-1", range("0", "65535")),
            ("port", "abc", "argument couldn't be parsed into an integer".to_owned()),
            ("timeout", "+5", "argument couldn't be parsed into an integer".to_owned()),
            ("timeout", "05", "argument couldn't be parsed into an integer".to_owned()),
            ("databases", "4", "can't set immutable config".to_owned()),
            ("dir", "/", "can't set protected config".to_owned()),
            ("maxmemory", "10x", "argument must be a memory value".to_owned()),
            ("maxmemory-clients", "200%", "percentage argument must be less or equal to 100".to_owned()),
            ("appendonly", "maybe", "argument must be 'yes' or 'no'".to_owned()),
            ("save", "10", "Invalid save parameters".to_owned()),
            ("save", "  10   1", "Invalid save parameters".to_owned()),
            (
                "loglevel",
                "x",
                "argument(s) must be one of the following: debug, verbose, notice, warning, nothing".to_owned(),
            ),
            (
                "client-output-buffer-limit",
                "normal 0 0",
                "Wrong number of arguments in buffer limit configuration.".to_owned(),
            ),
            ("notify-keyspace-events", "foo", "Invalid event class character. Use 'Ag$lshzxeKEtmdn'.".to_owned()),
            ("bind", "a b c d e f g h i j k l m n o p q", "Too many bind addresses specified.".to_owned()),
            (
                "shutdown-on-sigint",
                "",
                "argument(s) must be one of the following: default, save, nosave, now, force".to_owned(),
            ),
            (
                "shutdown-on-sigint",
                "save nosave",
                "shutdown options SAVE and NOSAVE can't be used simultaneously".to_owned(),
            ),
            (
                "latency-tracking-info-percentiles",
                "1 a",
                "Invalid latency-tracking-info-percentiles parameters".to_owned(),
            ),
        ] {
            assert_eq!(set(&mut start(), &[(name, value)]), refused(name, &reason), "{value}");
        }
        assert_eq!(
            set(&mut start(), &[("nosuch", "1")]),
            "ERR Unknown option or number of arguments for CONFIG SET - 'nosuch'"
        );
        assert_eq!(set(&mut start(), &[("HZ", "1"), ("hz", "2")]), refused("hz", "duplicate parameter"));
    }

    #[test]
    fn a_change_of_several_is_whole_or_nothing() {
        let mut config = start();
        let before = config.clone();
        assert_ne!(set(&mut config, &[("timeout", "5"), ("maxclients", "7"), ("port", "x")]), "OK");
        assert_eq!(config, before);
        assert_eq!(set(&mut config, &[("timeout", "5"), ("maxclients", "7")]), "OK");
        assert_eq!((config.clients.idle_timeout_s, config.clients.count_max), (5, 7));
    }

    #[test]
    fn a_change_names_what_differs() {
        let config = start();
        let pairs: [(&[u8], &[u8]); 2] = [(b"timeout", b"5"), (b"maxclients", b"10000")];
        let change = config.change(&pairs, true, &mut FakeMachine::default()).expect("valid");
        assert_eq!(change.names, ["timeout"]);
    }

    #[test]
    fn values_are_shown_as_the_real_server_shows_them() {
        let mut config = start();
        for (name, value, shown) in [
            ("save", "10 1 20 2", "10 1 20 2"),
            ("save", "", ""),
            ("maxmemory", "1k", "1000"),
            ("maxmemory-clients", "5%", "5%"),
            ("hz", "1000", "500"),
            ("loglevel", "WARNING", "warning"),
            ("notify-keyspace-events", "KEA", "AKE"),
            ("shutdown-on-sigint", "nosave now", "nosave now"),
            ("latency-tracking-info-percentiles", "50 99.9990 0.001 100", "50 99.999 0.001 100"),
            ("latency-tracking-info-percentiles", "", ""),
            ("slave-priority", "7", "7"),
            ("replica-priority", "8", "8"),
            ("oom-score-adj-values", "1 2 3", "1 2 3"),
            ("bind", "127.0.0.1 -::1", "127.0.0.1 -::1"),
            ("requirepass", "a b", "a b"),
            (
                "client-output-buffer-limit",
                "replica 1mb 2mb 5 pubsub 1 2 3",
                "normal 0 0 0 slave 1048576 2097152 5 pubsub 1 2 3",
            ),
        ] {
            assert_eq!(set(&mut config, &[(name, value)]), "OK", "{name} {value}");
            assert_eq!(get(&config, name), shown, "{name} {value}");
        }
        assert_eq!(get(&config, "slave-priority"), "8");
    }

    #[test]
    fn patterns_find_old_names_too_and_hidden_directives_only_by_name() {
        let config = start();
        let names = |patterns: &[&[u8]]| config.get(patterns).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        assert_eq!(
            names(&[b"hash-max-*-value", b"HASH-MAX-ZIPLIST-VALUE"]),
            ["hash-max-listpack-value", "hash-max-ziplist-value"]
        );
        assert_eq!(names(&[b"Port", b"port", b"po*"]), ["Port"]);
        assert_eq!(names(&[b"watchdog-*"]), Vec::<String>::new());
        assert_eq!(names(&[b"watchdog-period"]), ["watchdog-period"]);
        assert_eq!(names(&[b"nosuch"]), Vec::<String>::new());
    }

    #[test]
    fn protected_directives_ask_for_the_permission() {
        let mut config = load(&["torc-server", "--enable-protected-configs", "local"]).config;
        let host = &mut FakeMachine::default();
        let pair: [(&[u8], &[u8]); 1] = [(b"dbfilename", b"x.rdb")];
        assert!(config.set(&pair, false, host).is_err());
        assert_eq!(config.set(&pair, true, host), Ok(vec!["dbfilename"]));
    }
}
