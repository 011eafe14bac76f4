//! Asks one worker, and waits for its answer. A connection of its own, made on first use and closed when it is not needed:
//! a fleet of sidecars holds none while the aggregator tells.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::collect::Node;
use crate::collect::look::Answer;
use crate::collect::question::Question;
use crate::transport::{Transport, TransportError};
use crate::wire::content::Serializer;
use crate::wire::message::Opener;
use crate::wire::pidbox::{self, Control, Destination, Reply, Request};

/// How long an answer is waited for: a worker answers within milliseconds, unless its loop is busy.
const ANSWER: Duration = Duration::from_secs(8);

/// Between two looks into the reply queue, at first and at last.
const PEEK_MIN: Duration = Duration::from_millis(10);
const PEEK_MAX: Duration = Duration::from_millis(250);

/// How long giving back what was made on the broker may take.
const CLOSE: Duration = Duration::from_secs(2);

/// A conversation with one worker.
pub(super) struct Talk<T> {
    pub(super) transport: T,
    node: Node,
    serializer: Serializer,
    prefix: String,
    issued: u64,
    opener: Opener,
    /// How many workers got the last request, where that is known.
    pub(super) reached: Option<u64>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unanswered {
    /// The broker cannot be used.
    #[error(transparent)]
    Broker(#[from] TransportError),
    /// Nobody listens there.
    #[error("no worker listens to remote control")]
    Absent,
    /// The broker has the question, and no answer came in time.
    #[error("the worker did not answer {command} within {} s", ANSWER.as_secs())]
    Silent {
        /// What was asked.
        command: String,
    },
    /// It answered that it could not.
    #[error("the worker answered {command} with an error: {reason}")]
    Refused {
        /// What was asked.
        command: String,
        /// Its words.
        reason: String,
    },
}

impl<T: Transport> Talk<T> {
    pub(super) fn new(transport: T, node: Node, serializer: Serializer) -> Self {
        Self {
            transport,
            node,
            serializer,
            prefix: Uuid::new_v4().simple().to_string(),
            issued: 0,
            opener: Opener::default(),
            reached: None,
        }
    }

    /// Asks a question.
    pub(super) async fn ask(&mut self, question: Question) -> Result<Answer, Unanswered> {
        let request = question.request(std::slice::from_ref(&self.node));
        let reply = self.request(request).await?;
        match question.read(&reply) {
            Answer::Error(reason) => Err(Unanswered::Refused {
                command: question.command().to_owned(),
                reason,
            }),
            answer => Ok(answer),
        }
    }

    /// Names of the queues that it consumes from.
    pub(super) async fn queues(&mut self) -> Result<(Vec<String>, Answer), Unanswered> {
        let answer = self.ask(Question::ActiveQueues).await?;
        let Answer::Queues(queues) = &answer else {
            unreachable!("`active_queues` is read as queues or as an error");
        };
        let names = queues.iter().map(|queue| queue.name.clone()).collect();
        Ok((names, answer))
    }

    /// Stops or starts the consumption of a queue. Celery has it done a moment after its answer.
    pub(super) async fn consume(
        &mut self,
        control: Control,
        queue: &str,
    ) -> Result<(), Unanswered> {
        let destination = Destination::nodes(vec![self.node.to_string()]);
        // One name was given.
        let destination = destination.ok_or(Unanswered::Absent)?;
        // Of a queue that it knows Celery takes everything but the name from its own definition.
        let request = Request::new(control, destination).argument("queue", queue);
        let command = control.name().to_owned();
        match self.request(request).await?.answer() {
            pidbox::Answer::Error(reason) => Err(Unanswered::Refused { command, reason }),
            pidbox::Answer::Ok(_) | pidbox::Answer::Data(_) => Ok(()),
        }
    }

    async fn request(&mut self, request: Request) -> Result<Reply, Unanswered> {
        self.issued += 1;
        let ticket = format!("{}.{}", self.prefix, self.issued);
        let command = request.method().name().to_owned();
        let request = request.reply_to(self.transport.reply_queue(), &ticket);
        // Celery looks at no expiry; a request that waits longer than its answer is of no use.
        let message = request.encode(self.serializer, 0.0);
        let published = self.transport.publish_to(&self.node, &message).await?;
        self.reached = published.subscribers;
        if self.reached == Some(0) {
            return Err(Unanswered::Absent);
        }
        let deadline = Instant::now() + ANSWER;
        let mut pause = PEEK_MIN;
        loop {
            sleep(pause).await;
            if let Some(reply) = self.take(&ticket).await? {
                return Ok(reply);
            }
            if Instant::now() >= deadline {
                return Err(Unanswered::Silent { command });
            }
            pause = PEEK_MAX.min(pause * 2);
        }
    }

    /// The reply with this ticket, if it is among those that have come. Others are of questions that were given up.
    async fn take(&mut self, ticket: &str) -> Result<Option<Reply>, TransportError> {
        let frames = self.transport.take_replies().await?;
        let mut found = None;
        for frame in &frames {
            let Ok(opened) = self.opener.open(frame) else {
                continue;
            };
            let reply = Reply::read(&opened).ok();
            let ours = |reply: &Reply| {
                reply.ticket.as_deref() == Some(ticket) && *reply.hostname == *self.node
            };
            found = reply.filter(ours).or(found);
        }
        Ok(found)
    }

    /// Gives back what was made on the broker.
    pub(super) async fn close(self) {
        if tokio::time::timeout(CLOSE, self.transport.close())
            .await
            .is_err()
        {
            tracing::debug!("the broker did not answer; what is left there expires");
        }
    }
}
