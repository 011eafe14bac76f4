//! Every control command against real workers: prefork (also autoscaled), threads, gevent and solo, of each Celery version on
//! Redis and on RabbitMQ. Each cell of the matrix is a command that is given, the answer as it is judged, and what then becomes
//! of the worker's tasks, processes, queues and events; `expected.rs` says what it must be. What was seen is printed.
//!
//! Three matrices are always run. The others, with versions whose code of these commands is that of one of the three, take half
//! a minute to a minute each, and are run by hand: `cargo test -p celeriac-tests --test control -- --ignored`.

mod broker;
mod ears;
mod expected;
mod matrix;
mod probes;
mod scene;
mod stage;

/// A test for each matrix.
macro_rules! matrices {
    ($($(#[$by_hand:meta])? $name:ident: $version:literal on $broker:ident;)+) => {
        $(
            $(#[$by_hand])?
            #[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                matrix::check($version, broker::Kind::$broker).await;
            }
        )+
    };
}

matrices! {
    celery_5_7_does_what_it_is_told: "5.7" on Redis;
    #[ignore = "by hand"] celery_5_6_does_what_it_is_told: "5.6" on Redis;
    #[ignore = "by hand"] celery_5_4_does_what_it_is_told: "5.4" on Redis;
    #[ignore = "by hand"] celery_5_2_does_what_it_is_told: "5.2" on Redis;
    celery_4_4_does_what_it_is_told: "4.4" on Redis;
    #[ignore = "by hand"] celery_5_7_does_what_it_is_told_on_rabbitmq: "5.7" on RabbitMq;
    #[ignore = "by hand"] celery_5_6_does_what_it_is_told_on_rabbitmq: "5.6" on RabbitMq;
    celery_5_4_does_what_it_is_told_on_rabbitmq: "5.4" on RabbitMq;
    #[ignore = "by hand"] celery_5_2_does_what_it_is_told_on_rabbitmq: "5.2" on RabbitMq;
    #[ignore = "by hand"] celery_4_4_does_what_it_is_told_on_rabbitmq: "4.4" on RabbitMq;
}
