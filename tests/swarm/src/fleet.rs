//! A fleet: what it is to be like, and what it is told.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;

use super::broker::Broker;
use super::control::Exchange;
use super::count::{Counters, Counts};
use super::descriptors;
use super::node::{Node, Order, Shared};
use super::speaker::Speaker;
use super::truth::Truth;

/// Orders that wait for a worker; a test gives few.
const ORDERS_MAX: usize = 64;

/// What a [`Fleet`] is to be like.
pub struct FleetBuilder {
    pub(crate) broker: Broker,
    prefix: String,
    workers: usize,
    online_over: Duration,
    pub(crate) events: bool,
    pub(crate) heartbeats: bool,
    pub(crate) queues: Vec<String>,
    pub(crate) seed: u64,
    keeps_truth: bool,
}

/// Why a fleet cannot be.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Every worker on Redis is an open file.
    #[error(
        "{workers} workers on Redis need as many open files, and this process may have {limit}: raise `ulimit -Hn`, or take fewer --workers"
    )]
    Files {
        /// Workers asked for.
        workers: usize,
        /// Files allowed.
        limit: u64,
    },
    /// The system gives no thread.
    #[error("the fleet's thread cannot be started")]
    Thread(#[source] std::io::Error),
}

/// Running simulated workers; they vanish without a word when this is dropped.
pub struct Fleet {
    names: Vec<String>,
    orders: Vec<mpsc::Sender<Order>>,
    truth: Arc<Mutex<Truth>>,
    counters: Arc<Counters>,
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

    /// Keeps counts only, so that it may run for as long as it likes: [`Fleet::truth`] stays empty.
    #[must_use]
    pub fn counts_only(mut self) -> Self {
        self.keeps_truth = false;
        self
    }

    /// Starts them; does not wait until they are on line.
    ///
    /// # Panics
    /// When [`FleetBuilder::launch`] fails.
    pub fn start(self) -> Fleet {
        self.launch().unwrap_or_else(|error| panic!("{error}"))
    }

    /// Starts them; does not wait until they are on line.
    ///
    /// # Errors
    /// When the system does not give what so many need.
    pub fn launch(self) -> Result<Fleet, StartError> {
        let workers = self.workers;
        if self.broker.is_redis() {
            descriptors::allow(workers).map_err(|limit| StartError::Files { workers, limit })?;
        }
        let truth = Arc::new(Mutex::new(Truth::default()));
        let counters = Arc::<Counters>::default();
        let names: Vec<String> = (0..workers)
            .map(|number| format!("celery@{}{number}", self.prefix))
            .collect();
        let (orders, inboxes): (Vec<_>, Vec<_>) =
            names.iter().map(|_| mpsc::channel(ORDERS_MAX)).unzip();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let told = self.keeps_truth.then(|| Arc::clone(&truth));
        let (counted, of_workers) = (Arc::clone(&counters), names.clone());
        let thread = std::thread::Builder::new().name("fleet".to_owned());
        let thread = thread
            .spawn(move || self.live(of_workers, inboxes, told, counted, stopped))
            .map_err(StartError::Thread)?;
        Ok(Fleet {
            names,
            orders,
            truth,
            counters,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    fn live(
        self,
        names: Vec<String>,
        inboxes: Vec<mpsc::Receiver<Order>>,
        truth: Option<Arc<Mutex<Truth>>>,
        counters: Arc<Counters>,
        stopped: tokio::sync::oneshot::Receiver<()>,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime can be had");
        runtime.block_on(async move {
            let broker = self.broker.clone();
            let shared = Arc::new(Shared {
                exchange: Exchange::of(&broker, names.len()),
                speaker: Speaker::start(broker, Arc::clone(&counters), truth.clone()),
                counters,
                truth,
            });
            let step = share(self.online_over, names.len());
            let mut delay = Duration::ZERO;
            for (number, (name, inbox)) in names.into_iter().zip(inboxes).enumerate() {
                let node = Node::new(number, name, &self, Arc::clone(&shared));
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
    /// Describes a fleet on the broker of a URL (`redis://…` or `amqp://…`): 10 workers with task events, on line at once.
    ///
    /// # Panics
    /// When the URL is none that [`Broker::parse`] takes.
    pub fn on(url: &str) -> FleetBuilder {
        Self::at(Broker::parse(url).unwrap_or_else(|error| panic!("{error}")))
    }

    /// The same on a broker that is known already.
    pub fn at(broker: Broker) -> FleetBuilder {
        FleetBuilder {
            broker,
            prefix: "sim".to_owned(),
            workers: 10,
            online_over: Duration::ZERO,
            events: true,
            heartbeats: true,
            queues: vec!["celery".to_owned()],
            seed: 7,
            keeps_truth: true,
        }
    }

    /// What they have done so far, in numbers.
    pub fn counts(&self) -> Counts {
        self.counters.read()
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
