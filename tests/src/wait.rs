//! Waiting for conditions, never for time.

use std::fmt::Display;
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, MutexGuard};

/// How often a condition is looked at. Short against every timeout used, long against the cost of one look.
const POLL: Duration = Duration::from_millis(50);

/// Looks at a condition until it holds and gives its value.
///
/// `probe` returns `Err` with the state it saw while the condition does not hold; the last one is what the panic shows
/// when `timeout` has passed.
///
/// # Panics
/// When the condition does not hold in time.
pub async fn eventually<T, E: Display>(
    what: &str,
    timeout: Duration,
    mut probe: impl AsyncFnMut() -> Result<T, E>,
) -> T {
    let deadline = Instant::now() + timeout;
    loop {
        match probe().await {
            Ok(value) => return value,
            Err(seen) => {
                assert!(
                    Instant::now() < deadline,
                    "not within {timeout:?}: {what}\n  last seen: {seen}"
                );
            }
        }
        tokio::time::sleep(POLL).await;
    }
}

/// [`eventually`] for code that is not async.
///
/// # Panics
/// When the condition does not hold in time.
pub fn eventually_blocking<T, E: Display>(
    what: &str,
    timeout: Duration,
    mut probe: impl FnMut() -> Result<T, E>,
) -> T {
    let deadline = Instant::now() + timeout;
    loop {
        match probe() {
            Ok(value) => return value,
            Err(seen) => {
                assert!(
                    Instant::now() < deadline,
                    "not within {timeout:?}: {what}\n  last seen: {seen}"
                );
            }
        }
        std::thread::sleep(POLL);
    }
}

static TURN: Mutex<()> = Mutex::const_new(());

/// Waits for this test's turn. Tests that start Celery workers take turns within a test binary: on two cores several
/// worker pools at once only make each other's timeouts.
pub async fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().await
}

/// [`turn`] for code that is not async.
pub fn turn_blocking() -> MutexGuard<'static, ()> {
    TURN.blocking_lock()
}
