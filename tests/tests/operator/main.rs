//! The operator on a real control plane.

mod definitions;
mod scene;
