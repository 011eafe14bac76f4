//! The operator on a real control plane.

mod definitions;
mod life;
mod operator;
mod samples;
mod scene;
mod trouble;
