//! The drain: stops intake, waits until the worker holds nothing, and gives intake back if the worker did not go.

use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout, timeout_at};

use super::keeper::Keeper;
use super::shared::{Outcome, Phase};
use super::talk::{Talk, Unanswered};
use super::ward::Drain;
use crate::collect::question::Question;
use crate::transport::Transport;
use crate::transport::broker::NotSpoken;
use crate::wire::pidbox::Control;

/// Between two tries to reach a worker: what it did not answer yet it may still do, so tries are few.
const TRY_MIN: Duration = Duration::from_secs(1);
const TRY_MAX: Duration = Duration::from_secs(30);

/// Within this an answer is there of a worker that listens. One that was never heard of is asked a second time, with no more
/// than this for its answer, since it may have begun to listen while the first was waited for.
const LISTENS: Duration = Duration::from_secs(1);

/// Heartbeats come every two seconds; when they stop, it is asked.
const HEARD_WITHIN: Duration = Duration::from_secs(5);

/// Between two answers that it holds nothing: a message that was on its way when intake stopped is seen by the second.
const TWICE: Duration = Duration::from_secs(1);

/// For how long a worker that cannot be asked is tried: then it is left to its own shutdown, which ends no task that runs
/// either. A broker that is gone, or a worker without remote control, shall not keep a pod for an hour.
const GIVE_UP: Duration = Duration::from_mins(1);

/// How often it is tried to give intake back, and to see that it was taken.
const GIVE_BACK_EVERY: Duration = Duration::from_secs(10);
const SETTLES: Duration = Duration::from_secs(2);

/// What was taken from a worker, and until when.
pub(super) struct Lease {
    /// The queues that it consumed from.
    queues: Vec<String>,
    /// From which of its lives.
    life: u64,
    /// Another life has begun since.
    replaced: bool,
    /// When it is looked whether it is still there.
    next: Instant,
}

