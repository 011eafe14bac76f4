//! One worker at length.

use std::collections::HashMap;

use celeriac_client::v1;

use super::detail::Detail;
use super::table::{Table, fixed, number, text};
use super::units::{count, duration};
use super::{View, workers};

/// Everything known of a worker; its configuration when wide.
pub(crate) fn detail(worker: &v1::Worker, view: &View) -> String {
    let mut detail = Detail::new(view);
    let (status, tone) = workers::status(worker);
    detail
        .field("Worker", &worker.name)
        .field("App", &worker.app)
        .toned("Status", status, tone)
        .field("Status since", view.moment(worker.status_since.as_ref()))
        .field(
            "Last heartbeat",
            view.moment(worker.last_heartbeat.as_ref()),
        )
        .field("Last seen", view.moment(worker.last_seen.as_ref()));
    if worker.heartbeat_interval.is_some() {
        detail.field(
            "Heartbeat every",
            duration(worker.heartbeat_interval.as_ref()),
        );
    }
    if let Some(life) = &worker.incarnation {
        let pid = life
            .pid
            .map(|pid| format!(", pid {pid}"))
            .unwrap_or_default();
        let since = view.moment(life.first_seen.as_ref());
        detail.field("Life", format!("{}{pid}, seen since {since}", life.number));
    }
    detail
        .maybe("Software", worker.software.as_deref())
        .maybe("System", worker.system.as_deref())
        .field("Load", workers::load(worker));
    let (mode, tone) = workers::events_mode(worker);
    detail.toned("Task events", mode, tone);
    detail
        .section("Tasks")
        .field("Busy", workers::busy(worker))
        .field("Reserved", worker.reserved_known.to_string())
        .field("Processed", count(worker.processed))
        .field("Missed starts", count(worker.missed_starts));
    if let Some(inspection) = &worker.inspection {
        answers(&mut detail, worker, inspection, view);
    }
    detail.table("Gaps", &super::advice::gaps(worker.gaps.iter(), view));
    detail.table(
        "Events seen in this life",
        &counts("EVENT", &worker.event_counts),
    );
    if let Some(inspection) = &worker.inspection {
        detail.table(
            "Tasks accepted since start",
            &counts("NAME", &inspection.totals),
        );
        if !inspection.registered.is_empty() {
            let title = format!("Registered tasks ({})", inspection.registered.len());
            let names: Vec<_> = inspection
                .registered
                .iter()
                .map(|name| super::text::plain(name))
                .collect();
            detail.block(&title, &names.join("\n"));
        }
        configuration(&mut detail, inspection, view);
    }
    detail.finish()
}

fn answers(
    detail: &mut Detail<'_>,
    worker: &v1::Worker,
    inspection: &v1::WorkerInspection,
    view: &View,
) {
    detail
        .maybe(
            "Active (asked)",
            inspection.active.map(|number| number.to_string()),
        )
        .maybe(
            "Reserved (asked)",
            inspection.reserved.map(|number| number.to_string()),
        )
        .maybe(
            "Scheduled (asked)",
            inspection.scheduled.map(|number| number.to_string()),
        )
        .field("Asked", view.moment(inspection.time.as_ref()))
        .section("Pool")
        .maybe("Pool", inspection.pool.as_deref())
        .field("Slots", count(inspection.slots))
        .field("Processes", inspection.pool_processes.to_string())
        .maybe(
            "Max concurrency",
            inspection.max_concurrency.map(|number| number.to_string()),
        );
    if let Some(bounds) = &inspection.autoscaler {
        detail.field(
            "Autoscaler",
            format!(
                "{} now, from {} to {}",
                bounds.current, bounds.min, bounds.max
            ),
        );
    }
    detail
        .field("Prefetch", workers::prefetch(worker))
        .field("Uptime", duration(inspection.uptime.as_ref()))
        .field("Memory peak", workers::memory(worker));
    let mut queues = Table::new(vec![
        text("NAME", 8),
        text("EXCHANGE", 8),
        fixed("TYPE"),
        text("ROUTING KEY", 8),
        number("MAX PRIORITY"),
    ]);
    for queue in &inspection.queues {
        queues.row(vec![
            queue.name.as_str().into(),
            if queue.exchange.is_empty() {
                "(default)"
            } else {
                &queue.exchange
            }
            .into(),
            queue.exchange_type.as_str().into(),
            queue.routing_key.as_str().into(),
            count(queue.max_priority).into(),
        ]);
    }
    detail.table("Queues", &queues);
    if inspection.queues_known && inspection.queues.is_empty() {
        detail.block("Queues", "none: it consumes from no queue");
    }
}

/// Counters, the largest first.
fn counts(title: &'static str, counts: &HashMap<String, u64>) -> Table {
    let mut sorted: Vec<_> = counts.iter().collect();
    sorted
        .sort_by(|(name, count), (other_name, other)| other.cmp(count).then(name.cmp(other_name)));
    let mut table = Table::new(vec![text(title, 12), number("COUNT")]);
    for (name, count) in sorted {
        table.row(vec![name.as_str().into(), count.to_string().into()]);
    }
    table
}

fn configuration(detail: &mut Detail<'_>, inspection: &v1::WorkerInspection, view: &View) {
    let Some(json) = &inspection.configuration_json else {
        return;
    };
    let settings = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(json);
    match (settings, view.wide) {
        (Ok(settings), false) => {
            let note = format!("{} settings, shown by -o wide", settings.len());
            detail.block("Configuration", &note);
        }
        (Ok(settings), true) => {
            let mut lines: Vec<_> = settings
                .iter()
                .map(|(name, value)| format!("{name} = {value}"))
                .collect();
            lines.sort();
            detail.block("Configuration", &lines.join("\n"));
        }
        (Err(_), _) => {
            detail.block("Configuration", json);
        }
    }
}
