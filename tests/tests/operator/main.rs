//! The operator on a real control plane.

mod beats;
mod definitions;
mod life;
mod operator;
mod rights;
mod samples;
mod trouble;
