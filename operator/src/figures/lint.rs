//! Settings of a pool's workers that do not go with its broker: they work, but not as one may think.

use serde_json::Value;

use super::picture::App;
use crate::crd::status::Truth;
use crate::crd::{PoolOptions, ScalingMode};
use crate::report::Fact;

/// The condition of a pool that says whether its workers' settings go with its broker.
pub const BROKER_LINT: &str = "BrokerLint";

/// After how many seconds Redis' messages are delivered again, unless the app sets `visibility_timeout` (kombu).
const VISIBILITY_TIMEOUT: f64 = 3_600.0;

/// After how many seconds without an acknowledgement RabbitMQ closes a channel, unless its server is set otherwise.
const CONSUMER_TIMEOUT: f64 = 1_800.0;

/// Messages that Celery's workers hold for each slot, unless they are told otherwise.
const PREFETCH_MULTIPLIER: i64 = 4;

/// What of an app's settings matters here. What an app does not set is absent.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Settings {
    /// `visibility_timeout` of `broker_transport_options`, seconds.
    pub visibility_timeout: Option<f64>,
    /// `task_acks_late`: a message is acknowledged when its task has ended.
    pub acks_late: bool,
    /// `task_time_limit`, seconds.
    pub time_limit: Option<f64>,
    /// `worker_prefetch_multiplier`.
    pub prefetch_multiplier: Option<i64>,
}

impl Settings {
    /// Of a worker's configuration as it tells it: a JSON object.
    pub fn read(json: &str) -> Option<Self> {
        let all: Value = serde_json::from_str(json).ok()?;
        let all = all.as_object()?;
        let of = |name: &str| all.get(name).unwrap_or(&Value::Null);
        Some(Self {
            visibility_timeout: of("broker_transport_options")["visibility_timeout"].as_f64(),
            acks_late: of("task_acks_late") == &Value::Bool(true),
            time_limit: of("task_time_limit").as_f64(),
            prefetch_multiplier: of("worker_prefetch_multiplier").as_i64(),
        })
    }
}

/// Whether the settings of a pool's workers go with its broker; `app` while its numbers are of now. Of a broker that the
/// operator runs no task takes longer than its `patient` server waits.
pub fn lint(app: Option<&App>, pool: &str, options: &PoolOptions, patient: bool) -> Fact {
    let unknown = |message: &str| Fact::new(BROKER_LINT, Truth::Unknown, "NotKnown", message);
    let Some(app) = app else {
        return unknown("nothing is known of its workers at present");
    };
    let mut of_pool = app
        .settings
        .iter()
        .filter(|(worker, _)| super::is_of_pool(worker, pool));
    let Some((_, settings)) = of_pool.next() else {
        return unknown("no worker has told its settings yet");
    };
    let transport = app.broker.as_ref().map(|broker| broker.transport.as_str());
    let found: Vec<(&str, String)> = [
        again(
            transport.filter(|one| *one != "amqp" || !patient),
            options,
            settings,
        ),
        hidden(options, settings),
    ]
    .into_iter()
    .flatten()
    .collect();
    let Some((reason, _)) = found.first() else {
        let message = "the settings go with the broker";
        return Fact::new(BROKER_LINT, Truth::False, "NothingFound", message);
    };
    let messages: Vec<&str> = found.iter().map(|(_, message)| message.as_str()).collect();
    Fact::new(BROKER_LINT, Truth::True, reason, messages.join("; "))
}

/// A message that is acknowledged late is delivered again before a long task has ended.
fn again(
    transport: Option<&str>,
    options: &PoolOptions,
    settings: &Settings,
) -> Option<(&'static str, String)> {
    if !settings.acks_late {
        return None;
    }
    let (reason, timeout, way_out) = match transport? {
        "redis" => (
            "VisibilityTimeout",
            settings.visibility_timeout.unwrap_or(VISIBILITY_TIMEOUT),
            "set visibility_timeout of broker_transport_options above the time limit",
        ),
        "amqp" => (
            "ConsumerTimeout",
            CONSUMER_TIMEOUT,
            "raise the server's consumer_timeout above the time limit, unless it is raised already",
        ),
        _ => return None,
    };
    #[expect(
        clippy::cast_precision_loss,
        reason = "the schema bounds it to a year of seconds"
    )]
    let of_pool = options.time_limit.map(|limit| limit as f64);
    let limit = of_pool.or(settings.time_limit);
    let long = match limit {
        Some(limit) if limit <= timeout => return None,
        Some(limit) => format!("the time limit is {limit} s"),
        None => "there is no time limit".to_owned(),
    };
    let message = format!(
        "task_acks_late is on and {long}: a task that takes longer than {timeout} s is delivered again while it runs; \
         {way_out}"
    );
    Some((reason, message))
}

