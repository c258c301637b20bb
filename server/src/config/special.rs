//! Values with a grammar of their own: their types, how they are read, and how CONFIG GET shows them.

use super::directive::{Context, Reason, one_of, parse_memory};
use super::{Config, Host};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use torc_engine::journal::{EventClass, EventClasses};

type Outcome = Result<(), Reason>;

/// As many addresses as the real server takes.
const BIND_ADDRESSES_MAX: usize = 16;

/// One address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindAddress {
    /// `*` for every IPv4 address, `::*` for every IPv6 address, an address, or a name to look up.
    pub host: String,
    /// Written with a `-` in front: a machine that lacks the address, or its protocol, starts without it.
    pub optional: bool,
}

impl BindAddress {
    fn parse(word: &[u8]) -> Self {
        let text = String::from_utf8_lossy(word);
        match text.strip_prefix('-') {
            Some(host) => Self { host: host.to_owned(), optional: true },
            None => Self { host: text.into_owned(), optional: false },
        }
    }

    /// Whether only this machine reaches it. A name may mean anything, but for one.
    pub fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }

    /// The socket addresses it stands for, looked up by the system where it is a name.
    pub fn resolve(&self, port: u16) -> io::Result<Vec<SocketAddr>> {
        match self.host.as_str() {
            "*" => Ok(vec![SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port)]),
            "::*" => Ok(vec![SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port)]),
            host => (host, port).to_socket_addrs().map(|found| found.take(1).collect()),
        }
    }
}

impl std::fmt::Display for BindAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}", if self.optional { "-" } else { "" }, self.host)
    }
}

fn bind_addresses(words: &[Vec<u8>]) -> Result<Vec<BindAddress>, Reason> {
    if words.len() > BIND_ADDRESSES_MAX {
        return Err("Too many bind addresses specified.".into());
    }
    let none = matches!(words, [only] if only.is_empty());
    Ok(if none { Vec::new() } else { words.iter().map(|word| BindAddress::parse(word)).collect() })
}

pub(super) fn set_bind(config: &mut Config, words: &[Vec<u8>], _: &mut Context<'_>) -> Outcome {
    config.network.bind = bind_addresses(words)?;
    Ok(())
}

pub(super) fn get_bind(config: &Config) -> Vec<u8> {
    joined(&config.network.bind)
}

pub(super) fn set_admin_bind(config: &mut Config, words: &[Vec<u8>], _: &mut Context<'_>) -> Outcome {
    config.admin.bind = bind_addresses(words)?;
    Ok(())
}

pub(super) fn get_admin_bind(config: &Config) -> Vec<u8> {
    joined(&config.admin.bind)
}

/// As a field of HTTP can carry it.
pub(super) fn check_token(token: &[u8]) -> Outcome {
    if token.iter().all(u8::is_ascii_graphic) {
        Ok(())
    } else {
        Err("a token has visible ASCII characters only".into())
    }
}

/// `save`: write a snapshot after this many changes in this long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavePoint {
    /// At least one.
    pub seconds: u32,
    /// Changes since the last snapshot.
    pub changes: u32,
}

pub(super) fn set_save(config: &mut Config, words: &[Vec<u8>], context: &mut Context<'_>) -> Outcome {
    const REFUSAL: &str = "Invalid save parameters";
    let clears = matches!(words, [only] if only.is_empty());
    let words = if clears { &[] } else { words };
    if words.len() % 2 != 0 {
        return Err(REFUSAL.into());
    }
    let mut points = Vec::new();
    for pair in words.chunks_exact(2) {
        let number = |word: &[u8]| loose_integer(word).and_then(|number| u32::try_from(number).ok());
        match (number(&pair[0]), number(&pair[1])) {
            (Some(seconds @ 1..), Some(changes)) => points.push(SavePoint { seconds, changes }),
            _ => return Err(REFUSAL.into()),
        }
    }
    let replaces = clears || context.at_run_time || std::mem::take(&mut context.first_save);
    if replaces {
        config.persistence.save.clear();
    }
    config.persistence.save.append(&mut points);
    Ok(())
}

