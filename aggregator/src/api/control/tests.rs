//! Composition against what Celery's own client sent (`tests/fixtures/redis-pidbox.jsonl`), and what is refused.

use celeriac_proto::v1::execute_command_request::Command;
use serde_json::{Value, json};
use tonic::Code;

use super::compose::{Composed, compose};
use super::*;

/// The requests of a recording: method and arguments.
fn recorded() -> Vec<(String, Value)> {
    let file = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../tests/fixtures/redis-pidbox.jsonl"
    );
    let lines = std::fs::read_to_string(file).expect("the recording is in the tree");
    let line = |line: &str| -> Option<(String, Value)> {
        let line: Value = serde_json::from_str(line).expect("JSON lines");
        if line["channel"] != "/0.celery.pidbox" {
            return None;
        }
        let envelope: Value = serde_json::from_str(line["payload"].as_str()?).expect("JSON");
        let body = base64_simd::STANDARD
            .decode_to_vec(envelope["body"].as_str()?)
            .expect("base64");
        let body: Value = serde_json::from_slice(&body).expect("JSON");
        Some((
            body["method"].as_str()?.to_owned(),
            body["arguments"].clone(),
        ))
    };
    lines.lines().filter_map(line).collect()
}

fn allowed() -> BTreeSet<String> {
    BTreeSet::from(["nosuch".to_owned()])
}

/// What Celery's client was asked for to send this.
fn asked(method: &str, arguments: &Value) -> Command {
    let text = |key: &str| arguments[key].as_str().unwrap_or_default().to_owned();
    let number = |key: &str| {
        let number = arguments[key].as_i64().unwrap_or_default();
        i32::try_from(number).expect("small")
    };
    match method {
        "ping" => Command::Ping(v1::PingCommand {}),
        "shutdown" => Command::Shutdown(v1::ShutdownCommand {}),
        "enable_events" => Command::EnableEvents(v1::EnableEventsCommand {}),
        "disable_events" => Command::DisableEvents(v1::DisableEventsCommand {}),
        "heartbeat" => Command::Heartbeat(v1::HeartbeatCommand {}),
        "pool_grow" => Command::PoolGrow(v1::PoolGrowCommand { count: number("n") }),
        "pool_shrink" => Command::PoolShrink(v1::PoolShrinkCommand { count: number("n") }),
        "pool_restart" => Command::PoolRestart(v1::PoolRestartCommand::default()),
        "autoscale" => Command::Autoscale(v1::AutoscaleCommand {
            max: number("max"),
            min: number("min"),
        }),
        "add_consumer" => Command::AddConsumer(v1::AddConsumerCommand {
            queue: text("queue"),
            exchange: text("exchange"),
            exchange_type: text("exchange_type"),
            routing_key: text("routing_key"),
        }),
        "cancel_consumer" => Command::CancelConsumer(v1::CancelConsumerCommand {
            queue: text("queue"),
            drain: false,
        }),
        "nosuch" => Command::Custom(v1::CustomCommand {
            name: method.to_owned(),
            arguments_json: String::new(),
        }),
        "rate_limit" | "time_limit" | "revoke" | "revoke_by_stamped_headers" => {
            asked_of_tasks(method, arguments)
        }
        inspect => {
            // What Celery's client fills in by itself is left out.
            let mut given = arguments.clone();
            let given = given.as_object_mut().expect("an object");
            for (key, default) in [
                ("safe", Value::Null),
                ("taskinfoitems", json!([])),
                ("with_defaults", json!(false)),
                ("samples", json!(10)),
            ] {
                if given.get(key) == Some(&default) {
                    given.remove(key);
                }
            }
            Command::Inspect(v1::InspectCommand {
                name: inspect.to_owned(),
                arguments_json: json!(given).to_string(),
            })
        }
    }
}

