//! The operator on a real control plane.

mod definitions;
mod life;
mod operator;
mod scene;
mod trouble;