pub(super) fn get_save(config: &Config) -> Vec<u8> {
    let points = config.persistence.save.iter();
    joined(&points.map(|point| format!("{} {}", point.seconds, point.changes)).collect::<Vec<_>>())
}

/// How much output may wait for one class of clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutputLimit {
    /// Closes the client at once; 0 is no limit.
    pub hard_bytes: u64,
    /// Closes the client that stays above it for `soft_seconds`; 0 is no limit.
    pub soft_bytes: u64,
    /// How long.
    pub soft_seconds: u32,
}

/// `client-output-buffer-limit`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutputLimits {
    /// Ordinary clients.
    pub normal: OutputLimit,
    /// Replicas.
    pub replica: OutputLimit,
    /// Subscribers.
    pub pubsub: OutputLimit,
}

pub(super) fn set_output_limits(config: &mut Config, words: &[Vec<u8>], _: &mut Context<'_>) -> Outcome {
    // CONFIG SET hands an empty value over as one empty word; it changes nothing.
    let words = if matches!(words, [only] if only.is_empty()) { &[] } else { words };
    if words.len() % 4 != 0 {
        return Err("Wrong number of arguments in buffer limit configuration.".into());
    }
    let mut limits = config.clients.output_limits;
    for group in words.chunks_exact(4) {
        let class = match group[0].to_ascii_lowercase().as_slice() {
            b"normal" => &mut limits.normal,
            b"slave" | b"replica" => &mut limits.replica,
            b"pubsub" => &mut limits.pubsub,
            _ => return Err("Invalid client class specified in buffer limit configuration.".into()),
        };
        let seconds = loose_integer(&group[3]).and_then(|seconds| u32::try_from(seconds).ok());
        *class = match (parse_memory(&group[1]), parse_memory(&group[2]), seconds) {
            (Some(hard_bytes), Some(soft_bytes), Some(soft_seconds)) => {
                OutputLimit { hard_bytes, soft_bytes, soft_seconds }
            }
            _ => return Err("Error in hard, soft or soft_seconds setting in buffer limit configuration.".into()),
        };
    }
    config.clients.output_limits = limits;
    Ok(())
}

pub(super) fn get_output_limits(config: &Config) -> Vec<u8> {
    let limits = &config.clients.output_limits;
    let classes = [("normal", limits.normal), ("slave", limits.replica), ("pubsub", limits.pubsub)];
    let shown =
        classes.map(|(name, limit)| format!("{name} {} {} {}", limit.hard_bytes, limit.soft_bytes, limit.soft_seconds));
    joined(&shown)
}

/// `notify-keyspace-events`: which events are published, a bit for each letter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyspaceEvents(u32);

impl KeyspaceEvents {
    /// Letters in the order in which CONFIG GET shows them; `A` stands for the first ten. The last four are the channels of
    /// events with subkeys.
    const LETTERS: &'static [u8; 20] = b"g$lshzxetdKEmnocSTIV";
    const ALL: u32 = (1 << 10) - 1;

    fn parse(word: &[u8]) -> Option<Self> {
        let mut bits = 0;
        for letter in word {
            bits |= match letter {
                b'A' => Self::ALL,
                _ => 1 << Self::LETTERS.iter().position(|known| known == letter)?,
            };
        }
        Some(Self(bits))
    }

    /// Whether the class of that letter is published.
    pub fn has(self, letter: u8) -> bool {
        Self::LETTERS.iter().position(|&known| known == letter).is_some_and(|bit| self.0 & 1 << bit != 0)
    }

    /// Whether there is a channel that tells of the parts of values, too.
    pub fn has_subkeys(self) -> bool {
        b"STIV".iter().any(|letter| self.has(*letter))
    }

    /// The classes that are published: none without a channel to publish them on.
    pub fn classes(self) -> EventClasses {
        const CLASSES: [(u8, EventClass); 13] = [
            (b'g', EventClass::Generic),
            (b'$', EventClass::String),
            (b'l', EventClass::List),
            (b's', EventClass::Set),
            (b'h', EventClass::Hash),
            (b'z', EventClass::SortedSet),
            (b'x', EventClass::Expired),
            (b'e', EventClass::Evicted),
            (b't', EventClass::Stream),
            (b'm', EventClass::Miss),
            (b'n', EventClass::New),
            (b'o', EventClass::Overwritten),
            (b'c', EventClass::TypeChanged),
        ];
        if !(self.has(b'K') || self.has(b'E') || self.has_subkeys()) {
            return EventClasses::default();
        }
        let wanted = CLASSES.iter().filter(|(letter, _)| self.has(*letter));
        wanted.fold(EventClasses::default(), |classes, (_, class)| classes.with(*class))
    }
}

