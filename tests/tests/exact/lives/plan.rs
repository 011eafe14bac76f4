//! What happens, before it is told: workers, tasks, attempts.

use proptest::prelude::*;
use serde_json::{Value, json};

/// Some workers and tasks.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) workers: Vec<WorkerPlan>,
    pub(crate) tasks: Vec<TaskPlan>,
}

#[derive(Debug, Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "they are independent choices of a generator"
)]
pub(crate) struct WorkerPlan {
    pub(crate) number: u32,
    /// Its host's clock is ahead by so many steps.
    pub(crate) skew: i32,
    /// It sends heartbeats (not `--without-heartbeat`).
    pub(crate) beats: bool,
    /// When its process ends and another begins.
    pub(crate) restarts: Vec<u32>,
    /// Every process of it has the same id, as in a container.
    pub(crate) in_container: bool,
    /// It says `worker-offline` before that.
    pub(crate) says_goodbye: bool,
    /// When it loses its connection: `worker-offline`, `worker-online`, same process.
    pub(crate) reconnects: Option<u32>,
    /// When somebody asks for a heartbeat.
    pub(crate) asked: Option<u32>,
    /// It says `worker-offline` at the end.
    pub(crate) leaves: bool,
}

#[derive(Debug, Clone)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "they are independent choices of a generator"
)]
pub(crate) struct TaskPlan {
    /// Whether its sender says so.
    pub(crate) sent: bool,
    pub(crate) client: u32,
    pub(crate) name: u8,
    /// The worker has another name for it than its sender.
    pub(crate) shadow: bool,
    /// The task that called it, if it comes before this one.
    pub(crate) parent: Option<usize>,
    pub(crate) eta: bool,
    pub(crate) expires: bool,
    pub(crate) start: u32,
    /// Those after one that is the last are not made.
    pub(crate) attempts: Vec<AttemptPlan>,
}

#[derive(Debug, Clone)]
pub(crate) struct AttemptPlan {
    pub(crate) worker: usize,
    /// Steps until it is received, then until it starts, then until it ends.
    pub(crate) wait: u32,
    pub(crate) reserved: u32,
    pub(crate) runs: u32,
    /// Events the task sends itself.
    pub(crate) progress: u32,
    pub(crate) end: End,
    /// The next one is received before this one says that it is retried.
    pub(crate) next_early: bool,
}

/// How an attempt ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Success,
    Failure,
    Retry,
    /// A hard time limit: two failures.
    HardLimit,
    /// By `revoke(terminate=True)`; Celery 4.4 says it twice.
    Terminated {
        twice: bool,
    },
    /// Revoked or expired when it would have started.
    Revoked {
        expired: bool,
    },
    /// The same before a worker had received it.
    RevokedUnreceived,
    /// Without requeue; Celery 5.7 says `task-failed` just before.
    Rejected {
        failed_too: bool,
    },
    Requeued,
    /// The worker does not know the task.
    Unregistered,
    /// Celery 5.7: the worker's child was lost after it succeeded.
    SuccessWithoutRuntime,
    /// Nothing is said (`Ignore`, a killed worker), and the broker delivers it again.
    Lost,
    /// It succeeds, and is delivered again (a visibility timeout).
    SuccessAgain,
    StillRuns,
    StillWaits,
}

impl End {
    pub(crate) fn runs_again(self) -> bool {
        matches!(
            self,
            Self::Retry | Self::Requeued | Self::Lost | Self::SuccessAgain
        )
    }

    pub(crate) fn never_received(self) -> bool {
        matches!(self, Self::RevokedUnreceived | Self::Unregistered)
    }

    pub(crate) fn never_starts(self) -> bool {
        self.never_received() || matches!(self, Self::Revoked { .. } | Self::StillWaits)
    }

    /// The events at the end.
    pub(crate) fn events(self, runs: u32) -> Vec<(&'static str, Value)> {
        let failed = |text: &str| {
            let traceback = format!("Traceback (most recent call last):\n  …\n{text}\n");
            (
                "task-failed",
                json!({"exception": text, "traceback": traceback}),
            )
        };
        let runtime = f64::from(runs) / 4.0;
        let revoked = |terminated: bool, expired: bool| {
            let signum = terminated.then_some(15);
            let fields = json!({"terminated": terminated, "signum": signum, "expired": expired});
            ("task-revoked", fields)
        };
        match self {
            Self::Success | Self::SuccessAgain => {
                vec![(
                    "task-succeeded",
                    json!({"result": format!("'{runs}'"), "runtime": runtime}),
                )]
            }
            Self::SuccessWithoutRuntime => {
                vec![("task-succeeded", json!({"result": "1", "runtime": null}))]
            }
            Self::Failure => vec![failed("ValueError('boom')")],
            Self::Retry => {
                let text = "ConnectionError('not ready')";
                vec![(
                    "task-retried",
                    json!({"exception": text, "traceback": format!("Traceback\nRetry: {text}\n")}),
                )]
            }
            Self::HardLimit => {
                let text =
                    "Traceback\nbilliard.exceptions.TimeLimitExceeded: TimeLimitExceeded(1,)\n";
                let twice = (
                    "task-failed",
                    json!({"exception": "ExceptionWithTraceback()", "traceback": text}),
                );
                vec![twice.clone(), twice]
            }
            Self::Terminated { twice } => vec![revoked(true, false); 1 + usize::from(twice)],
            Self::Revoked { expired } => vec![revoked(false, expired)],
            Self::RevokedUnreceived => vec![revoked(false, false)],
            Self::Rejected { failed_too } => {
                let rejected = ("task-rejected", json!({"requeue": false}));
                if failed_too {
                    vec![failed("Reject('no', requeue=False)"), rejected]
                } else {
                    vec![rejected]
                }
            }
            Self::Requeued => vec![("task-rejected", json!({"requeue": true}))],
            Self::Unregistered => vec![(
                "task-failed",
                json!({"exception": "NotRegistered('shop.x')"}),
            )],
            Self::Lost | Self::StillRuns | Self::StillWaits => Vec::new(),
        }
    }
}

