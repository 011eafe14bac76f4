use std::io::Write;

use clap::FromArgMatches;

use super::*;
use celeriac_process::{error_chain, with_environment};

use crate::args::{Cli, Command, ENVIRONMENT};

fn run(arguments: &[&str]) -> Result<RunConfig, String> {
    let command = with_environment(<Cli as clap::CommandFactory>::command(), ENVIRONMENT);
    let line = ["celeriac-inspector", "run"].iter().chain(arguments);
    let matches = command
        .try_get_matches_from(line)
        .map_err(|error| error.to_string())?;
    let cli = Cli::from_arg_matches(&matches).map_err(|error| error.to_string())?;
    let Command::Run(args) = cli.command else {
        return Err("not run".into());
    };
    RunConfig::try_from(args).map_err(|error| error_chain(&error))
}

const MINIMAL: [&str; 4] = [
    "--broker",
    "redis://:secret@broker/3",
    "--aggregator",
    "127.0.0.1:5555",
];

fn with(more: &[&'static str]) -> Result<RunConfig, String> {
    let line: Vec<&str> = MINIMAL.iter().chain(more).copied().collect();
    run(&line)
}

#[test]
fn the_least_that_must_be_typed_is_broker_and_aggregator() {
    let config = run(&MINIMAL).expect("it is enough");
    assert_eq!(config.inspector.app, "default");
    assert_eq!(config.inspector.instance, "default");
    assert_eq!(
        config.inspector.identity().source.endpoint,
        "redis://broker:6379/3"
    );
    assert_eq!(config.listen, None);
    let options = &config.inspector.options;
    assert_eq!(options.limits, Limits::default());
    assert_eq!(options.buffer_bytes_max, 32 * 1024 * 1024);
    let topology = options.topology(&config.inspector.broker);
    assert_eq!(topology.control_channel(), "/3.celery.pidbox");
}

#[test]
fn names_on_the_broker_follow_the_options() {
    let config = with(&[
        "--transport-option",
        "global_keyprefix=shop:",
        "--control-exchange",
        "shop",
        "--event-exchange",
        "shopev",
    ]);
    let config = config.expect("the options are known");
    let topology = config.inspector.options.topology(&config.inspector.broker);
    assert_eq!(topology.control_channel(), "shop:/3.shop.pidbox");
    assert_eq!(topology.event_exchange(), "shopev");
}

#[test]
fn what_cannot_be_used_is_said_with_the_way_out_and_without_secrets() {
    for (more, expected) in [
        (
            ["--budget", "0"],
            "--budget must be a number from 0.01 to 1000000",
        ),
        (
            ["--budget", "NaN"],
            "--budget must be a number from 0.01 to 1000000",
        ),
        (
            ["--destinations", "0"],
            "--destinations must be a number from 1 to 1000",
        ),
        (["--round", "1s"], "--round must be a time from 5s to 24h"),
        (
            ["--buffer", "0"],
            "--buffer must be a number of MiB from 1 to 65536",
        ),
        (
            ["--app", "my shop"],
            "--app must be 1 to 253 visible ASCII characters without spaces",
        ),
    ] {
        let line: Vec<&'static str> = more.to_vec();
        assert_eq!(with(&line).unwrap_err(), expected);
    }
    let wrong = run(&["--broker", "valkey://:secret@h", "--aggregator", "a:1"]).unwrap_err();
    assert!(
        wrong.contains("valkey") && !wrong.contains("secret"),
        "{wrong}"
    );
}

#[test]
fn broker_and_broker_file_exclude_each_other_and_one_is_needed() {
    assert!(run(&["--aggregator", "a:1"]).is_err());
    assert!(with(&["--broker-file", "f"]).is_err());
}

#[test]
fn a_broker_file_holds_one_url() {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    writeln!(file, "redis://:secret@from-file/1").expect("it is written");
    let path = file.path().to_str().expect("an ASCII path").to_owned();
    let config = run(&["--broker-file", &path, "--aggregator", "a:1"]).expect("it is read");
    assert_eq!(
        config.inspector.broker.endpoint(),
        "redis://from-file:6379/1"
    );
    let missing = run(&["--broker-file", "/nonexistent/url", "--aggregator", "a:1"]);
    let missing = missing.unwrap_err();
    assert!(missing.starts_with("cannot read the broker's URL from /nonexistent/url: "));
}