impl std::fmt::Display for KeyspaceEvents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let all = self.0 & Self::ALL == Self::ALL;
        if all {
            f.write_str("A")?;
        }
        let rest = if all { self.0 & !Self::ALL } else { self.0 };
        for (bit, letter) in Self::LETTERS.iter().enumerate() {
            if rest & 1 << bit != 0 {
                write!(f, "{}", char::from(*letter))?;
            }
        }
        Ok(())
    }
}

pub(super) fn set_events(config: &mut Config, words: &[Vec<u8>], _: &mut Context<'_>) -> Outcome {
    let parsed = words.first().and_then(|word| KeyspaceEvents::parse(word));
    config.keyspace.events = parsed.ok_or("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.")?;
    Ok(())
}

pub(super) fn get_events(config: &Config) -> Vec<u8> {
    config.keyspace.events.to_string().into_bytes()
}

pub(super) fn set_directory(config: &mut Config, words: &[Vec<u8>], context: &mut Context<'_>) -> Outcome {
    let word = words.first().map_or(&b""[..], Vec::as_slice);
    if word.is_empty() {
        return Err("dir can't be empty".into());
    }
    let wanted = config.process.directory.join(Path::new(std::ffi::OsStr::from_bytes(word)));
    config.process.directory = context.host.directory(&wanted).map_err(|error| Reason::from(plain_text(&error)))?;
    Ok(())
}

/// An empty default cannot go through [`set_directory`]: where the process starts is the host's to say.
pub(super) fn start_directory(host: &mut dyn Host) -> PathBuf {
    host.directory(Path::new(".")).unwrap_or_else(|_| PathBuf::from("/"))
}

/// What the system says of an error, without Rust's `(os error 2)`.
pub(crate) fn plain_text(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

/// `latency-tracking-info-percentiles`: numbers from 0 to 100.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Percentiles(pub Vec<f64>);

impl Percentiles {
    /// Each as text, without needless zeros.
    pub fn names(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|percentile| {
            let text = format!("{percentile:.6}");
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        })
    }
}

pub(super) fn set_percentiles(config: &mut Config, words: &[Vec<u8>], _: &mut Context<'_>) -> Outcome {
    let words = if matches!(words, [only] if only.is_empty()) { &[] } else { words };
    let mut percentiles = Vec::new();
    for word in words {
        let parsed = std::str::from_utf8(word).ok().and_then(|text| text.parse::<f64>().ok());
        match parsed {
            Some(percentile) if (0.0..=100.0).contains(&percentile) => percentiles.push(percentile),
            Some(percentile) if !percentile.is_nan() => {
                return Err("latency-tracking-info-percentiles parameters should sit between [0.0,100.0]".into());
            }
            _ => return Err("Invalid latency-tracking-info-percentiles parameters".into()),
        }
    }
    config.observation.percentiles = Percentiles(percentiles);
    Ok(())
}

pub(super) fn get_percentiles(config: &Config) -> Vec<u8> {
    joined(&config.observation.percentiles.names().collect::<Vec<_>>())
}

/// `shutdown-on-sigint` and `shutdown-on-sigterm`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShutdownOptions(u8);

impl ShutdownOptions {
    const NAMES: &'static [&'static str] = &["default", "save", "nosave", "now", "force"];

    /// Whether the option of that name is set.
    pub fn has(self, name: &str) -> bool {
        Self::NAMES.iter().position(|known| *known == name).is_some_and(|bit| self.0 & 1 << bit != 0)
    }

    fn parse(words: &[Vec<u8>]) -> Result<Self, Reason> {
        if words.is_empty() {
            return Err(one_of(Self::NAMES));
        }
        let mut bits = 0;
        for word in words {
            let found = Self::NAMES.iter().position(|name| name.as_bytes().eq_ignore_ascii_case(word));
            bits |= 1 << found.ok_or_else(|| one_of(Self::NAMES))?;
        }
        let options = Self(bits & !1);
        if options.has("save") && options.has("nosave") {
            return Err("shutdown options SAVE and NOSAVE can't be used simultaneously".into());
        }
        Ok(options)
    }
}

