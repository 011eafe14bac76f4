//! The simulated workers of `tests/swarm` are like real ones: to Celery's own eyes, and beside what was recorded.

mod alike;
mod recorded;
