//! What the API server cannot check: what fields of different kinds mean together. Pure.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::crd::{PoolOptions, Resources};

/// Seconds that a worker has to finish after its hard time limit: Celery kills the task, then the pool ends.
const AFTER_TIME_LIMIT: i64 = 60;

/// Seconds that a worker without a time limit has to finish.
const WITHOUT_TIME_LIMIT: i64 = 3_600;

/// A pool as it is built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValidPool {
    /// How many tasks a worker runs at a time, where that is known.
    pub concurrency: Option<i32>,
    /// Seconds that a worker has to finish its tasks.
    pub grace_seconds: i64,
    /// The fingerprint of the Secrets that its pods read.
    pub secrets: Option<String>,
    /// What works, but not as one may think.
    pub lints: Vec<Lint>,
}

/// Something that works, but not as one may think.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lint {
    /// Which, in one word.
    pub reason: &'static str,
    /// Which, and what to do.
    pub message: String,
}

/// What a pool's options come to.
pub fn pool(options: &PoolOptions, secrets: Option<String>) -> ValidPool {
    let limit = options.time_limit.or(options.soft_time_limit);
    let grace_seconds = options.termination_grace_period_seconds.unwrap_or_else(|| {
        options
            .time_limit
            .map_or(WITHOUT_TIME_LIMIT, |limit| limit + AFTER_TIME_LIMIT)
    });
    let mut lints = Vec::new();
    if let Some(limit) = limit.filter(|limit| *limit > grace_seconds) {
        lints.push(Lint {
            reason: "GraceTooShort",
            message: format!(
                "terminationGracePeriodSeconds {grace_seconds} is shorter than the time limit {limit}: a task that \
                 takes longer is interrupted when its pod is replaced"
            ),
        });
    }
    let concurrency = options
        .concurrency
        .or_else(|| whole_cpus(&options.container.resources));
    if concurrency.is_none() && options.pool != crate::crd::Pool::Solo {
        lints.push(Lint {
            reason: "ConcurrencyOfTheNode",
            message: "neither concurrency nor resources.limits.cpu is set: Celery runs as many tasks at a time as the \
                      node has CPUs"
                .to_owned(),
        });
    }
    let concurrency = concurrency.filter(|_| options.pool != crate::crd::Pool::Solo);
    ValidPool {
        concurrency,
        grace_seconds,
        secrets,
        lints,
    }
}

/// The whole CPUs of a limit, at least one.
fn whole_cpus(resources: &Resources) -> Option<i32> {
    let cpus = match resources.limits.get("cpu")? {
        IntOrString::Int(cpus) => f64::from(*cpus),
        IntOrString::String(text) => match text.strip_suffix('m') {
            Some(thousandths) => thousandths.parse::<f64>().ok()? / 1_000.0,
            None => text.parse().ok()?,
        },
    };
    #[expect(
        clippy::cast_possible_truncation,
        reason = "it is between 1 and 10,000"
    )]
    cpus.is_finite()
        .then(|| cpus.floor().clamp(1.0, 10_000.0) as i32)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn valid(options: &Value) -> ValidPool {
        let options: PoolOptions =
            serde_json::from_value(options.clone()).expect("options of a pool");
        pool(&options, None)
    }

    #[test]
    fn concurrency_is_what_is_said_else_the_whole_cpus_of_the_limit() {
        for (options, expected) in [
            (json!({}), None),
            (
                json!({"concurrency": 3, "resources": {"limits": {"cpu": 8}}}),
                Some(3),
            ),
            (json!({"resources": {"limits": {"cpu": 2}}}), Some(2)),
            (json!({"resources": {"limits": {"cpu": "2500m"}}}), Some(2)),
            (json!({"resources": {"limits": {"cpu": "0.5"}}}), Some(1)),
            (json!({"resources": {"limits": {"cpu": "250m"}}}), Some(1)),
            (json!({"resources": {"limits": {"cpu": "many"}}}), None),
            (
                json!({"pool": "solo", "resources": {"limits": {"cpu": 2}}}),
                None,
            ),
        ] {
            assert_eq!(valid(&options).concurrency, expected, "{options}");
        }
    }

    #[test]
    fn a_worker_has_time_to_finish_and_a_shorter_time_is_told() {
        assert_eq!(valid(&json!({})).grace_seconds, 3_600);
        assert_eq!(valid(&json!({"timeLimit": 300})).grace_seconds, 360);
        let short = valid(
            &json!({"timeLimit": 300, "terminationGracePeriodSeconds": 30, "concurrency": 1}),
        );
        assert_eq!(short.grace_seconds, 30);
        assert_eq!(short.lints[0].reason, "GraceTooShort");
        assert_eq!(valid(&json!({"timeLimit": 30, "concurrency": 1})).lints, []);
    }
}