/// Who scales by the length of queues does not see what workers hold.
fn hidden(options: &PoolOptions, settings: &Settings) -> Option<(&'static str, String)> {
    let multiplier = options
        .prefetch_multiplier
        .map(i64::from)
        .or(settings.prefetch_multiplier)
        .unwrap_or(PREFETCH_MULTIPLIER);
    let sees = options.scaling.mode != ScalingMode::External;
    if sees || options.disable_prefetch || multiplier == 1 {
        return None;
    }
    let held = match multiplier {
        0 => "any number of messages".to_owned(),
        some => format!("{some} messages for each slot"),
    };
    let message = format!(
        "a worker holds {held}, which an autoscaler that reads the length of queues does not see; set prefetchMultiplier \
         to 1, or disablePrefetch"
    );
    Some(("PrefetchHidesBacklog", message))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::figures::picture::Broker;

    fn found(transport: &str, options: &Value, configuration: &Value) -> Fact {
        told(transport, options, configuration, false)
    }

    fn told(transport: &str, options: &Value, configuration: &Value, patient: bool) -> Fact {
        let settings = Settings::read(&configuration.to_string()).expect("it is an object");
        let app = App {
            broker: Some(Broker {
                transport: transport.to_owned(),
                reachable: true,
                ..Broker::default()
            }),
            settings: [("celery@shop-mail-6d4f5c7d9-x2k4z".to_owned(), settings)].into(),
            ..App::default()
        };
        let options = serde_json::from_value(options.clone()).expect("options of a pool");
        lint(Some(&app), "shop-mail", &options, patient)
    }

    #[test]
    fn settings_are_held_against_the_broker() {
        let late = json!({"task_acks_late": true});
        let long = json!({"task_acks_late": true, "broker_transport_options": {"visibility_timeout": 43_200}});
        let limited = json!({"task_acks_late": true, "task_time_limit": 600});
        let careful = json!({"worker_prefetch_multiplier": 1});
        let external = json!({"scaling": {"mode": "external"}});
        for (transport, options, configuration, reason) in [
            ("redis", json!({}), json!({}), "NothingFound"),
            ("redis", json!({}), late.clone(), "VisibilityTimeout"),
            (
                "redis",
                json!({"timeLimit": 3_600}),
                late.clone(),
                "NothingFound",
            ),
            (
                "redis",
                json!({"timeLimit": 3_601}),
                late.clone(),
                "VisibilityTimeout",
            ),
            ("redis", json!({"timeLimit": 3_601}), long, "NothingFound"),
            ("redis", json!({}), limited.clone(), "NothingFound"),
            ("amqp", json!({}), limited, "NothingFound"),
            ("amqp", json!({"timeLimit": 3_600}), late, "ConsumerTimeout"),
            ("redis", external.clone(), json!({}), "PrefetchHidesBacklog"),
            ("redis", external, careful, "NothingFound"),
            (
                "redis",
                json!({"scaling": {"mode": "external"}, "disablePrefetch": true}),
                json!({}),
                "NothingFound",
            ),
        ] {
            let fact = found(transport, &options, &configuration);
            assert_eq!(fact.reason, reason, "{transport} {options} {configuration}");
            assert_eq!(fact.truth == Truth::False, reason == "NothingFound");
        }
    }

    #[test]
    fn a_rabbitmq_of_ours_waits_for_long_tasks() {
        let late = json!({"task_acks_late": true});
        for (transport, reason) in [("amqp", "NothingFound"), ("redis", "VisibilityTimeout")] {
            assert_eq!(told(transport, &json!({}), &late, true).reason, reason);
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_numbers_and_a_way_out() {
        let late =
            json!({"task_acks_late": true, "broker_transport_options": {"visibility_timeout": 60}});
        let fact = found("redis", &json!({"timeLimit": 90}), &late);
        for part in ["90 s", "60 s", "visibility_timeout"] {
            assert!(fact.message.contains(part), "{}", fact.message);
        }
    }

    #[test]
    fn without_a_worker_that_told_its_settings_nothing_is_said() {
        let options = serde_json::from_value(json!({})).expect("options of a pool");
        for app in [None, Some(&App::default())] {
            assert_eq!(
                lint(app, "shop-mail", &options, false).truth,
                Truth::Unknown
            );
        }
        assert_eq!(Settings::read("[]"), None);
        assert_eq!(Settings::read("no JSON"), None);
    }
}
