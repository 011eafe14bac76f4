//! The contract of `Transport`, kept by every back end: the same cases over the broker in memory, over Redis and over
//! RabbitMQ, with servers that are started for it.

mod amqp;
mod backend;
mod cases;
mod fake;
mod kept;
mod redis;
