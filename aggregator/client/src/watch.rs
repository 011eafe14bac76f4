//! A watch that outlives its connection. It keeps the resume token and nothing of what it was told.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use celeriac_proto::v1;
use futures_util::Stream;
use tokio::time::Instant;
use tonic::Streaming;

use crate::{Client, Error};

/// What a [`Watch`] has to tell.
#[derive(Debug)]
pub enum Update {
    /// A message of the stream, as the aggregator sent it.
    Message(Box<v1::WatchResponse>),
    /// The stream broke. It is opened again, with the last resume token, by the next call of [`Watch::next`]: what follows
    /// either continues without a hole, or begins with a new snapshot or a gap.
    Interrupted {
        /// Why it broke.
        error: Error,
        /// How long the next call waits before it tries.
        retry_in: Duration,
    },
}

/// A stream of changes that goes on after a disconnect.
#[derive(Debug)]
pub struct Watch {
    client: Client,
    request: v1::WatchRequest,
    silence: Duration,
    stream: Option<Streaming<v1::WatchResponse>>,
    /// Whether a message has ever come. Before that nothing is tried for long: the address may be wrong.
    established: bool,
    /// Delays of the present row of failures.
    delays: ExponentialBackoff,
    retry_at: Option<Instant>,
}

/// The longest delay between two tries: an aggregator that is back is seen within seconds, and a thousand watchers of one
/// that is not cost it two hundred connections a second.
const DELAY_MAX: Duration = Duration::from_secs(5);

fn delays() -> ExponentialBackoff {
    ExponentialBuilder::new()
        .with_min_delay(Duration::from_millis(200))
        .with_max_delay(DELAY_MAX)
        .with_factor(2.0)
        .with_jitter()
        .without_max_times()
        .build()
}

impl Watch {
    pub(crate) fn new(client: Client, request: v1::WatchRequest, silence: Duration) -> Self {
        Self {
            client,
            request,
            silence,
            stream: None,
            established: false,
            delays: delays(),
            retry_at: None,
        }
    }

    /// The token of the last message; empty before the first. A new watch with it goes on where this one stopped.
    #[must_use]
    pub fn resume_token(&self) -> &str {
        &self.request.resume_token
    }

    /// The next message, or that the stream broke. Dropping the future loses nothing.
    ///
    /// # Errors
    ///
    /// When the first stream cannot be opened, and when the aggregator refuses a stream in a way that trying again does not
    /// change. Calling it again then tries again.
    pub async fn next(&mut self) -> Result<Update, Error> {
        if let Some(retry_at) = self.retry_at {
            tokio::time::sleep_until(retry_at).await;
            self.retry_at = None;
        }
        let outcome = self.message().await;
        match outcome {
            Ok(message) => {
                self.established = true;
                self.delays = delays();
                self.request.resume_token.clone_from(&message.resume_token);
                Ok(Update::Message(Box::new(message)))
            }
            Err(error) => {
                self.stream = None;
                if !self.established || !error.is_transient() {
                    return Err(error);
                }
                let retry_in = self.delays.next().unwrap_or(DELAY_MAX);
                self.retry_at = Some(Instant::now() + retry_in);
                Ok(Update::Interrupted { error, retry_in })
            }
        }
    }

    async fn message(&mut self) -> Result<v1::WatchResponse, Error> {
        let stream = match &mut self.stream {
            Some(stream) => stream,
            none => none.insert(self.client.open_watch(self.request.clone()).await?),
        };
        let address = self.client.address();
        match tokio::time::timeout(self.silence, stream.message()).await {
            Ok(Ok(Some(message))) => Ok(message),
            Ok(Ok(None)) => Err(Error::Broken {
                address: address.clone(),
                reason: "the aggregator ended the stream".to_owned(),
            }),
            Ok(Err(status)) => Err(Error::from_status(&status, address, self.silence)),
            Err(_) => Err(Error::Deadline {
                address: address.clone(),
                deadline: self.silence,
            }),
        }
    }

    /// The same as a stream, which ends after the first error.
    pub fn into_stream(self) -> impl Stream<Item = Result<Update, Error>> + Send {
        futures_util::stream::unfold(Some(self), async |watch| {
            let mut watch = watch?;
            let update = watch.next().await;
            let watch = update.is_ok().then_some(watch);
            Some((update, watch))
        })
    }
}
