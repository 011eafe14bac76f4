//! Which rows a list shows, and in which order.

use celeriac_client::v1;

use super::fields::{self, Field};
use super::model::Model;
use super::model::lists::ListState;
use super::model::things::{Named, Tracked};

/// Workers in the order and with the filter of their view.
pub(crate) fn workers(model: &Model) -> Vec<&Tracked<v1::Worker>> {
    let state = &model.ui.lists[super::model::ui::View::Workers.index()];
    let rows = model.workers.iter().filter(|row| {
        let worker = &row.item;
        has(
            state,
            &[
                &worker.app,
                &worker.name,
                &crate::render::workers::queues(worker),
            ],
        )
    });
    ordered(
        &fields::workers(model.several_apps()),
        rows.collect(),
        state,
    )
}

/// Queues.
pub(crate) fn queues(model: &Model) -> Vec<&Tracked<v1::Queue>> {
    let state = &model.ui.lists[super::model::ui::View::Queues.index()];
    let rows = model
        .queues
        .iter()
        .filter(|row| has(state, &[&row.item.app, &row.item.name]));
    ordered(&fields::queues(model.several_apps()), rows.collect(), state)
}

/// Task names.
pub(crate) fn names(model: &Model) -> Vec<&Tracked<v1::TaskName>> {
    let state = &model.ui.lists[super::model::ui::View::Names.index()];
    let rows = model
        .names
        .iter()
        .filter(|row| has(state, &[&row.item.app, &row.item.name]));
    ordered(&fields::names(model.several_apps()), rows.collect(), state)
}

/// Tasks, as the aggregator ordered them.
pub(crate) fn tasks(model: &Model) -> Vec<&v1::Task> {
    model.tasks.rows.iter().collect()
}

/// Failures.
pub(crate) fn failures(model: &Model) -> Vec<&v1::Task> {
    let state = &model.ui.lists[super::model::ui::View::Failures.index()];
    let rows = model.failures.iter().filter(|task| {
        let name = task.name.as_deref().unwrap_or_default();
        let exception = task.exception_summary.as_deref().unwrap_or_default();
        let worker = task.worker.as_deref().unwrap_or_default();
        has(state, &[&task.app, &task.id, name, exception, worker])
    });
    ordered(
        &fields::failures(model.several_apps()),
        rows.collect(),
        state,
    )
}

fn ordered<'a, T: Named>(
    fields: &[Field<T>],
    mut rows: Vec<&'a T>,
    state: &ListState,
) -> Vec<&'a T> {
    fields::sort(fields, &mut rows, state.sort, state.reverse);
    rows
}

fn has(state: &ListState, texts: &[&str]) -> bool {
    let needle = state.filter.to_lowercase();
    needle.is_empty()
        || texts
            .iter()
            .any(|text| text.to_lowercase().contains(&needle))
}
