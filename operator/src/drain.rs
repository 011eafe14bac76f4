//! How a pool comes to have fewer workers without a task noticing: what is known of its pods and workers, and what follows of
//! it. Pure; `drainer` reads the cluster, asks workers and does what is said here.

pub mod marks;
pub mod pod;
