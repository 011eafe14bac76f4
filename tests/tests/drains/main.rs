//! Every lowering drains, whoever asks: a real operator and aggregator, real brokers, and workers in real pods. What was
//! interrupted or run twice is told by the tasks themselves.

mod consumes;
mod lower;
mod rabbit;
mod rotation;
mod scene;
mod trouble;
