//! Task names with statistics as a table.

use celeriac_client::v1;

use super::View;
use super::table::{Cell, Table, fixed, number, text};
use super::text::Tone;
use super::units::duration;

/// One row a name; with the app when `name_apps` or wide.
pub(crate) fn table(names: &[v1::TaskName], name_apps: bool, view: &View) -> Table {
    let name_apps = name_apps || view.wide;
    let mut columns = Vec::new();
    if name_apps {
        columns.push(text("APP", 6));
    }
    columns.extend([
        text("NAME", 16),
        number("ACTIVE"),
        number("RESERVED").optional(),
        number("RECEIVED"),
        number("SUCCEEDED"),
        number("FAILED"),
        number("RETRIED").optional(),
        number("P50"),
        number("P95"),
        number("MEAN").optional(),
        number("MAX").optional(),
        fixed("SEEN"),
    ]);
    if view.wide {
        columns.extend([
            number("SENT"),
            number("STARTED"),
            number("REVOKED"),
            number("REJECTED"),
        ]);
    }
    let mut table = Table::new(columns);
    for name in names {
        let mut row: Vec<Cell> = Vec::new();
        if name_apps {
            row.push(name.app.as_str().into());
        }
        let failed = if name.failed > 0 {
            Tone::Bad
        } else {
            Tone::Plain
        };
        row.extend([
            name.name.as_str().into(),
            name.active.to_string().into(),
            name.reserved.to_string().into(),
            name.received.to_string().into(),
            name.succeeded.to_string().into(),
            Cell::toned(&name.failed.to_string(), failed),
            name.retried.to_string().into(),
            duration(name.p50_runtime.as_ref()).into(),
            duration(name.p95_runtime.as_ref()).into(),
            duration(name.mean_runtime.as_ref()).into(),
            duration(name.max_runtime.as_ref()).into(),
            view.time(name.last_seen.as_ref()).into(),
        ]);
        if view.wide {
            row.extend(
                [name.sent, name.started, name.revoked, name.rejected]
                    .map(|number| number.to_string().into()),
            );
        }
        table.row(row);
    }
    table
}