impl std::fmt::Display for ShutdownOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let set: Vec<&str> = Self::NAMES.iter().copied().filter(|name| self.has(name)).collect();
        f.write_str(if set.is_empty() { "default".to_owned() } else { set.join(" ") }.as_str())
    }
}

pub(super) fn set_on_sigint(config: &mut Config, words: &[Vec<u8>], _: &mut Context<'_>) -> Outcome {
    config.process.on_sigint = ShutdownOptions::parse(words)?;
    Ok(())
}

pub(super) fn get_on_sigint(config: &Config) -> Vec<u8> {
    config.process.on_sigint.to_string().into_bytes()
}

pub(super) fn set_on_sigterm(config: &mut Config, words: &[Vec<u8>], _: &mut Context<'_>) -> Outcome {
    config.process.on_sigterm = ShutdownOptions::parse(words)?;
    Ok(())
}

pub(super) fn get_on_sigterm(config: &Config) -> Vec<u8> {
    config.process.on_sigterm.to_string().into_bytes()
}

pub(super) fn set_oom_scores(config: &mut Config, words: &[Vec<u8>], _: &mut Context<'_>) -> Outcome {
    if words.len() != 3 {
        return Err("wrong number of arguments".into());
    }
    let mut scores = [0; 3];
    for (score, word) in scores.iter_mut().zip(words) {
        let number = loose_integer(word).filter(|number| (-2000..=2000).contains(number));
        *score = number.ok_or("Invalid oom-score-adj-values, elements must be between -2000 and 2000.")? as i32;
    }
    config.process.oom_scores = scores;
    Ok(())
}

pub(super) fn get_oom_scores(config: &Config) -> Vec<u8> {
    config.process.oom_scores.map(|score| score.to_string()).join(" ").into_bytes()
}

pub(super) fn set_replica_of(config: &mut Config, words: &[Vec<u8>], _: &mut Context<'_>) -> Outcome {
    let text = match words {
        [host] if host.is_empty() => Vec::new(),
        [host, port] if host.eq_ignore_ascii_case(b"no") && port.eq_ignore_ascii_case(b"one") => Vec::new(),
        [host, port] => {
            if !loose_integer(port).is_some_and(|port| (0..=65_535).contains(&port)) {
                return Err("Invalid master port".into());
            }
            [host.as_slice(), port.as_slice()].join(&b' ')
        }
        _ => return Err("wrong number of arguments".into()),
    };
    config.kept.insert("replicaof", text);
    Ok(())
}

pub(super) fn get_replica_of(config: &Config) -> Vec<u8> {
    config.kept.get("replicaof").cloned().unwrap_or_default()
}

/// `redis-version`: the version that clients see, for those that choose features by it.
pub(super) fn check_version(word: &[u8]) -> Result<(), Reason> {
    let parts: Vec<&[u8]> = word.split(|&byte| byte == b'.').collect();
    let good = parts.len() == 3
        && parts.iter().all(|part| (1..=3).contains(&part.len()) && part.iter().all(u8::is_ascii_digit));
    if good { Ok(()) } else { Err("argument must be three numbers with dots between them, such as 8.0.0".into()) }
}

pub(super) fn check_database_file(word: &[u8]) -> Result<(), Reason> {
    plain_file_name("dbfilename", "filename", word)
}

pub(super) fn check_append_file(word: &[u8]) -> Result<(), Reason> {
    plain_file_name("appendfilename", "filename", word)
}

pub(super) fn check_append_directory(word: &[u8]) -> Result<(), Reason> {
    plain_file_name("appenddirname", "dirname", word)
}

fn plain_file_name(directive: &str, what: &str, word: &[u8]) -> Result<(), Reason> {
    if word.is_empty() {
        return Err(format!("{directive} can't be empty").into());
    }
    if word.contains(&b'/') || word.contains(&b'\\') {
        return Err(format!("{directive} can't be a path, just a {what}").into());
    }
    Ok(())
}

