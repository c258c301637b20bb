//! Directives whose value is one of a few names, as enums. The order of the names is the order in which an error lists
//! them.

use torc_engine::keyspace::{AccessPolicy, EvictionOrder};

/// An enum with a name for each variant, as configuration files spell them. The first variant is the enum's `Default`;
/// the default of a directive is stated by its row in the table.
macro_rules! choice {
    ($(#[$outer:meta])* $name:ident { $first:ident = $first_text:literal, $($variant:ident = $text:literal,)* }) => {
        $(#[$outer])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[allow(missing_docs)]
        pub enum $name { #[default] $first, $($variant,)* }
        impl $name {
            pub(super) const ALL: &'static [Self] = &[Self::$first, $(Self::$variant,)*];
            pub(super) const NAMES: &'static [&'static str] = &[$first_text, $($text,)*];
            /// As configuration files spell it.
            pub fn name(self) -> &'static str { Self::NAMES[self as usize] }
        }
    };
}

choice! {
    /// `loglevel`: the least important line that is still written.
    LogLevel { Debug = "debug", Verbose = "verbose", Notice = "notice", Warning = "warning", Nothing = "nothing", }
}

choice! {
    /// `syslog-facility`.
    SyslogFacility {
        User = "user", Local0 = "local0", Local1 = "local1", Local2 = "local2", Local3 = "local3", Local4 = "local4",
        Local5 = "local5", Local6 = "local6", Local7 = "local7",
    }
}

impl SyslogFacility {
    /// Its number in the protocol (RFC 3164, 4.1.1).
    pub fn number(self) -> u32 {
        if self == Self::User { 1 } else { 15 + self as u32 }
    }
}

choice! {
    /// `oom-score-adj`.
    OomScoreAdj { No = "no", Yes = "yes", Relative = "relative", Absolute = "absolute", }
}

choice! {
    /// `maxmemory-policy`.
    EvictionPolicy {
        VolatileLru = "volatile-lru", VolatileLfu = "volatile-lfu", VolatileRandom = "volatile-random",
        VolatileTtl = "volatile-ttl", AllKeysLru = "allkeys-lru", AllKeysLfu = "allkeys-lfu",
        AllKeysRandom = "allkeys-random", NoEviction = "noeviction", VolatileLrm = "volatile-lrm",
        AllKeysLrm = "allkeys-lrm",
    }
}

impl EvictionPolicy {
    /// Whether keys carry a frequency counter instead of an access time.
    pub fn is_lfu(self) -> bool {
        matches!(self, Self::VolatileLfu | Self::AllKeysLfu)
    }

    /// Whether it looks at the access clocks of keys.
    pub fn needs_clocks(self) -> bool {
        !matches!(self, Self::VolatileTtl | Self::VolatileRandom | Self::AllKeysRandom | Self::NoEviction)
    }

    /// What the access clocks of keys are to count.
    pub fn access(self, log_factor: u32, decay_minutes: u32) -> AccessPolicy {
        match self {
            Self::VolatileLfu | Self::AllKeysLfu => AccessPolicy::Frequency { log_factor, decay_minutes },
            Self::VolatileLrm | Self::AllKeysLrm => AccessPolicy::Modification,
            _ => AccessPolicy::Recency,
        }
    }

    /// As the keyspace knows it; none is `noeviction`.
    pub fn to_engine(self, samples: u32) -> Option<torc_engine::keyspace::EvictionPolicy> {
        let order = match self {
            Self::VolatileLru | Self::AllKeysLru | Self::VolatileLrm | Self::AllKeysLrm => EvictionOrder::LeastRecent,
            Self::VolatileLfu | Self::AllKeysLfu => EvictionOrder::LeastFrequent,
            Self::VolatileRandom | Self::AllKeysRandom => EvictionOrder::Random,
            Self::VolatileTtl => EvictionOrder::SoonestExpiry,
            Self::NoEviction => return None,
        };
        let volatile_only =
            !matches!(self, Self::AllKeysLru | Self::AllKeysLfu | Self::AllKeysLrm | Self::AllKeysRandom);
        Some(torc_engine::keyspace::EvictionPolicy { order, volatile_only, samples: samples as usize })
    }
}

choice! {
    /// Who may do something dangerous: `enable-protected-configs`, `enable-debug-command`, `enable-module-command`.
    Permission { No = "no", Yes = "yes", Local = "local", }
}

impl Permission {
    /// Whether a client may, given where it connects from.
    pub fn allows(self, client_is_local: bool) -> bool {
        self == Self::Yes || self == Self::Local && client_is_local
    }
}

choice! {
    /// `supervised`: who watches the process.
    Supervisor { Upstart = "upstart", Systemd = "systemd", Auto = "auto", No = "no", }
}

choice! {
    /// `appendfsync`.
    AppendFsync { EverySecond = "everysec", Always = "always", No = "no", }
}

choice! {
    /// `tls-auth-clients`: whether clients must have a certificate.
    ClientAuth { No = "no", Yes = "yes", Optional = "optional", }
}

choice! {
    /// `tls-auth-clients-user`: the field of a client's certificate that names its user.
    CertificateUser { Off = "off", CommonName = "CN", Uri = "URI", }
}
