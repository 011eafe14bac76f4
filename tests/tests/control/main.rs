//! Every control command against real workers: prefork (also autoscaled), threads, gevent and solo, of Celery 5.7, 5.4 and
//! 4.4. Each cell of the matrix is a command that is given, the answer as it is judged, and what then becomes of the
//! worker's tasks, processes, queues and events; `expected.rs` says what it must be. What was seen is printed.

mod ears;
mod expected;
mod matrix;
mod probes;
mod scene;
mod stage;

#[tokio::test(flavor = "multi_thread")]
async fn celery_5_7_does_what_it_is_told() {
    matrix::check("5.7").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn celery_5_4_does_what_it_is_told() {
    matrix::check("5.4").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn celery_4_4_does_what_it_is_told() {
    matrix::check("4.4").await;
}
