//! Why a decision is what it is: data, with words for people.

use std::fmt;
use std::time::Duration;

/// One reason of a decision.
#[derive(Debug, Clone, PartialEq)]
pub enum Reason {
    /// There is nothing to do.
    Nothing,
    /// So much work, to be done in time, needs so many replicas.
    Work(Work),
    /// How long tasks take is not known: a slot for each, and some to spare.
    NoTaskTime {
        /// Tasks ready, waiting in workers and running.
        tasks: u64,
    },
    /// Others take from the same queues.
    Shared {
        /// Slots of this pool.
        own: u64,
        /// Slots of all.
        all: u64,
    },
    /// Far more is needed than there is.
    Panic {
        /// Slots that are needed.
        need: u64,
        /// Slots there are.
        slots: u64,
    },
    /// The oldest message has waited too long.
    Late {
        /// For how long.
        age: Duration,
        /// How long it may.
        target: Duration,
    },
    /// There are fewer tasks than slots that would be needed.
    FewTasks {
        /// How many.
        tasks: u64,
    },
    /// So many tasks run.
    Running {
        /// How many.
        active: u64,
    },
    /// One replica stays, or comes, because of what is left.
    KeepsOne {
        /// Tasks that wait in workers for their time.
        scheduled: u64,
        /// Messages delivered and not acknowledged.
        unacked: u64,
    },
    /// More are wanted than may be.
    AtMax {
        /// How many are wanted.
        wanted: u32,
        /// How many may be.
        max: u32,
    },
    /// Fewer are wanted than must be.
    AtMin {
        /// How many must be.
        min: u32,
    },
    /// More are wanted than may come at once.
    UpLimit {
        /// How many are wanted.
        wanted: u32,
        /// How many it may be now.
        allowed: u32,
    },
    /// Fewer are wanted, and nobody goes.
    Holds {
        /// How many are wanted.
        wanted: u32,
        /// Why nobody goes.
        held: Held,
    },
    /// Workers are to go.
    Retires {
        /// How many, those that are on their way among them.
        workers: u32,
    },
    /// Workers are to go, and not for all of them one was found.
    NoVictim {
        /// How many are to go.
        wanted: u32,
        /// How many were found.
        found: u32,
    },
    /// Workers that were on their way out stay.
    Keeps {
        /// How many.
        workers: u32,
    },
    /// What is known is too old to act on.
    Stale {
        /// What of it.
        why: String,
    },
    /// Scaling is paused.
    Paused,
    /// It is only said what would be done.
    DryRun {
        /// How many replicas there would be.
        replicas: u32,
    },
}

/// Work, and what it needs.
#[derive(Debug, Clone, PartialEq)]
pub struct Work {
    /// Messages ready, of this pool's share, and tasks that wait in its workers.
    pub backlog: u64,
    /// Arrivals a second, of this pool's share.
    pub arrivals: f64,
    /// Seconds of a slot that a task takes.
    pub service_time: f64,
    /// How long a message may wait.
    pub target: Duration,
    /// Replicas it takes.
    pub replicas: f64,
}

/// Why nobody goes although fewer are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Held {
    /// More were wanted a while ago.
    Window {
        /// How many.
        highest: u32,
        /// Since when, at most.
        window: Duration,
        /// For how much longer that counts.
        left: Duration,
    },
    /// What was wanted before is not known yet.
    Watching {
        /// For how much longer.
        left: Duration,
    },
    /// There was a panic.
    Panic {
        /// For how much longer it holds.
        left: Duration,
    },
    /// Another pod than the one that was drained has gone.
    WrongVictim {
        /// For how much longer that counts.
        left: Duration,
    },
    /// Workers cannot be drained.
    CannotDrain,
}

impl Reason {
    /// In one word, for conditions, Events and labels.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Nothing => "NothingToDo",
            Self::Work(_) => "Work",
            Self::NoTaskTime { .. } => "NoTaskTime",
            Self::Shared { .. } => "SharedQueues",
            Self::Panic { .. } => "Panic",
            Self::Late { .. } => "Late",
            Self::FewTasks { .. } => "FewTasks",
            Self::Running { .. } => "Running",
            Self::KeepsOne { .. } => "KeepsOne",
            Self::AtMax { .. } => "AtMax",
            Self::AtMin { .. } => "AtMin",
            Self::UpLimit { .. } => "UpLimit",
            Self::Holds { held, .. } => held.word(),
            Self::Retires { .. } => "Retires",
            Self::NoVictim { .. } => "NoVictim",
            Self::Keeps { .. } => "Keeps",
            Self::Stale { .. } => "Stale",
            Self::Paused => "Paused",
            Self::DryRun { .. } => "DryRun",
        }
    }
}

