//! The operator on a real control plane.

mod beats;
mod definitions;
mod life;
mod many;
mod operator;
mod rights;
mod samples;
mod trouble;