/// As [`asked`], of those that are about tasks.
fn asked_of_tasks(method: &str, arguments: &Value) -> Command {
    let text = |key: &str| arguments[key].as_str().unwrap_or_default().to_owned();
    let ids = || match &arguments["task_id"] {
        Value::Array(ids) => ids
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect(),
        one => vec![one.as_str().unwrap_or_default().to_owned()],
    };
    let terminate = arguments["terminate"] == true;
    let signal = if terminate {
        text("signal")
    } else {
        String::new()
    };
    let seconds = |key: &str| {
        let seconds = arguments[key].as_i64()?;
        Some(prost_types::Duration { seconds, nanos: 0 })
    };
    match method {
        "rate_limit" => Command::RateLimit(v1::RateLimitCommand {
            task_name: text("task_name"),
            rate_limit: match &arguments["rate_limit"] {
                Value::String(rate) => rate.clone(),
                number => number.to_string(),
            },
        }),
        "time_limit" => Command::TimeLimit(v1::TimeLimitCommand {
            task_name: text("task_name"),
            soft: seconds("soft"),
            hard: seconds("hard"),
        }),
        "revoke" => Command::Revoke(v1::RevokeCommand {
            task_ids: ids(),
            terminate,
            signal,
        }),
        "revoke_by_stamped_headers" => {
            let headers = arguments["headers"].as_object().expect("an object");
            Command::RevokeByStampedHeaders(v1::RevokeByStampedHeadersCommand {
                headers: headers
                    .iter()
                    .map(|(name, all)| {
                        let value = all[0].as_str().expect("a text");
                        (name.clone(), value.to_owned())
                    })
                    .collect(),
                terminate,
                signal,
            })
        }
        other => panic!("{other} is not about tasks"),
    }
}

#[test]
fn celerys_own_client_sends_the_same() {
    let mut compared = BTreeSet::new();
    for (method, mut arguments) in recorded() {
        // `hello` is never sent, `terminate` is `revoke` with another name; three were mistakes made on purpose, and one
        // leaves out the arguments of a command that writes to the worker's disk.
        let mistaken = arguments == json!({"x": 1})
            || (method == "revoke" && arguments == json!({}))
            || arguments["rate_limit"] == "xx";
        if ["hello", "terminate", "objgraph"].contains(&method.as_str()) || mistaken {
            continue;
        }
        let command = asked(&method, &arguments);
        // One id may be a text or a list of one to Celery.
        if let Some(one) = arguments.get("task_id").filter(|ids| ids.is_string()) {
            arguments["task_id"] = json!([one.clone()]);
        }
        let Value::Object(arguments) = arguments else {
            panic!("arguments are objects");
        };
        let ours = compose(&command, &allowed());
        let ours = ours.unwrap_or_else(|status| panic!("{method}: {status}"));
        assert_eq!(
            ours,
            Composed {
                method: method.clone(),
                arguments
            }
        );
        compared.insert(method);
    }
    // 14 that inspect, 14 that control, and one of an app.
    assert_eq!(compared.len(), 29, "{compared:?}");
}

fn refused(command: &Command) -> String {
    let status = compose(command, &allowed()).expect_err("it is refused");
    assert_eq!(status.code(), Code::InvalidArgument);
    status.message().to_owned()
}

fn check(command: &Command, field: &str, says: &str) {
    let message = refused(command);
    assert!(message.starts_with(&format!("{field}: ")), "{message}");
    assert!(message.contains(says), "{message}");
}

fn custom(name: &str, arguments_json: &str) -> Command {
    Command::Custom(v1::CustomCommand {
        name: name.to_owned(),
        arguments_json: arguments_json.to_owned(),
    })
}

fn inspect(name: &str, arguments_json: &str) -> Command {
    Command::Inspect(v1::InspectCommand {
        name: name.to_owned(),
        arguments_json: arguments_json.to_owned(),
    })
}