impl Held {
    fn word(&self) -> &'static str {
        match self {
            Self::Window { .. } => "DownWindow",
            Self::Watching { .. } => "Watching",
            Self::Panic { .. } => "PanicHolds",
            Self::WrongVictim { .. } => "WrongVictim",
            Self::CannotDrain => "CannotDrain",
        }
    }
}

/// A time with as many digits as a person wants: `250ms`, `4.2s`, `30s`, `12m`.
struct Short(f64);

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0;
        if seconds < 1.0 {
            write!(f, "{:.0}ms", seconds * 1_000.0)
        } else if seconds < 10.0 && seconds.fract() >= 0.05 {
            write!(f, "{seconds:.1}s")
        } else if seconds < 120.0 {
            write!(f, "{seconds:.0}s")
        } else {
            write!(f, "{:.0}m", seconds / 60.0)
        }
    }
}

fn short(time: Duration) -> Short {
    Short(time.as_secs_f64())
}

fn plural(count: impl Into<u64>, one: &str) -> String {
    match count.into() {
        1 => format!("1 {one}"),
        count => format!("{count} {one}s"),
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("nothing is waiting, running or to come"),
            Self::Work(work) => work.fmt(f),
            Self::NoTaskTime { tasks } => write!(
                f,
                "how long a task takes is not known yet: {} get a slot each",
                plural(*tasks, "task")
            ),
            Self::Shared { own, all } => write!(
                f,
                "others take from the same queues: {own} of {all} slots are this pool's"
            ),
            Self::Panic { need, slots } => write!(
                f,
                "{} are needed at once, there are {slots}",
                plural(*need, "slot")
            ),
            Self::Late { age, target } => write!(
                f,
                "the oldest message has waited {}, more than {}",
                short(*age),
                short(*target)
            ),
            Self::FewTasks { tasks } => write!(
                f,
                "there are only {}, and no more slots are of use",
                plural(*tasks, "task")
            ),
            Self::Running { active } => {
                write!(f, "{} running", plural(*active, "task"))
            }
            Self::KeepsOne { scheduled, unacked } => keeps_one(f, *scheduled, *unacked),
            Self::AtMax { wanted, max } => {
                write!(f, "{} wanted, max is {max}", plural(*wanted, "replica"))
            }
            Self::AtMin { min } => write!(f, "min is {min}"),
            Self::UpLimit { wanted, allowed } => write!(
                f,
                "{} wanted, {allowed} for now: no more than 4, or as many as there are, come within 15s",
                plural(*wanted, "replica")
            ),
            Self::Holds { wanted, held } => {
                write!(f, "{} would do, but {held}", plural(*wanted, "replica"))
            }
            Self::Retires { workers } => {
                write!(f, "{} to finish and go", plural(*workers, "worker"))
            }
            Self::NoVictim { wanted, found } => write!(
                f,
                "{} to go, {found} found that can: of the others nothing is known",
                plural(*wanted, "worker")
            ),
            Self::Keeps { workers } => {
                write!(
                    f,
                    "{} kept that had begun to go",
                    plural(*workers, "worker")
                )
            }
            Self::Stale { why } => write!(f, "nothing is done on old numbers: {why}"),
            Self::Paused => f.write_str("scaling is paused"),
            Self::DryRun { replicas } => {
                write!(f, "dry run: it would be {}", plural(*replicas, "replica"))
            }
        }
    }
}

fn keeps_one(f: &mut fmt::Formatter<'_>, scheduled: u64, unacked: u64) -> fmt::Result {
    if scheduled > 0 {
        let tasks = plural(scheduled, "task");
        return write!(f, "one replica for {tasks} waiting for a time to run at");
    }
    let messages = plural(unacked, "message");
    write!(f, "one replica for {messages} that nobody has acknowledged")
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "backlog {} at {} each",
            self.backlog,
            Short(self.service_time)
        )?;
        if self.arrivals >= 0.05 {
            write!(f, " and {:.1} more a second need", self.arrivals)?;
        } else {
            f.write_str(" needs")?;
        }
        match self.replicas {
            few if few < 0.1 => f.write_str(" less than 0.1 replicas")?,
            replicas => write!(f, " {replicas:.1} replicas")?,
        }
        write!(f, " for {} latency", short(self.target))
    }
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Window {
                highest,
                window,
                left,
            } => write!(
                f,
                "{highest} {} wanted less than {} ago; {} to go",
                if *highest == 1 { "was" } else { "were" },
                short(*window),
                short(*left)
            ),
            Self::Watching { left } => write!(
                f,
                "what was wanted before is not known; {} to go",
                short(*left)
            ),
            Self::Panic { left } => {
                write!(f, "load has just jumped; {} to go", short(*left))
            }
            Self::WrongVictim { left } => write!(
                f,
                "another pod than the drained one has gone; {} to go",
                short(*left)
            ),
            Self::CannotDrain => f.write_str("workers of this pool cannot be drained"),
        }
    }
}
