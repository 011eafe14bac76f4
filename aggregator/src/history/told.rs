//! Identities of events that were folded, as checkpoints leave them: some rows of each app, the oldest first, as many as are
//! remembered.

use rusqlite::{Connection, OptionalExtension, params};

use super::error::HistoryError;
use crate::state::limits::RECENT_EVENTS_MAX;

/// Bytes of an identity.
const IDENTITY: usize = size_of::<u64>();
/// Bytes of all that is remembered.
const ALL: usize = RECENT_EVENTS_MAX * IDENTITY;
/// Bytes of a row before another is begun: what a slice with few events costs to write, and no more than 16 rows of an app.
const ROW: usize = 64 << 10;

/// Adds identities behind those that are there, and forgets what is too long ago.
pub(super) fn write(
    connection: &Connection,
    app: i64,
    identities: &[u8],
) -> Result<(), HistoryError> {
    let identities = &identities[identities.len().saturating_sub(ALL)..];
    let sql = "SELECT row, data FROM told WHERE app = ?1 ORDER BY row DESC LIMIT 1";
    let last: Option<(i64, Vec<u8>)> = connection
        .prepare_cached(sql)?
        .query_row([app], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    match last {
        Some((row, mut data)) if data.len() + identities.len() <= ROW => {
            data.extend_from_slice(identities);
            let sql = "UPDATE told SET data = ?2 WHERE row = ?1";
            connection
                .prepare_cached(sql)?
                .execute(params![row, data])?;
        }
        _ => {
            let sql = "INSERT INTO told (app, data) VALUES (?1, ?2)";
            let values = params![app, identities];
            connection.prepare_cached(sql)?.execute(values)?;
        }
    }
    forget(connection, app)
}

fn forget(connection: &Connection, app: i64) -> Result<(), HistoryError> {
    let sql = "SELECT row, length(data) FROM told WHERE app = ?1 ORDER BY row DESC";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([app])?;
    let mut kept = 0;
    while let Some(row) = rows.next()? {
        kept += row.get::<_, u32>(1)? as usize;
        if kept >= ALL {
            let oldest: i64 = row.get(0)?;
            let sql = "DELETE FROM told WHERE app = ?1 AND row < ?2";
            connection.prepare_cached(sql)?.execute([app, oldest])?;
            break;
        }
    }
    Ok(())
}

/// Gives every row, the oldest first: app and identities.
pub(super) fn read(
    connection: &Connection,
    mut each: impl FnMut(i64, &[u8]) -> Result<(), HistoryError>,
) -> Result<(), HistoryError> {
    let mut statement = connection.prepare("SELECT app, data FROM told ORDER BY row")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let data = row.get_ref(1)?.as_blob();
        each(row.get(0)?, data.map_err(|_| damaged())?)?;
    }
    Ok(())
}

/// Puts stored identities behind others, of which the last stay that are remembered, and at most as many before them.
pub(super) fn append(known: &mut Vec<u64>, stored: &[u8]) -> Result<(), HistoryError> {
    let (identities, rest) = stored.as_chunks::<IDENTITY>();
    if !rest.is_empty() {
        return Err(damaged());
    }
    known.extend(identities.iter().map(|one| u64::from_le_bytes(*one)));
    if known.len() > 2 * RECENT_EVENTS_MAX {
        keep_last(known);
    }
    Ok(())
}

/// Leaves those that are remembered.
pub(super) fn keep_last(known: &mut Vec<u64>) {
    let surplus = known.len().saturating_sub(RECENT_EVENTS_MAX);
    known.drain(..surplus);
}

fn damaged() -> HistoryError {
    HistoryError::damaged("identities of events")
}