impl<M, T> Keeper<M>
where
    M: Fn() -> Result<T, NotSpoken> + Send,
    T: Transport,
{
    /// Drains, and says how it ended. What was asked meanwhile finds the answer in the phase.
    pub(super) async fn drain(&mut self) {
        let began = Instant::now();
        let until = began + self.drain_deadline;
        self.shared.ward().on_drain(Drain::Going);
        self.lease = Some(Lease {
            queues: Vec::new(),
            life: self.shared.ward().lives(),
            replaced: false,
            next: until + self.drain_lease,
        });
        tracing::info!(deadline_seconds = self.drain_deadline.as_secs(), "draining");
        let Some(mut talk) = self.talk() else {
            return;
        };
        let mut left = String::new();
        let emptied = timeout_at(until.into(), self.empty(&mut talk, &mut left)).await;
        talk.close().await;
        let outcome = emptied.unwrap_or(Outcome::Deadline { left });
        tracing::info!(
            seconds = began.elapsed().as_secs(),
            "drain ended: {outcome}"
        );
        self.shared.set(Phase::Over(outcome));
    }

    /// Ends when it holds nothing. `left` says what that waits for.
    async fn empty(&mut self, talk: &mut Talk<T>, left: &mut String) -> Outcome {
        if let Some(outcome) = self.stop_intake(talk, left).await {
            return outcome;
        }
        let stopped = Instant::now();
        let mut asked = 0;
        let mut silent_since = None;
        loop {
            let empty = match self.holds_nothing(talk, left).await {
                Ok(true) => {
                    sleep(TWICE).await;
                    self.holds_nothing(talk, left).await
                }
                other => other,
            };
            match empty {
                Ok(true) => return Outcome::Drained,
                Ok(false) => silent_since = None,
                Err(error) => {
                    *left = error.to_string();
                    let since: Instant = *silent_since.get_or_insert_with(Instant::now);
                    if since.elapsed() >= GIVE_UP {
                        return Outcome::Unreached { left: left.clone() };
                    }
                }
            }
            asked += 1;
            self.pause(asked, stopped).await;
        }
    }

    /// Waits before it is asked again: heartbeats that tell of running tasks make that unnecessary.
    async fn pause(&self, asked: u32, stopped: Instant) {
        sleep(self.pace.drain_poll(asked)).await;
        while self.shared.ward().is_seen_busy(Instant::now(), stopped) {
            // Without news it is asked again.
            let _ = timeout(HEARD_WITHIN, self.shared.changed()).await;
        }
    }

    /// Cancels what it consumes from; else how the drain ends.
    async fn stop_intake(&mut self, talk: &mut Talk<T>, left: &mut String) -> Option<Outcome> {
        let mut pause = TRY_MIN;
        let began = Instant::now();
        let mut again = false;
        loop {
            let tried = if again {
                timeout(LISTENS, self.cancel_all(talk)).await
            } else {
                Ok(self.cancel_all(talk).await)
            };
            let known = self.shared.ward().is_known();
            match tried {
                Ok(Ok(())) => return None,
                Ok(Err(Unanswered::Absent)) if !known => return Some(Outcome::NeverSeen),
                _ if !known && again => return Some(Outcome::NeverSeen),
                _ if !known => {
                    again = true;
                    continue;
                }
                Ok(Err(error)) => *left = format!("intake is not stopped: {error}"),
                Err(_) => "intake is not stopped yet".clone_into(left),
            }
            again = false;
            if began.elapsed() >= GIVE_UP {
                return Some(Outcome::Unreached { left: left.clone() });
            }
            sleep(pause).await;
            pause = TRY_MAX.min(pause * 2);
        }
    }

    async fn cancel_all(&mut self, talk: &mut Talk<T>) -> Result<(), Unanswered> {
        let queues = self.consumed(talk).await?;
        if let Some(lease) = &mut self.lease {
            // Remembered before the first is cancelled.
            lease.queues.extend(queues.iter().cloned());
            lease.queues.sort();
            lease.queues.dedup();
        }
        for queue in &queues {
            self.shared.metrics().on_request("cancel_consumer");
            talk.consume(Control::CancelConsumer, queue).await?;
        }
        Ok(())
    }

    async fn consumed(&self, talk: &mut Talk<T>) -> Result<Vec<String>, Unanswered> {
        let question = Question::ActiveQueues;
        self.shared.metrics().on_request(question.command());
        let (queues, answer) = talk.queues().await?;
        self.shared
            .ward()
            .on_answer(Instant::now(), question, &answer);
        Ok(queues)
    }

    /// Whether it consumes nothing, has nothing reserved and runs nothing. In this order, since tasks go that way.
    async fn holds_nothing(
        &mut self,
        talk: &mut Talk<T>,
        left: &mut String,
    ) -> Result<bool, Unanswered> {
        if !self.consumed(talk).await?.is_empty() {
            "it still consumes".clone_into(left);
            self.cancel_all(talk).await?;
            return Ok(false);
        }
        for question in [Question::Reserved, Question::Active] {
            self.ask(talk, question).await?;
        }
        let [active, reserved, _] = self.shared.ward().holds();
        let (active, reserved) = (active.unwrap_or(0), reserved.unwrap_or(0));
        *left = format!("{active} tasks are running, {reserved} are reserved");
        Ok(active + reserved == 0)
    }

    /// Gives intake back when the worker did not go in time, or when another took its place. Should it lose its queues again
    /// to a reconnect, as Celery does to those that were cancelled once, that is shown (`consumes_nothing`) and not mended
    /// here: it cannot be told from a drain by others.
    pub(super) async fn give_back_if_due(&mut self) {
        let now = Instant::now();
        let lives = self.shared.ward().lives();
        if let Some(lease) = &mut self.lease {
            if lease.life != lives {
                (lease.life, lease.replaced, lease.next) = (lives, true, now);
            }
            if lease.next <= now {
                self.end_lease().await;
            }
        }
    }

    async fn end_lease(&mut self) {
        let Some(lease) = &mut self.lease else {
            return;
        };
        lease.next = Instant::now() + GIVE_BACK_EVERY;
        let (queues, replaced) = (lease.queues.clone(), lease.replaced);
        let Some(mut talk) = self.talk() else {
            return;
        };
        let ended = self.restored(&mut talk, &queues, replaced).await;
        talk.close().await;
        match ended {
            Ok(true) => {
                tracing::warn!(replaced, "the worker did not go: it takes tasks again");
                self.lease = None;
                self.shared.set(Phase::Idle);
            }
            Ok(false) => {}
            Err(error) => {
                tracing::debug!(%error, "nobody is there to get its queues back");
                self.note(Err(error));
            }
        }
    }

    /// Whether it consumes again. One that took another's place consumes what it was started with, and gets queues only
    /// if it has none: the cancels may have been meant for it.
    async fn restored(
        &mut self,
        talk: &mut Talk<T>,
        queues: &[String],
        replaced: bool,
    ) -> Result<bool, Unanswered> {
        let now = self.consumed(talk).await?;
        if (replaced && !now.is_empty()) || queues.iter().all(|queue| now.contains(queue)) {
            return Ok(true);
        }
        self.give_back(talk, queues).await?;
        sleep(SETTLES).await;
        let now = self.consumed(talk).await?;
        Ok(queues.iter().all(|queue| now.contains(queue)))
    }

    async fn give_back(&self, talk: &mut Talk<T>, queues: &[String]) -> Result<(), Unanswered> {
        for queue in queues {
            self.shared.metrics().on_request("add_consumer");
            talk.consume(Control::AddConsumer, queue).await?;
        }
        Ok(())
    }
}
