//! The columns of queues.

use celeriac_client::v1;

use super::{Field, amount, app_field, down, moment, up, words};
use crate::render::table::{Cell, fixed, number, text};
use crate::render::text::Tone;
use crate::render::units::{ABSENT, count};
use crate::render::{View, queues};
use crate::top::model::things::Tracked;

type Queue = Tracked<v1::Queue>;

/// In red when nobody takes what waits.
fn ready(queue: &Queue) -> Cell {
    let tone = match queue.item.ready {
        Some(ready) if ready > 0 && queue.item.consumers == Some(0) => Tone::Bad,
        _ => Tone::Plain,
    };
    Cell::toned(&count(queue.item.ready), tone)
}

fn consumers(queue: &Queue) -> Cell {
    let tone = match queue.item.consumers {
        Some(0) => Tone::Warn,
        _ => Tone::Plain,
    };
    Cell::toned(&count(queue.item.consumers), tone)
}

fn consumed_by(queue: &Queue) -> String {
    if queue.item.workers.is_empty() {
        ABSENT.to_owned()
    } else {
        queue.item.workers.join(",")
    }
}

/// Queues.
pub(crate) fn queues(name_apps: bool) -> Vec<Field<Queue>> {
    let mut fields: Vec<Field<Queue>> = vec![
        up(
            text("QUEUE", 8),
            |q: &Queue, _: &View| q.item.name.as_str().into(),
            |q: &Queue| words(&q.item.name),
        ),
        down(number("READY"), |q, _| ready(q), |q| amount(q.item.ready)),
        down(
            number("UNACKED"),
            |q, _| queues::unacked(&q.item).into(),
            |q| amount(q.item.unacked.as_ref().map(|unacked| unacked.count)),
        ),
        down(
            number("ACTIVE"),
            |q, _| q.item.active.to_string().into(),
            |q| amount(Some(q.item.active)),
        ),
        up(
            number("OLDEST"),
            |q, view| queues::oldest(&q.item, view).into(),
            |q| {
                moment(
                    q.item
                        .oldest
                        .as_ref()
                        .and_then(|oldest| oldest.time.as_ref()),
                )
            },
        ),
        up(
            fixed("BY"),
            |q, _| queues::method(&q.item).into(),
            |q| words(queues::method(&q.item)),
        ),
        down(
            number("CONSUMERS"),
            |q, _| consumers(q),
            |q| amount(q.item.consumers),
        ),
        up(
            text("PRIORITIES", 10),
            |q, _| queues::priorities(&q.item).into(),
            |q| words(&queues::priorities(&q.item)),
        ),
        up(
            text("CONSUMED BY", 11).optional(),
            |q, _| consumed_by(q).into(),
            |q| words(&consumed_by(q)),
        ),
    ];
    if name_apps {
        fields.push(app_field());
    }
    fields
}
