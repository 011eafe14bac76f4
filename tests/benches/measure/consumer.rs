//! Who is measured: each started as its users start it, with default settings, on the same Redis.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use celeriac_tests::paths::{self, Profile};
use celeriac_tests::product::http_get;
use celeriac_tests::redis::free_address;
use celeriac_tests::wait::eventually_blocking;
use celeriac_tests::{Aggregator, Inspector, Process, Redis};

use crate::stream::Counts;

/// Flower imports for seconds on a busy machine.
const START: Duration = Duration::from_mins(1);

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `celeriac-aggregator --broker`.
    InProcess,
    /// `celeriac-aggregator` and `celeriac-inspector run`.
    OverGrpc,
    /// `celery flower`.
    Flower,
    /// danihodovic/celery-exporter.
    Exporter,
    /// A subscriber that parses nothing.
    Floor,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::InProcess => "Celeriac, one process",
            Self::OverGrpc => "Celeriac, two, gRPC",
            Self::Flower => "Flower",
            Self::Exporter => "celery-exporter",
            Self::Floor => "floor (parses nothing)",
        }
    }
}

/// A running consumer.
pub(crate) struct Consumer {
    kind: Kind,
    address: SocketAddr,
    processes: Vec<Process>,
    aggregator: Option<Aggregator>,
}

impl Consumer {
    /// Starts it and waits until it is subscribed.
    pub(crate) async fn start(kind: Kind, redis: &Redis, profile: Profile) -> Result<Self> {
        let address = free_address();
        let mut consumer = Self {
            kind,
            address,
            processes: Vec::new(),
            aggregator: None,
        };
        match kind {
            Kind::InProcess => {
                let aggregator = Aggregator::builder().profile(profile).broker(&redis.url());
                consumer.aggregator = Some(aggregator.start().await);
            }
            Kind::OverGrpc => {
                let aggregator = Aggregator::builder().profile(profile).start().await;
                let server = format!("http://{}", aggregator.address());
                let arguments = ["run", "--aggregator", &server, "--app", "default"];
                let inspector = Inspector::start_built(profile, &redis.url(), &arguments);
                consumer.processes.push(inspector.process);
                consumer.aggregator = Some(aggregator);
            }
            Kind::Flower => consumer.processes.push(flower(redis, address)?),
            Kind::Exporter => consumer.processes.push(exporter(redis, address)?),
            Kind::Floor => {
                let this = std::env::current_exe()?;
                consumer
                    .processes
                    .push(Process::start("floor", this, |command| {
                        command.args(["floor", &redis.address().to_string()]);
                    }));
            }
        }
        if let Some(aggregator) = &consumer.aggregator {
            consumer.address = aggregator.address();
            aggregator.subscribed().await;
        }
        eventually_blocking("it subscribes to events", START, || {
            for process in &mut consumer.processes {
                if let Some(status) = process.exited() {
                    panic!("{} ended with {status}:\n{}", kind.name(), process.log());
                }
            }
            let patterns = redis.cli(&["PUBSUB", "NUMPAT"]).number();
            if patterns > 0 {
                Ok(())
            } else {
                Err("no subscription")
            }
        });
        Ok(consumer)
    }

    /// Its processes.
    pub(crate) fn pids(&self) -> Vec<u32> {
        let aggregator = self
            .aggregator
            .iter()
            .map(|aggregator| aggregator.process.pid());
        let others = self.processes.iter().map(Process::pid);
        aggregator.chain(others).collect()
    }

    /// The number by which it says what it has consumed, since it started: events of tasks that it counted, or, of the floor,
    /// bytes.
    pub(crate) fn consumed(&self) -> Result<u64> {
        let prefix = match self.kind {
            Kind::Floor => return Ok(self.floor_bytes()),
            Kind::InProcess | Kind::OverGrpc | Kind::Flower => "flower_events_total{",
            Kind::Exporter => "celery_task_",
        };
        let (status, page) = http_get(self.address, "/metrics")?;
        anyhow::ensure!(status == 200, "/metrics answered {status}");
        let mut sum = 0.0;
        for line in page.lines().filter(|line| line.starts_with(prefix)) {
            let (series, value) = line.rsplit_once(' ').context("a series and a value")?;
            let name = series.split('{').next().unwrap_or_default();
            if name.ends_with("_total") {
                sum += value.parse::<f64>()?;
            }
        }
        whole(sum)
    }

    /// What [`Consumer::consumed`] must be after these.
    pub(crate) fn expected(&self, counts: &Counts, bytes: u64) -> u64 {
        match self.kind {
            Kind::InProcess | Kind::OverGrpc | Kind::Flower => counts.task_events,
            Kind::Exporter => counts.usual_task_events,
            Kind::Floor => bytes,
        }
    }

    /// Its log, for a message about what went wrong.
    pub(crate) fn log(&self) -> String {
        let aggregator = self
            .aggregator
            .iter()
            .map(|aggregator| aggregator.process.log());
        aggregator
            .chain(self.processes.iter().map(Process::log))
            .collect()
    }

    fn floor_bytes(&self) -> u64 {
        let log = self.processes.iter().map(Process::log).collect::<String>();
        log.trim()
            .strip_prefix("bytes ")
            .and_then(|bytes| bytes.parse().ok())
            .unwrap_or_default()
    }
}

fn flower(redis: &Redis, address: SocketAddr) -> Result<Process> {
    let program = environment("flower")?.join("celery");
    let process = Process::start("flower", program, |command| {
        let (host, port) = (address.ip().to_string(), address.port().to_string());
        command.args(["--broker", &redis.url(), "flower"]);
        // Flower's own parser knows only this form.
        command.args([format!("--address={host}"), format!("--port={port}")]);
    });
    Ok(process)
}

fn exporter(redis: &Redis, address: SocketAddr) -> Result<Process> {
    let program = environment("celery-exporter")?.join("python");
    let process = Process::start("celery-exporter", program, |command| {
        let (host, port) = (address.ip().to_string(), address.port().to_string());
        // As its own cli.py does; the package has no console script.
        command.args([
            "-c",
            "from src.cli import cli; cli(auto_envvar_prefix='CE')",
        ]);
        command.args([
            "--broker-url",
            &redis.url(),
            "--host",
            &host,
            "--port",
            &port,
        ]);
    });
    Ok(process)
}

/// The programs of an environment that `tests/benches/run` makes.
fn environment(name: &str) -> Result<PathBuf> {
    let programs = paths::cache().join(format!("venv-{name}")).join("bin");
    if !programs.is_dir() {
        bail!("no {}: run `tests/benches/run`", programs.display());
    }
    Ok(programs)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked to be a whole number that fits"
)]
fn whole(number: f64) -> Result<u64> {
    anyhow::ensure!(
        number.fract() == 0.0 && (0.0..1e15).contains(&number),
        "{number}"
    );
    Ok(number as u64)
}
