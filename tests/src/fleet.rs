//! Simulated Celery workers: each has its own subscription to remote control, sends the events and gives the answers that
//! real ones were recorded to give (`fixtures/redis-*.jsonl`, Celery 5.7, prefork), and knows every task it made.
//!
//! A worker costs a connection and some kilobytes, so a test can have 500. They live on a thread of their own. Left out of
//! a real worker: gossip (`--without-gossip`), queues and messages of tasks (tasks come from nowhere), and the result
//! backend.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;

use crate::redis::Redis;

mod answers;
mod load;
mod node;
mod recorded;
mod speaker;
mod truth;

use node::{Node, Order};
use speaker::Speaker;
pub use truth::{TaskTruth, Truth};

/// Orders that wait for a worker; a test gives few.
const ORDERS_MAX: usize = 64;

/// What a [`Fleet`] is to be like.
pub struct FleetBuilder {
    address: SocketAddr,
    prefix: String,
    workers: usize,
    online_over: Duration,
    events: bool,
    heartbeats: bool,
    queues: Vec<String>,
    seed: u64,
}

/// Running simulated workers; they vanish without a word when this is dropped.
pub struct Fleet {
    names: Vec<String>,
    orders: Vec<mpsc::Sender<Order>>,
    truth: Arc<Mutex<Truth>>,
    /// Dropped to end the thread.
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl FleetBuilder {
    /// How many.
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// They are called `celery@PREFIX0` and so on.
    #[must_use]
    pub fn prefix(mut self, prefix: &str) -> Self {
        prefix.clone_into(&mut self.prefix);
        self
    }

    /// They come on line one after the other within this time.
    #[must_use]
    pub fn online_over(mut self, time: Duration) -> Self {
        self.online_over = time;
        self
    }

    /// Whether they send task events from the start (`-E`).
    #[must_use]
    pub fn events(mut self, events: bool) -> Self {
        self.events = events;
        self
    }

    /// Whether they send heartbeats; without is `--without-heartbeat`.
    #[must_use]
    pub fn heartbeats(mut self, heartbeats: bool) -> Self {
        self.heartbeats = heartbeats;
        self
    }

    /// Chance follows from this number.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Starts them; does not wait until they are on line.
    ///
    /// # Panics
    /// When the thread cannot be started.
    pub fn start(self) -> Fleet {
        let truth = Arc::new(Mutex::new(Truth::default()));
        let names: Vec<String> = (0..self.workers)
            .map(|number| format!("celery@{}{number}", self.prefix))
            .collect();
        let (orders, inboxes): (Vec<_>, Vec<_>) =
            names.iter().map(|_| mpsc::channel(ORDERS_MAX)).unzip();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let (told, of_workers) = (Arc::clone(&truth), names.clone());
        let thread = std::thread::Builder::new().name("fleet".to_owned());
        let thread = thread
            .spawn(move || self.live(of_workers, inboxes, &told, stopped))
            .expect("a thread can be started");
        Fleet {
            names,
            orders,
            truth,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    fn live(
        self,
        names: Vec<String>,
        inboxes: Vec<mpsc::Receiver<Order>>,
        truth: &Arc<Mutex<Truth>>,
        stopped: tokio::sync::oneshot::Receiver<()>,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime can be had");
        runtime.block_on(async move {
            let speaker = Speaker::start(self.address, Arc::clone(truth));
            let step = share(self.online_over, names.len());
            let mut delay = Duration::ZERO;
            for (name, inbox) in names.into_iter().zip(inboxes) {
                let node = Node::new(name, &self, speaker.clone(), Arc::clone(truth));
                tokio::spawn(async move {
                    tokio::time::sleep(delay).await;
                    node.run(inbox).await;
                });
                delay += step;
            }
            // Either way it is over.
            let _ = stopped.await;
        });
    }
}

impl Fleet {
    /// Describes a fleet on database 0 of a server without password: 10 workers with task events, on line at once.
    pub fn on(redis: &Redis) -> FleetBuilder {
        Self::at(redis.address())
    }

    /// The same at an address, such as a proxy's.
    pub fn at(address: SocketAddr) -> FleetBuilder {
        FleetBuilder {
            address,
            prefix: "sim".to_owned(),
            workers: 10,
            online_over: Duration::ZERO,
            events: true,
            heartbeats: true,
            queues: vec!["celery".to_owned()],
            seed: 7,
        }
    }

    /// Their node names.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Has each worker begin this many tasks a second, until [`Fleet::rest`].
    pub async fn work(&self, tasks_per_second: f64) {
        self.order(Order::Work(tasks_per_second), Duration::ZERO)
            .await;
    }

    /// Begins no more tasks; those begun come to their end.
    pub async fn rest(&self) {
        self.order(Order::Work(0.0), Duration::ZERO).await;
    }

    /// Kills and restarts every worker, one after the other within this time: another pid, counters at zero, and no word
    /// of farewell. What it ran is forgotten, as it is when a real one is killed.
    pub async fn restart(&self, over: Duration) {
        self.order(Order::Restart, over).await;
    }

    /// Cuts every worker's connection, one after the other within this time: each comes on line again as the same life.
    pub async fn reconnect(&self, over: Duration) {
        self.order(Order::Reconnect, over).await;
    }

    /// Ends every worker in order: it says `worker-offline`.
    pub async fn stop(&self) {
        self.order(Order::Stop, Duration::ZERO).await;
    }

    /// What truly happened so far.
    pub fn truth(&self) -> MutexGuard<'_, Truth> {
        self.truth.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn order(&self, order: Order, over: Duration) {
        let pause = share(over, self.orders.len());
        for worker in &self.orders {
            // One that was stopped takes no more orders.
            let _ = worker.send(order).await;
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
        }
    }
}

/// One worker's share of a time.
fn share(time: Duration, workers: usize) -> Duration {
    time / u32::try_from(workers.max(1)).unwrap_or(u32::MAX)
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed.
            let _ = thread.join();
        }
    }
}
