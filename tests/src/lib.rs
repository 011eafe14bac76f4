//! Harness of the end-to-end tests: real Redis, real RabbitMQ, real Celery workers, a real Kubernetes control plane with a node
//! whose pods are processes, and the built binaries, each started on free loopback ports and stopped by process id.
//!
//! It asserts nothing about Celeriac; the tests do. What a test needs and cannot have (a server, a Python environment) is a
//! panic that says what to run, never a skipped test. Functions here panic instead of returning errors: a test has nothing
//! better to do with them, and a panic makes every [`Process`] print the tail of its log as it is dropped.

pub mod broker;
pub mod celery;
pub mod certificates;
pub mod expect;
pub mod ingest;
mod janitor;
pub mod kube;
pub mod kubelet;
pub mod monitor;
pub mod operator;
pub mod paths;
pub mod process;
pub mod product;
pub mod proxy;
pub mod rabbitmq;
pub mod redis;
pub mod resp;
pub mod sentinel;
pub mod wait;
pub mod wire;
pub mod witness;

pub use broker::{Broker, BrokerKind};
pub use celeriac_swarm::{self as swarm, Fleet};
pub use celery::{Celery, Recorder, Recording, Worker};
pub use certificates::Authority;
pub use operator::Operator;
pub use process::Process;
pub use product::{Aggregator, Inspector, celeriac};
pub use proxy::Proxy;
pub use rabbitmq::{RabbitMq, VirtualHost};
pub use redis::Redis;
pub use sentinel::Sentinels;
pub use wait::{eventually, turn};
pub use witness::Witness;
