//! Rights, and the roles that a token file grants them by. Pure.

/// What one may be allowed to do. Each is of its own: none includes another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Right {
    /// To see apps, workers, queues, tasks and commands, without payloads.
    Read,
    /// To see what tasks carry: arguments, results, exceptions, custom fields; samples of messages that could not be read;
    /// a worker's configuration; answers of workers and arguments of commands in which such things are.
    Payload,
    /// To have workers asked: `ping` and Celery's inspect commands.
    Inspect,
    /// To change how workers work, in ways that end no task: pool size, consumers, rate and time limits, events.
    Tune,
    /// To end or prevent work: revoke, shut down, restart a pool; and an app's own commands, of which nothing is known.
    Terminate,
    /// To report what an inspector sees.
    Ingest,
    /// To read `/metrics`, which are of all apps.
    Metrics,
}

impl Right {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Read,
        Self::Payload,
        Self::Inspect,
        Self::Tune,
        Self::Terminate,
        Self::Ingest,
        Self::Metrics,
    ];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Payload => "payload",
            Self::Inspect => "inspect",
            Self::Tune => "tune",
            Self::Terminate => "terminate",
            Self::Ingest => "ingest",
            Self::Metrics => "metrics",
        }
    }
}

/// Rights that go together, as a token file names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, clap::ValueEnum)]
pub enum Role {
    /// Sees everything but payloads.
    Viewer,
    /// Sees payloads too.
    Reader,
    /// As viewer; asks workers, and changes how they work.
    Tuner,
    /// As tuner; ends and prevents work too.
    Operator,
    /// Reports what an inspector sees.
    Inspector,
    /// Reads `/metrics`; of all apps only.
    Metrics,
}

impl Role {
    /// What it may do.
    pub fn rights(self) -> &'static [Right] {
        match self {
            Self::Viewer => &[Right::Read],
            Self::Reader => &[Right::Read, Right::Payload],
            Self::Tuner => &[Right::Read, Right::Inspect, Right::Tune],
            Self::Operator => &[Right::Read, Right::Inspect, Right::Tune, Right::Terminate],
            Self::Inspector => &[Right::Ingest],
            Self::Metrics => &[Right::Metrics],
        }
    }

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Reader => "reader",
            Self::Tuner => "tuner",
            Self::Operator => "operator",
            Self::Inspector => "inspector",
            Self::Metrics => "metrics",
        }
    }

    /// The role of that name.
    pub fn named(name: &str) -> Option<Self> {
        use clap::ValueEnum as _;
        let mut all = Self::value_variants().iter().copied();
        all.find(|role| role.as_str() == name)
    }
}
