//! What the operator makes of a control plane that fails, and of its own end at any moment. No kubelet runs, and each test breaks
//! a control plane of its own.

mod killed;
mod lease;
mod order;
mod plane;
mod scene;
