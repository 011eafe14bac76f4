//! What is happening now, in `kubectl get`: a real operator, a real aggregator, real brokers and workers.

mod columns;
mod sample;
mod scene;
