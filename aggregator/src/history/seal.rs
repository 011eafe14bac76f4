//! Rows on their way into a block: put in their places, then written as columns.

use rusqlite::Connection;

use super::error::HistoryError;
use super::facts::{BLOCK, COLUMNS, Facts, Zone, encode_columns};

/// Puts staged rows in their places: over earlier ones or behind them.
pub(super) fn place(
    unsealed: &mut Vec<Facts>,
    next_row: i64,
    staged: impl Iterator<Item = (i64, Facts)>,
) {
    let first = next_row / BLOCK * BLOCK;
    for (row, facts) in staged {
        let place = usize::try_from(row - first)
            .ok()
            .and_then(|at| unsealed.get_mut(at));
        match place {
            Some(place) => *place = facts,
            None => unsealed.push(facts),
        }
    }
}

/// Writes a full block.
pub(super) fn write_block(
    connection: &Connection,
    number: i64,
    rows: &[Facts],
) -> Result<(), HistoryError> {
    let mut insert = connection.prepare_cached("INSERT INTO fact (id, data) VALUES (?1, ?2)")?;
    for (column, bytes) in encode_columns(rows) {
        insert.execute((number * COLUMNS + column as i64, bytes))?;
    }
    let zone = minicbor::to_vec(Zone::of(rows)).expect("writing CBOR to memory cannot fail");
    let sql = "INSERT INTO block (number, zone) VALUES (?1, ?2)";
    connection.prepare_cached(sql)?.execute((number, zone))?;
    Ok(())
}
