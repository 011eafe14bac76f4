//! Commands to workers. A command whose connection broke is asked for again under the same `request_id`, which the
//! aggregator answers from its record and never sends twice; nothing else is repeated but reads.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBuilder};
use celeriac_proto::v1;
use tonic::{Request, Response, Status};

use crate::{Client, Error};

/// How long an aggregator waits for answers when the request does not say (`ExecuteCommandRequest.wait`).
const WAIT_DEFAULT: Duration = Duration::from_secs(5);
/// What recording, publishing and answering may take on top of that: a commit of some milliseconds, and an inspector that
/// is asked over the network.
const WAIT_MARGIN: Duration = Duration::from_secs(15);
/// The longest delay between two requests, as of a watch.
const DELAY_MAX: Duration = Duration::from_secs(5);
/// For how long to ask again while no connection was ever made, and so nothing can have been sent: the address may be wrong.
const PATIENCE_UNREACHED: Duration = Duration::from_secs(3);

impl Client {
    /// Sends one command to workers, and returns its record once the wait is over or every worker has answered.
    ///
    /// When the connection breaks, no answer comes in time, or the aggregator is not ready, the same request is made again
    /// for a while ([`crate::Builder::command_patience`]), and `on_retry` is told why and after which delay. That is safe: `request_id` makes it one command.
    ///
    /// # Errors
    ///
    /// When the aggregator cannot be reached or refuses. With [`Error::Broken`] and [`Error::Deadline`] it is not known
    /// whether the command was recorded: [`Client::get_command`] tells, or this call with the same `request_id`.
    pub async fn execute_command(
        &self,
        request: v1::ExecuteCommandRequest,
        mut on_retry: impl FnMut(&Error, Duration),
    ) -> Result<v1::ExecuteCommandResponse, Error> {
        let deadline = request.wait.as_ref().map_or(WAIT_DEFAULT, wait) + WAIT_MARGIN;
        let started = tokio::time::Instant::now();
        let mut delays = ExponentialBuilder::new()
            .with_min_delay(Duration::from_millis(200))
            .with_max_delay(DELAY_MAX)
            .with_factor(2.0)
            .with_jitter()
            .without_max_times()
            .build();
        // The first error after which the command may be on its way: later ones say less.
        let mut uncertain: Option<Error> = None;
        let mut patience = PATIENCE_UNREACHED.min(self.command_patience());
        loop {
            let error = match self.execute_once(request.clone(), deadline).await {
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            if !matches!(error, Error::Unreachable { .. }) {
                patience = self.command_patience();
            }
            // Without an identity of its own a second request would be a second command.
            if !error.is_transient() || request.request_id.is_empty() {
                return Err(error);
            }
            let asked = match &error {
                Error::Refused(refusal) => refusal.retry_after.unwrap_or_default(),
                _ => Duration::ZERO,
            };
            let delay = delays.next().unwrap_or(DELAY_MAX).max(asked);
            if started.elapsed() + delay > patience {
                return Err(uncertain.unwrap_or(error));
            }
            on_retry(&error, delay);
            if matches!(error, Error::Broken { .. } | Error::Deadline { .. }) {
                uncertain.get_or_insert(error);
            }
            tokio::time::sleep(delay).await;
        }
    }

    async fn execute_once(
        &self,
        request: v1::ExecuteCommandRequest,
        deadline: Duration,
    ) -> Result<v1::ExecuteCommandResponse, Error> {
        let mut timed = Request::new(request);
        timed.set_timeout(deadline);
        let address = self.address();
        let mut service = self.control();
        match tokio::time::timeout(deadline, service.execute_command(timed)).await {
            Ok(answer) => answer
                .map(Response::into_inner)
                .map_err(|status: Status| Error::from_status(&status, address, deadline)),
            Err(_) => Err(Error::Deadline {
                address: address.clone(),
                deadline,
            }),
        }
    }

    /// Reads the record of one command, with the answers that came late.
    ///
    /// # Errors
    ///
    /// When the aggregator cannot be reached, gives no answer in time, or refuses.
    pub async fn get_command(
        &self,
        request: v1::GetCommandRequest,
    ) -> Result<v1::GetCommandResponse, Error> {
        let service = self.control();
        self.repeat(|| {
            let (mut service, request) = (service.clone(), request.clone());
            async move { service.get_command(request).await }
        })
        .await
    }

    /// Reads one page of recorded commands, newest first.
    ///
    /// # Errors
    ///
    /// When the aggregator cannot be reached, gives no answer in time, or refuses.
    pub async fn list_commands(
        &self,
        request: v1::ListCommandsRequest,
    ) -> Result<v1::ListCommandsResponse, Error> {
        let service = self.control();
        self.repeat(|| {
            let (mut service, request) = (service.clone(), request.clone());
            async move { service.list_commands(request).await }
        })
        .await
    }
}

/// A wait as a duration; one that is out of range is the aggregator's to refuse.
fn wait(wait: &prost_types::Duration) -> Duration {
    Duration::try_from(*wait).unwrap_or(WAIT_DEFAULT)
}