pub(super) fn check_host_name(word: &[u8]) -> Result<(), Reason> {
    if word.len() >= 256 {
        return Err("Hostnames must be less than 256 characters".into());
    }
    if !word.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.')) {
        return Err("Hostnames may only contain alphanumeric characters, hyphens or dots".into());
    }
    Ok(())
}

/// Text in braces must name something that a process title can show.
pub(super) fn check_title(word: &[u8]) -> Result<(), Reason> {
    const KNOWN: [&str; 7] = ["title", "listen-addr", "server-mode", "port", "tls-port", "unixsocket", "config-file"];
    const REFUSAL: &str = "template format is invalid or contains unknown variables";
    let template = std::str::from_utf8(word).map_err(|_| REFUSAL)?;
    // A title that says nothing but the program's name is refused as an empty one.
    if template.replace("{title}", "").trim().is_empty() {
        return Err(REFUSAL.into());
    }
    for part in template.split('{').skip(1) {
        match part.split_once('}') {
            Some((name, _)) if KNOWN.contains(&name) => {}
            _ => return Err(REFUSAL.into()),
        }
    }
    Ok(())
}

/// Paths from text; an empty text is none.
pub(super) fn optional_path(text: Vec<u8>) -> Option<PathBuf> {
    (!text.is_empty()).then(|| PathBuf::from(std::ffi::OsString::from_vec(text)))
}

/// The text of a path that may be absent.
pub(super) fn path_text(path: Option<&PathBuf>) -> Vec<u8> {
    path.map(|path| path.as_os_str().as_bytes().to_vec()).unwrap_or_default()
}

/// A number within a value of several words, where a plus sign and leading zeros are let pass.
fn loose_integer(word: &[u8]) -> Option<i64> {
    std::str::from_utf8(word).ok()?.parse().ok()
}

fn joined<T: ToString>(parts: &[T]) -> Vec<u8> {
    parts.iter().map(T::to_string).collect::<Vec<_>>().join(" ").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_letters_come_back_in_one_order() {
        for (given, shown) in [
            ("", ""),
            ("KEA", "AKE"),
            ("Elg", "glE"),
            ("EKg$lshzxetdmn", "AKEmn"),
            ("AKnm", "AKmn"),
            ("Kn", "Kn"),
            ("VcToISEh", "hEocSTIV"),
        ] {
            assert_eq!(
                KeyspaceEvents::parse(given.as_bytes()).map(|events| events.to_string()),
                Some(shown.to_owned())
            );
        }
        assert_eq!(KeyspaceEvents::parse(b"foo"), None);
        let classes = |text: &str| KeyspaceEvents::parse(text.as_bytes()).expect("valid").classes();
        assert!(classes("A").is_empty() && classes("K").is_empty());
        assert_eq!(classes("Ehm"), EventClasses::of(&[EventClass::Hash, EventClass::Miss]));
        assert_eq!(classes("So"), EventClasses::of(&[EventClass::Overwritten]));
        assert!(classes("KA").has(EventClass::Stream) && !classes("KA").has(EventClass::New));
    }

    #[test]
    fn addresses_resolve() {
        let all = BindAddress::parse(b"-::*");
        assert!(all.optional);
        assert_eq!(all.resolve(7).expect("an address"), vec!["[::]:7".parse().expect("valid")]);
        let one = BindAddress::parse(b"127.0.0.1");
        assert_eq!(one.resolve(7).expect("an address"), vec!["127.0.0.1:7".parse().expect("valid")]);
    }

    #[test]
    fn versions_and_titles() {
        assert!(check_version(b"8.0.0").is_ok());
        for bad in ["", "8", "8.0", "8.0.0.0", "a.b.c", "8..0", "8.0.0-rc1"] {
            assert!(check_version(bad.as_bytes()).is_err(), "{bad}");
        }
        assert!(check_title(b"{title} {listen-addr}").is_ok());
        assert!(check_title(b"{title").is_err());
        assert!(check_title(b"{nope}").is_err());
    }
}
