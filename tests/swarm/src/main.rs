//! `celeriac-swarm`: simulated workers on a broker until Ctrl-C, with a line of figures now and then.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use celeriac_swarm::{Broker, Counts, Fleet};
use clap::Parser;
use tokio::time::{Instant, interval_at, sleep, timeout};

/// Workers that have not said good-bye by then are left.
const GOODBYE: Duration = Duration::from_secs(30);

/// Simulated Celery workers on a broker: they send events and heartbeats and answer remote control as real ones do.
#[derive(Parser)]
#[command(name = "celeriac-swarm", version)]
struct Args {
    /// The broker, redis://… or amqp://…; with a password in it, give it in the environment or by --broker-file.
    #[arg(
        long,
        env = "CELERIAC_SWARM_BROKER",
        hide_env_values = true,
        conflicts_with = "broker_file"
    )]
    broker: Option<String>,
    /// A file that holds the broker's URL.
    #[arg(long, value_name = "FILE")]
    broker_file: Option<PathBuf>,
    /// How many workers.
    #[arg(long, default_value_t = 100)]
    workers: usize,
    /// Tasks that all workers together begin in a second; each makes about three events.
    #[arg(long, default_value_t = 0.0)]
    tasks_per_second: f64,
    /// Workers are called celery@PREFIX0 and so on.
    #[arg(long, default_value = "sim")]
    prefix: String,
    /// They come on line one after the other within so many seconds.
    #[arg(long, default_value_t = 5.0)]
    online_over: f64,
    /// No task events until somebody enables them, as without -E.
    #[arg(long)]
    no_events: bool,
    /// As with --without-heartbeat.
    #[arg(long)]
    no_heartbeats: bool,
    /// End after so many seconds; without it, at Ctrl-C.
    #[arg(long)]
    seconds: Option<f64>,
    /// Seconds between two lines of figures.
    #[arg(long, default_value_t = 5.0)]
    every: f64,
    /// Chance follows from this number.
    #[arg(long, default_value_t = 7)]
    seed: u64,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let every = duration("--every", args.every)?;
    if every.is_zero() {
        bail!("--every is 0 seconds, which is no time: write 1 or more");
    }
    if !(0.0..=1e6).contains(&args.tasks_per_second) {
        bail!(
            "--tasks-per-second is {}: write 0 to 1000000",
            args.tasks_per_second
        );
    }
    let end = args
        .seconds
        .map(|seconds| duration("--seconds", seconds))
        .transpose()?;
    let fleet = Fleet::at(broker(&args)?)
        .workers(args.workers)
        .prefix(&args.prefix)
        .online_over(duration("--online-over", args.online_over)?)
        .events(!args.no_events)
        .heartbeats(!args.no_heartbeats)
        .seed(args.seed)
        .counts_only()
        .launch()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(run(&fleet, &args, every, end))
}

fn duration(field: &str, seconds: f64) -> Result<Duration> {
    Duration::try_from_secs_f64(seconds)
        .with_context(|| format!("{field} is {seconds}: write a number of seconds"))
}

fn broker(args: &Args) -> Result<Broker> {
    let read = |file: &PathBuf| {
        std::fs::read_to_string(file).with_context(|| format!("--broker-file {}", file.display()))
    };
    let url = match (&args.broker, &args.broker_file) {
        (Some(url), _) => url.clone(),
        (None, Some(file)) => read(file)?,
        (None, None) => {
            bail!("no broker: set CELERIAC_SWARM_BROKER, or --broker-file FILE, or --broker URL")
        }
    };
    Ok(Broker::parse(url.trim())?)
}

async fn run(fleet: &Fleet, args: &Args, every: Duration, end: Option<Duration>) -> Result<()> {
    let end = async {
        match end {
            Some(after) => sleep(after).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(end);
    if args.tasks_per_second > 0.0 {
        #[expect(clippy::cast_precision_loss, reason = "no fleet has 2^52 workers")]
        let each = args.tasks_per_second / args.workers.max(1) as f64;
        fleet.work(each).await;
    }
    let mut ticks = interval_at(Instant::now() + every, every);
    let mut before = fleet.counts();
    loop {
        tokio::select! {
            _ = ticks.tick() => {
                let now = fleet.counts();
                say(&line(&now, &before, every.as_secs_f64()))?;
                before = now;
            }
            () = &mut end => break,
            signal = tokio::signal::ctrl_c() => {
                signal.context("Ctrl-C cannot be waited for")?;
                break;
            }
        }
    }
    fleet.stop().await;
    let offline = async {
        while fleet.counts().listening > 0 {
            sleep(Duration::from_millis(50)).await;
        }
    };
    if timeout(GOODBYE, offline).await.is_err() {
        bail!(
            "{} workers have not ended within {} s",
            fleet.counts().listening,
            GOODBYE.as_secs()
        );
    }
    // The last words of each are on their way.
    sleep(Duration::from_millis(500)).await;
    let all = fleet.counts();
    say(&format!(
        "in all: {} task events, {} worker events, {} control messages delivered, {} of them meant, {} replies, {} unsure",
        all.task_events, all.worker_events, all.delivered, all.meant, all.replies, all.unsure
    ))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "differences of seconds are small"
)]
fn line(now: &Counts, before: &Counts, seconds: f64) -> String {
    let rate = |field: fn(&Counts) -> u64| (field(now) - field(before)) as f64 / seconds;
    let delivered = rate(|counts| counts.delivered);
    format!(
        "{} listen; a second: {:.0} task events, {:.0} worker events, {delivered:.0} control messages delivered ({:.2} to each), {:.0} replies",
        now.listening,
        rate(|counts| counts.task_events),
        rate(|counts| counts.worker_events),
        delivered / now.listening.max(1) as f64,
        rate(|counts| counts.replies),
    )
}

/// Who reads it may have gone.
fn say(line: &str) -> Result<()> {
    writeln!(std::io::stdout(), "{line}").context("standard output is closed")
}
