//! Worker pods with sidecars, as the operator makes them: when they are ready, what ends a worker, and what a deletion waits
//! for. The node runs real processes, and probes and hooks as a kubelet does.

mod drains;
mod pins;
mod probes;
mod scene;