fn end() -> impl Strategy<Value = End> {
    prop_oneof![
        6 => Just(End::Success),
        3 => Just(End::Failure),
        8 => Just(End::Retry),
        1 => Just(End::HardLimit),
        1 => any::<bool>().prop_map(|twice| End::Terminated { twice }),
        1 => any::<bool>().prop_map(|expired| End::Revoked { expired }),
        1 => Just(End::RevokedUnreceived),
        1 => any::<bool>().prop_map(|failed_too| End::Rejected { failed_too }),
        2 => Just(End::Requeued),
        1 => Just(End::Unregistered),
        1 => Just(End::SuccessWithoutRuntime),
        1 => Just(End::Lost),
        1 => Just(End::SuccessAgain),
        1 => Just(End::StillRuns),
        1 => Just(End::StillWaits),
    ]
}

fn attempt() -> impl Strategy<Value = AttemptPlan> {
    (
        0..3_usize,
        0..3_u32,
        0..3_u32,
        1..5_u32,
        prop_oneof![3 => Just(0), 1 => 1..4_u32],
        end(),
        any::<bool>(),
    )
        .prop_map(
            |(worker, wait, reserved, runs, progress, end, next_early)| AttemptPlan {
                worker,
                // A worker does not receive it twice at the same time.
                wait: wait + 1,
                reserved,
                runs,
                progress,
                end,
                next_early,
            },
        )
}

fn task() -> impl Strategy<Value = TaskPlan> {
    let request = (
        any::<bool>(),
        0..2_u32,
        0..3_u8,
        proptest::bool::weighted(0.2),
    );
    let more = (
        proptest::option::weighted(0.3, 0..4_usize),
        proptest::bool::weighted(0.2),
        proptest::bool::weighted(0.2),
    );
    (
        request,
        more,
        0..24_u32,
        prop::collection::vec(attempt(), 1..5),
    )
        .prop_map(
            |((sent, client, name, shadow), (parent, eta, expires), start, attempts)| TaskPlan {
                sent,
                client,
                name,
                shadow,
                parent,
                eta,
                expires,
                start,
                attempts,
            },
        )
}

fn worker() -> impl Strategy<Value = WorkerPlan> {
    let restarts = prop_oneof![4 => Just(Vec::new()), 1 => prop::collection::btree_set(1..40_u32, 1..3).prop_map(|all| all.into_iter().collect())];
    let sometimes = || proptest::option::weighted(0.25, 1..40_u32);
    let rest = (
        proptest::bool::weighted(0.85),
        any::<bool>(),
        proptest::bool::weighted(0.3),
    );
    (-12..12_i32, restarts, sometimes(), sometimes(), rest).prop_map(
        |(skew, restarts, reconnects, asked, (beats, says_goodbye, leaves))| WorkerPlan {
            number: 0,
            skew,
            beats,
            restarts,
            in_container: false,
            says_goodbye,
            reconnects,
            asked,
            leaves,
        },
    )
}

/// A plan of workers in containers, all with heartbeats: nothing else tells their lives apart.
pub(crate) fn plan_in_containers() -> impl Strategy<Value = Plan> {
    let restarts = prop::collection::vec(prop::collection::btree_set(1..40_u32, 1..4), 3);
    (plan(), restarts).prop_map(|(mut plan, restarts)| {
        for (worker, restarts) in plan.workers.iter_mut().zip(restarts) {
            worker.in_container = true;
            worker.beats = true;
            worker.restarts = restarts.into_iter().collect();
        }
        plan
    })
}

/// Any plan, each process with an id of its own.
pub(crate) fn plan() -> impl Strategy<Value = Plan> {
    (
        prop::collection::vec(worker(), 1..4),
        prop::collection::vec(task(), 1..5),
    )
        .prop_map(|(mut workers, tasks)| {
            for (number, worker) in (0..).zip(&mut workers) {
                worker.number = number;
            }
            Plan { workers, tasks }
        })
}