#[test]
fn what_harms_is_never_sent_in_any_form() {
    for name in ["election", "hello"] {
        check(&custom(name, ""), "custom.name", "never sent");
        check(&inspect(name, ""), "inspect.name", "never sent");
        let allowed = BTreeSet::from([name.to_owned()]);
        assert!(
            compose(&custom(name, ""), &allowed).is_err(),
            "not even when allowed"
        );
    }
    check(&custom("shutdown", ""), "custom.name", "Celery's own");
    check(&custom("flush", ""), "custom.name", "--allow-command flush");
    check(&custom("a b", ""), "custom.name", "Python name");
    check(
        &custom("nosuch", "[1]"),
        "custom.arguments_json",
        "JSON object",
    );
    check(
        &custom("nosuch", "{"),
        "custom.arguments_json",
        "is not JSON",
    );
}

#[test]
fn inspect_commands_take_their_own_arguments_only() {
    check(
        &inspect("ping", ""),
        "inspect.name",
        "use the command `ping`",
    );
    check(
        &inspect("nosuch", ""),
        "inspect.name",
        "one of active, active_queues",
    );
    let field = "inspect.arguments_json";
    check(&inspect("stats", r#"{"x": 1}"#), field, "takes none");
    check(
        &inspect("conf", r#"{"x": 1}"#),
        field,
        "takes with_defaults",
    );
    check(
        &inspect("conf", r#"{"with_defaults": 1}"#),
        field,
        "true or false",
    );
    check(&inspect("query_task", ""), field, "needs the ids");
    check(
        &inspect("query_task", r#"{"ids": []}"#),
        field,
        "1 to 1000 texts",
    );
    check(
        &inspect("query_task", r#"{"ids": [1]}"#),
        field,
        "1 to 1000 texts",
    );
    check(&inspect("memdump", r#"{"samples": 0}"#), field, "1 to 1000");
    check(
        &inspect("objgraph", r#"{"max_depth": 101}"#),
        field,
        "1 to 100",
    );
    let ours = compose(&inspect("objgraph", r#"{"type": "dict"}"#), &allowed());
    assert_eq!(
        Value::Object(ours.expect("it is composed").arguments),
        json!({"num": 200, "max_depth": 10, "type": "dict"})
    );
}

#[test]
fn revoking_is_checked() {
    let revoke = |ids: Vec<String>, terminate: bool, signal: &str| {
        Command::Revoke(v1::RevokeCommand {
            task_ids: ids,
            terminate,
            signal: signal.to_owned(),
        })
    };
    let one = || vec!["a".to_owned()];
    check(&revoke(vec![], false, ""), "revoke.task_ids", "1 to 1000");
    check(
        &revoke(vec!["a".to_owned(); 1_001], false, ""),
        "revoke.task_ids",
        "has 1001",
    );
    check(
        &revoke(vec![String::new()], false, ""),
        "revoke.task_ids",
        "not be empty",
    );
    check(
        &revoke(one(), false, "SIGKILL"),
        "revoke.signal",
        "without `terminate`",
    );
    check(
        &revoke(one(), true, "SIGNOSUCH"),
        "revoke.signal",
        "SIGNOSUCH",
    );
    check(&revoke(one(), true, "sigterm"), "revoke.signal", "sigterm");
    check(&revoke(one(), true, "SIG_DFL"), "revoke.signal", "SIG_DFL");
    for signal in ["KILL", "SIGKILL"] {
        let ours = compose(&revoke(one(), true, signal), &allowed()).expect("a signal");
        assert_eq!(ours.arguments["signal"], "SIGKILL");
    }
    let stamped = |headers: &[(&str, &str)]| {
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Command::RevokeByStampedHeaders(v1::RevokeByStampedHeadersCommand {
            headers: headers.iter().map(own).collect(),
            terminate: false,
            signal: String::new(),
        })
    };
    let field = "revoke_by_stamped_headers.headers";
    check(&stamped(&[]), field, "1 to 1000");
    check(&stamped(&[("user", "")]), field, "not be empty");
}

#[test]
fn numbers_are_bounded() {
    let grow = |count| Command::PoolGrow(v1::PoolGrowCommand { count });
    let shrink = |count| Command::PoolShrink(v1::PoolShrinkCommand { count });
    check(&grow(-1), "pool_grow.count", "is -1");
    check(&grow(1_001), "pool_grow.count", "to 1000");
    check(&shrink(-1), "pool_shrink.count", "is -1");
    let ours = compose(&grow(0), &allowed()).expect("0 is 1");
    assert_eq!(ours.arguments["n"], 1);
    let autoscale = |max, min| Command::Autoscale(v1::AutoscaleCommand { max, min });
    check(&autoscale(0, 0), "autoscale.max", "1 to 1000");
    check(&autoscale(2, 3), "autoscale.min", "0 to max (2)");
    check(&autoscale(2, -1), "autoscale.min", "is -1");
    let time = |soft: Option<i64>, hard: Option<i64>| {
        let span = |seconds| prost_types::Duration { seconds, nanos: 0 };
        Command::TimeLimit(v1::TimeLimitCommand {
            task_name: "shop.add".to_owned(),
            soft: soft.map(span),
            hard: hard.map(span),
        })
    };
    check(&time(Some(0), None), "time_limit.soft", "above 0");
    check(&time(None, Some(-3)), "time_limit.hard", "is -3 s");
    check(
        &time(Some(9), Some(3)),
        "time_limit.soft",
        "hard limit of 3 s",
    );
    let ours = compose(&time(None, None), &allowed()).expect("both are cleared");
    assert_eq!(ours.arguments["soft"], Value::Null);
}

#[test]
fn rate_limits_follow_celerys_grammar() {
    let rate = |text: &str| {
        Command::RateLimit(v1::RateLimitCommand {
            task_name: "shop.add".to_owned(),
            rate_limit: text.to_owned(),
        })
    };
    for bad in [
        "", "xx", "10/d", "10/", "/m", "-1/m", "1e3", "nan", "inf", " 1", "1/m/s", ".",
    ] {
        check(&rate(bad), "rate_limit.rate_limit", "10/m");
    }
    for (text, sent) in [
        ("10/m", json!("10/m")),
        ("0.5/s", json!("0.5/s")),
        ("7", json!("7")),
        ("0", json!(0)),
        ("0/m", json!(0)),
    ] {
        let ours = compose(&rate(text), &allowed()).expect(text);
        assert_eq!(ours.arguments["rate_limit"], sent);
    }
    let nameless = Command::RateLimit(v1::RateLimitCommand::default());
    check(&nameless, "rate_limit.task_name", "not be empty");
}

#[test]
fn queues_and_modules_are_checked() {
    let add = |queue: &str, kind: &str| {
        Command::AddConsumer(v1::AddConsumerCommand {
            queue: queue.to_owned(),
            exchange_type: kind.to_owned(),
            ..Default::default()
        })
    };
    check(&add("", ""), "add_consumer.queue", "not be empty");
    check(
        &add(&"q".repeat(256), ""),
        "add_consumer.queue",
        "255 bytes",
    );
    check(&add("a\nb", ""), "add_consumer.queue", "control character");
    check(
        &add("q", "round-robin"),
        "add_consumer.exchange_type",
        "round-robin",
    );
    let restart = |module: &str| {
        Command::PoolRestart(v1::PoolRestartCommand {
            modules: vec![module.to_owned()],
            reload: true,
        })
    };
    check(
        &restart("os; x"),
        "pool_restart.modules",
        "no Python module",
    );
    check(
        &restart("shop."),
        "pool_restart.modules",
        "no Python module",
    );
    let ours = compose(&restart("shop.tasks"), &allowed()).expect("a module");
    assert_eq!(
        Value::Object(ours.arguments),
        json!({"modules": ["shop.tasks"], "reload": true, "reloader": null})
    );
}
