//! The fold is exact: whatever the order in which events come, whatever comes twice or not at all, it has what Celery's own
//! `celery.events.state.State` makes of the same stream, but for the differences that `tests/app/oracle.py` names.
//!
//! `CELERIAC_EXACT_CASES` sets how many streams each property is tried with.

mod aggregator;
mod disorder;
mod fold;
mod lives;
mod no_grace;
mod once;
mod oracle;
mod recorded;
mod same;
mod stream;
