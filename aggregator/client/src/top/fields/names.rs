//! The columns of task names.

use celeriac_client::v1;

use super::{Field, amount, app_field, down, moment, rate, rated, span, total, up, words};
use crate::render::View;
use crate::render::table::{Cell, fixed, number, text};
use crate::render::text::Tone;
use crate::render::units::duration;
use crate::top::model::things::Tracked;

type Name = Tracked<v1::TaskName>;

/// Failures in red once there are any.
fn bad(count: u64) -> Cell {
    let tone = if count > 0 { Tone::Bad } else { Tone::Plain };
    Cell::toned(&count.to_string(), tone)
}

/// A rate of failures, in red once it is shown as more than 0.
fn failing(name: &Name) -> Cell {
    let tone = match name.rate(2) {
        Some(rate) if rate >= 0.05 => Tone::Bad,
        _ => Tone::Plain,
    };
    Cell::toned(&rate(name.rate(2)), tone)
}

/// Task names.
pub(crate) fn names(name_apps: bool) -> Vec<Field<Name>> {
    let mut fields: Vec<Field<Name>> = vec![
        up(
            text("NAME", 10),
            |n: &Name, _: &View| n.item.name.as_str().into(),
            |n: &Name| words(&n.item.name),
        ),
        down(
            number("START/S"),
            |n, _| rate(n.rate(0)).into(),
            |n| rated(n.rate(0)),
        ),
        down(number("FAIL/S"), |n, _| failing(n), |n| rated(n.rate(2))),
        down(
            number("ACTIVE"),
            |n, _| n.item.active.to_string().into(),
            |n| amount(Some(n.item.active)),
        ),
        down(
            number("OK"),
            |n, _| n.item.succeeded.to_string().into(),
            |n| total(n.item.succeeded),
        ),
        down(
            number("FAILED"),
            |n, _| bad(n.item.failed),
            |n| total(n.item.failed),
        ),
        down(
            number("RETRIED"),
            |n, _| n.item.retried.to_string().into(),
            |n| total(n.item.retried),
        ),
        down(
            number("P50"),
            |n, _| duration(n.item.p50_runtime.as_ref()).into(),
            |n| span(n.item.p50_runtime.as_ref()),
        ),
        down(
            number("P95"),
            |n, _| duration(n.item.p95_runtime.as_ref()).into(),
            |n| span(n.item.p95_runtime.as_ref()),
        ),
        down(
            number("MEAN").optional(),
            |n, _| duration(n.item.mean_runtime.as_ref()).into(),
            |n| span(n.item.mean_runtime.as_ref()),
        ),
        down(
            number("MAX").optional(),
            |n, _| duration(n.item.max_runtime.as_ref()).into(),
            |n| span(n.item.max_runtime.as_ref()),
        ),
        down(
            number("RESERVED").optional(),
            |n, _| n.item.reserved.to_string().into(),
            |n| amount(Some(n.item.reserved)),
        ),
        down(
            fixed("SEEN").optional(),
            |n, view| view.time(n.item.last_seen.as_ref()).into(),
            |n| moment(n.item.last_seen.as_ref()),
        ),
    ];
    if name_apps {
        fields.push(app_field());
    }
    fields
}
