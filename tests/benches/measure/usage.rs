//! What processes use, from `/proc`.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

/// Kernel clock ticks a second, in which `/proc/PID/stat` counts: 100 on every Linux that Rust runs on.
const TICKS: f64 = 100.0;
/// A process that used less than this share of a core over [`QUIET_FOR`] has nothing left to do.
const QUIET: f64 = 0.12;
const QUIET_FOR: Duration = Duration::from_millis(500);

/// User and system time of these processes so far, in seconds, all threads.
pub(crate) fn cpu_seconds(pids: &[u32]) -> Result<f64> {
    let mut ticks = 0;
    for pid in pids {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))
            .with_context(|| format!("process {pid} has ended"))?;
        // The name, in parentheses, may hold anything; utime and stime are the 14th and 15th field of all.
        let after = stat.rsplit_once(") ").context("a name in parentheses")?.1;
        let fields: Vec<&str> = after.split(' ').collect();
        ensure!(fields.len() > 12, "short: {stat}");
        ticks += fields[11].parse::<u32>()? + fields[12].parse::<u32>()?;
    }
    Ok(f64::from(ticks) / TICKS)
}

/// The most memory these processes ever had resident together, if each had its most at once, in MiB.
pub(crate) fn peak_mib(pids: &[u32]) -> Result<f64> {
    pids.iter().map(|pid| status_mib(*pid, "VmHWM:")).sum()
}

/// The memory these processes have resident, in MiB.
pub(crate) fn resident_mib(pids: &[u32]) -> Result<f64> {
    pids.iter().map(|pid| status_mib(*pid, "VmRSS:")).sum()
}

fn status_mib(pid: u32, key: &str) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))
        .with_context(|| format!("process {pid} has ended"))?;
    let kib: u32 = status
        .lines()
        .find_map(|line| line.strip_prefix(key))
        .and_then(|rest| rest.trim().strip_suffix(" kB")?.trim().parse().ok())
        .with_context(|| format!("no {key}"))?;
    Ok(f64::from(kib) / 1024.0)
}

/// Waits until these processes have nothing left to do; what they have used by then.
pub(crate) fn quiet(pids: &[u32], timeout: Duration) -> Result<f64> {
    let deadline = Instant::now() + timeout;
    let mut before = cpu_seconds(pids)?;
    loop {
        std::thread::sleep(QUIET_FOR);
        let now = cpu_seconds(pids)?;
        if now - before < QUIET * QUIET_FOR.as_secs_f64() {
            return Ok(now);
        }
        ensure!(Instant::now() < deadline, "still busy after {timeout:?}");
        before = now;
    }
}
