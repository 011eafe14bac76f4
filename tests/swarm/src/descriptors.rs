//! How many files a process may have open: a worker on Redis is a connection.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// What a program has open besides.
const OTHERS: u64 = 200;

/// Raises the limit of open files as far as this many connections need; what it stays at when that is not enough.
pub(crate) fn allow(connections: usize) -> Result<(), u64> {
    let needed = u64::try_from(connections)
        .unwrap_or(u64::MAX)
        .saturating_add(OTHERS);
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return Ok(());
    };
    if soft >= needed {
        return Ok(());
    }
    // Lowered by nobody: others in this process may have raised it.
    match setrlimit(Resource::RLIMIT_NOFILE, needed.min(hard), hard) {
        Ok(()) if hard >= needed => Ok(()),
        _ => Err(hard),
    }
}
