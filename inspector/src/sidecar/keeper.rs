//! Asks the worker and looks at its queues when that is due, and runs the drain. What is due says the ward, when it may be
//! says the pace.

use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::sleep;

use super::drain::Lease;
use super::pace::{Pace, TURN};
use super::shared::{Phase, Shared};
use super::talk::{Talk, Unanswered};
use crate::collect::Node;
use crate::collect::question::Question;
use crate::transport::broker::NotSpoken;
use crate::transport::{Transport, TransportError};
use crate::wire::content::Serializer;

/// How often it is looked whether something is due.
const TICK: Duration = Duration::from_millis(500);

/// Keeps one worker.
pub(super) struct Keeper<M> {
    pub(super) shared: Shared,
    node: Node,
    serializer: Serializer,
    transport: M,
    pub(super) pace: Pace,
    next_look: Option<Instant>,
    pub(super) drain_deadline: Duration,
    pub(super) drain_lease: Duration,
    /// What a drain took from the worker, until it is given back.
    pub(super) lease: Option<Lease>,
}

impl<M, T> Keeper<M>
where
    M: Fn() -> Result<T, NotSpoken> + Send,
    T: Transport,
{
    pub(super) fn new(
        shared: Shared,
        node: Node,
        serializer: Serializer,
        (drain_deadline, drain_lease): (Duration, Duration),
        transport: M,
    ) -> Self {
        Self {
            shared,
            node,
            serializer,
            transport,
            pace: Pace::default(),
            next_look: None,
            drain_deadline,
            drain_lease,
            lease: None,
        }
    }

    /// Keeps it for ever.
    pub(super) async fn run(&mut self) {
        let mut phases = self.shared.phases();
        loop {
            tokio::select! {
                () = wanted(&mut phases) => self.drain().await,
                () = sleep(TICK) => {
                    self.ask_if_due().await;
                    self.look_if_due().await;
                    self.give_back_if_due().await;
                }
            }
        }
    }

    /// A conversation of its own; `None` when the broker is of no kind, which is said at the start.
    pub(super) fn talk(&self) -> Option<Talk<T>> {
        let transport = (self.transport)().ok()?;
        Some(Talk::new(transport, self.node.clone(), self.serializer))
    }

    async fn ask_if_due(&mut self) {
        let now = Instant::now();
        let (question, waited_for) = {
            let ward = self.shared.ward();
            (ward.question(now), ward.is_waited_for())
        };
        let Some(question) = question else {
            return self.pace.rest();
        };
        if !self.pace.may(now, waited_for, fastrand::f64()) {
            return;
        }
        let Some(mut talk) = self.talk() else {
            return;
        };
        match talk.transport.turn(TURN).await {
            Ok(true) => {
                let asked = self.ask(&mut talk, question).await;
                self.pace
                    .on_asked(Instant::now(), talk.reached, waited_for, fastrand::f64());
                self.note(asked);
            }
            Ok(false) => {
                self.shared.metrics().turns_refused.inc();
                self.pace.on_refused(Instant::now(), fastrand::f64());
            }
            Err(error) => {
                // Whoever finds the broker away waits as if others were first.
                self.pace.on_refused(Instant::now(), fastrand::f64());
                self.on_broker_failed(&error);
            }
        }
        talk.close().await;
    }

    /// Asks, and has the ward know what came of it.
    pub(super) async fn ask(
        &self,
        talk: &mut Talk<T>,
        question: Question,
    ) -> Result<(), Unanswered> {
        self.shared.metrics().on_request(question.command());
        let answer = talk.ask(question).await?;
        self.shared
            .ward()
            .on_answer(Instant::now(), question, &answer);
        Ok(())
    }

    /// Has it known why a worker did not answer.
    pub(super) fn note(&self, asked: Result<(), Unanswered>) {
        match asked {
            Ok(()) => {}
            Err(Unanswered::Broker(error)) => self.on_broker_failed(&error),
            Err(error @ Unanswered::Silent { .. }) => {
                self.shared.ward().on_silence();
                tracing::debug!(%error, "asked");
            }
            Err(error) => tracing::debug!(%error, "asked"),
        }
    }

    fn on_broker_failed(&self, error: &TransportError) {
        self.shared.metrics().broker_errors.inc();
        let reason = celeriac_process::error_chain(error);
        tracing::warn!(reason, "the broker cannot be used");
        self.shared.ward().on_broker_failed(Instant::now(), reason);
    }

    /// Looks at the queues of a worker that idles. Nobody but the broker notices.
    async fn look_if_due(&mut self) {
        let now = Instant::now();
        let (wanted, every, queues) = {
            let ward = self.shared.ward();
            (ward.wants_look(now), ward.look_every(), ward.queues())
        };
        let (true, Some(queues)) = (wanted, queues) else {
            self.next_look = None;
            return;
        };
        let spread = every.mul_f64(0.75 + fastrand::f64() / 2.0);
        if *self
            .next_look
            .get_or_insert(now + every.mul_f64(fastrand::f64() / 2.0))
            > now
        {
            return;
        }
        self.next_look = Some(now + spread);
        let Some(talk) = self.talk() else {
            return;
        };
        self.shared.metrics().looks.inc();
        match talk.transport.depths(&queues).await {
            Ok(reading) => {
                let depths = reading.queues.into_iter().map(|queue| {
                    let ready = queue.ready.iter().map(|(_, count)| count).sum();
                    (queue.name, ready)
                });
                let depths: Vec<(String, u64)> = depths.collect();
                self.shared.ward().on_depths(Instant::now(), &depths);
                self.tell_stall();
            }
            Err(error) => self.on_broker_failed(&error),
        }
        talk.close().await;
    }

    fn tell_stall(&self) {
        let life = self.shared.ward().life(Instant::now());
        if matches!(life, super::ward::Life::Stalled { .. }) {
            tracing::error!(reason = %life, "the worker is to be restarted");
        }
    }
}

/// Ends when a drain is wanted.
async fn wanted(phases: &mut watch::Receiver<Phase>) {
    if phases
        .wait_for(|phase| *phase == Phase::Wanted)
        .await
        .is_err()
    {
        // The other side is held by the keeper itself.
        std::future::pending::<()>().await;
    }
}
