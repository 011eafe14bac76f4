//! What the API server cannot check: what fields of different kinds mean together. Pure.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::crd::{BrokerVariant, CeleryBrokerSpec, PoolOptions, Resources};
use crate::error::Error;

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

/// What a RabbitMQ's spec asks for that can be had of nobody here.
///
/// # Errors
/// When it asks for several servers, and it is this operator that runs it.
pub fn rabbitmq(spec: &CeleryBrokerSpec, variant: BrokerVariant) -> Result<(), Error> {
    match (variant, spec.replicas.unwrap_or(1)) {
        (BrokerVariant::RabbitmqCluster, _) | (BrokerVariant::StatefulSet, 1) => Ok(()),
        (BrokerVariant::StatefulSet, replicas) => Err(Error::OneServer { replicas }),
    }
}

/// The bytes of a memory limit.
pub fn memory_limit(resources: &Resources) -> Option<u64> {
    match resources.limits.get("memory")? {
        IntOrString::Int(bytes) => u64::try_from(*bytes).ok(),
        IntOrString::String(text) => bytes(text),
    }
}

/// The bytes of a quantity, such as `1Gi` or `1.5G`. One that is none is refused by the API server where it is used.
pub fn bytes(quantity: &str) -> Option<u64> {
    let digits = quantity
        .find(|letter: char| !letter.is_ascii_digit() && letter != '.')
        .unwrap_or(quantity.len());
    let (number, unit) = quantity.split_at(digits);
    let factor = match unit {
        "" => 1.0,
        "m" => 1e-3,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "T" => 1e12,
        "P" => 1e15,
        "Ki" => 1_024_f64,
        "Mi" => 1_024_f64.powi(2),
        "Gi" => 1_024_f64.powi(3),
        "Ti" => 1_024_f64.powi(4),
        "Pi" => 1_024_f64.powi(5),
        // 1e9
        _ => return quantity.parse().ok().and_then(whole),
    };
    whole(number.parse::<f64>().ok()? * factor)
}

/// A number of bytes, if it can be one.
fn whole(number: f64) -> Option<u64> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is between 1 and 2^60"
    )]
    (1.0..=1_152_921_504_606_846_976.0)
        .contains(&number)
        .then_some(number as u64)
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

    #[test]
    fn quantities_are_read_as_kubernetes_means_them() {
        for (quantity, expected) in [
            ("1Gi", Some(1_073_741_824)),
            ("512Mi", Some(536_870_912)),
            ("1.5G", Some(1_500_000_000)),
            ("1500M", Some(1_500_000_000)),
            ("64Ki", Some(65_536)),
            ("128974848", Some(128_974_848)),
            ("129e6", Some(129_000_000)),
            ("128974848000m", Some(128_974_848)),
            ("0", None),
            ("-1Gi", None),
            ("1Xi", None),
            ("much", None),
            ("", None),
        ] {
            assert_eq!(bytes(quantity), expected, "{quantity}");
        }
    }

    #[test]
    fn several_servers_are_for_rabbitmqs_own_operator() {
        let spec = |replicas: &Value| -> CeleryBrokerSpec {
            serde_json::from_value(json!({"type": "rabbitmq", "replicas": replicas}))
                .expect("a broker's spec")
        };
        let (one, three) = (spec(&json!(1)), spec(&json!(3)));
        for (spec, variant, fits) in [
            (&one, BrokerVariant::StatefulSet, true),
            (&one, BrokerVariant::RabbitmqCluster, true),
            (&three, BrokerVariant::RabbitmqCluster, true),
            (&three, BrokerVariant::StatefulSet, false),
            (&spec(&Value::Null), BrokerVariant::StatefulSet, true),
        ] {
            assert_eq!(rabbitmq(spec, variant).is_ok(), fits, "{variant:?}");
        }
        let refused = rabbitmq(&three, BrokerVariant::StatefulSet).expect_err("it is refused");
        assert_eq!(refused.reason(), "OneServer");
        assert!(
            refused.to_string().starts_with("spec.replicas 3 "),
            "{refused}"
        );
    }
}
