//! Steps against a cluster that is only numbers: by hand, as timelines, and with everything that can go wrong at random.

mod consumes;
mod properties;
mod steps;
mod world;
