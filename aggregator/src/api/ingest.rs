//! `IngestService`: sessions of inspectors, the same code for remote and in-process ones.

use std::pin::{Pin, pin};

use celeriac_proto::v1;
use celeriac_proto::v1::attach_request::Message as Request;
use celeriac_proto::v1::attach_response::Message as Response;
use celeriac_proto::v1::ingest_service_server::IngestService;
use futures_util::{Stream, StreamExt as _};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use crate::access::{Caller, Right};
use crate::engine::{Attachment, Closed, EngineHandle, EngineStopped, Role, SessionState};

mod decode;
mod event;
mod order;

pub use decode::Decoder;
pub use event::Malformed;

/// Responses on their way to one inspector; acks are cumulative, so few are ever waiting.
const RESPONSES_MAX: usize = 64;

type Responses = mpsc::Sender<Result<v1::AttachResponse, Status>>;

/// The service.
#[derive(Clone)]
pub struct Ingest {
    engine: EngineHandle,
    stop: CancellationToken,
}

impl Ingest {
    /// A service that hands batches to `engine`, until `stop`.
    pub fn new(engine: EngineHandle, stop: CancellationToken) -> Self {
        Self { engine, stop }
    }

    /// One session of `caller`, from `hello` to the end of either side.
    pub async fn session<S>(self, mut requests: S, responses: Responses, caller: Caller)
    where
        S: Stream<Item = Result<v1::AttachRequest, Status>> + Send + Unpin,
    {
        if let Err(status) = self.converse(&mut requests, &responses, &caller).await {
            // The inspector may be gone already; then nobody needs the reason.
            let _gone = responses.send(Err(status)).await;
        }
    }

    async fn converse<S>(
        &self,
        requests: &mut S,
        responses: &Responses,
        caller: &Caller,
    ) -> Result<(), Status>
    where
        S: Stream<Item = Result<v1::AttachRequest, Status>> + Send + Unpin,
    {
        let Some(first) = requests.next().await.transpose()? else {
            return Ok(());
        };
        let Some(Request::Hello(hello)) = first.message else {
            return Err(Status::failed_precondition(
                "the first message must be `hello`",
            ));
        };
        let hello = checked(hello)?;
        let app = hello.app.clone();
        // Whatever follows is about this app and no other.
        caller.require(Right::Ingest, Some(&app)).await?;
        let mut refused = pin!(caller.until_refused(Right::Ingest, &app));
        let mut attachment = self.engine.attach(hello).await.map_err(stopped)?;
        let welcome = attachment.state.borrow_and_update().clone();
        going_on(&welcome)?;
        let mut told = Told::default();
        told.welcome(responses, &welcome).await?;
        let mut decoder = Decoder::default();
        loop {
            tokio::select! {
                () = self.stop.cancelled() => {
                    return Err(Status::unavailable("the aggregator is shutting down"));
                }
                status = &mut refused => return Err(status),
                changed = attachment.state.changed() => {
                    changed.map_err(|_closed| stopped(EngineStopped))?;
                    let state = attachment.state.borrow_and_update().clone();
                    told.update(responses, &state).await?;
                }
                Some(order) = attachment.orders.recv() => send(responses, self::order::message(order)).await?,
                request = requests.next() => {
                    let Some(request) = request.transpose()? else { return Ok(()) };
                    self.batch(&attachment, &mut decoder, request).await?;
                }
            }
        }
    }

    async fn batch(
        &self,
        attachment: &Attachment,
        decoder: &mut Decoder,
        request: v1::AttachRequest,
    ) -> Result<(), Status> {
        let Some(Request::Batch(batch)) = request.message else {
            return Err(Status::failed_precondition(
                "only batches may follow `hello`",
            ));
        };
        let batch = decoder.batch(batch);
        let batch = batch.map_err(|malformed| Status::invalid_argument(malformed.to_string()))?;
        self.engine.batch(attachment, batch).await.map_err(stopped)
    }
}

fn checked(hello: v1::Hello) -> Result<crate::engine::Hello, Status> {
    for (field, value) in [("app", &hello.app), ("instance", &hello.instance)] {
        if value.is_empty() || value.len() > 253 {
            let message = format!(
                "hello.{field} must have 1 to 253 characters, has {}",
                value.len()
            );
            return Err(Status::invalid_argument(message));
        }
    }
    let v1::Hello {
        app,
        instance,
        epoch,
        version,
        broker,
    } = hello;
    Ok(crate::engine::Hello {
        app,
        instance,
        epoch,
        version,
        broker: broker.map(decode::broker),
    })
}

/// Ends a session that is over, with the status by which an inspector knows whether its numbers can be used on.
fn going_on(state: &SessionState) -> Result<(), Status> {
    match &state.closed {
        None => Ok(()),
        Some(Closed::Replaced(reason)) => Err(Status::aborted(*reason)),
        Some(Closed::Refused(reason)) => Err(Status::failed_precondition(reason.clone())),
    }
}

fn stopped(_: EngineStopped) -> Status {
    Status::unavailable("the aggregator is shutting down")
}

/// What the inspector was told, so that it is told only what is new.
#[derive(Default)]
struct Told {
    role: Option<Role>,
    acknowledged: u64,
    repeats: u64,
}

impl Told {
    async fn welcome(&mut self, responses: &Responses, state: &SessionState) -> Result<(), Status> {
        let role = proto_role(state.role).into();
        let welcome = v1::Welcome {
            role,
            acknowledged_sequence: state.acknowledged,
        };
        self.role = Some(state.role);
        self.acknowledged = state.acknowledged;
        send(responses, Response::Welcome(welcome)).await
    }

    async fn update(&mut self, responses: &Responses, state: &SessionState) -> Result<(), Status> {
        going_on(state)?;
        if self.role != Some(state.role) {
            self.role = Some(state.role);
            let role = proto_role(state.role).into();
            send(responses, Response::RoleChange(v1::RoleChange { role })).await?;
        }
        let news = (state.acknowledged, state.repeats);
        if (self.acknowledged, self.repeats) != news {
            (self.acknowledged, self.repeats) = news;
            send(
                responses,
                Response::Ack(v1::Ack {
                    sequence: state.acknowledged,
                }),
            )
            .await?;
        }
        Ok(())
    }
}

fn proto_role(role: Role) -> v1::InspectorRole {
    match role {
        Role::Active => v1::InspectorRole::Active,
        Role::Standby => v1::InspectorRole::Standby,
    }
}

async fn send(responses: &Responses, message: Response) -> Result<(), Status> {
    let response = v1::AttachResponse {
        message: Some(message),
    };
    responses
        .send(Ok(response))
        .await
        .map_err(|_gone| Status::cancelled("the inspector is gone"))
}

#[tonic::async_trait]
impl IngestService for Ingest {
    type AttachStream =
        Pin<Box<dyn Stream<Item = Result<v1::AttachResponse, Status>> + Send + 'static>>;

    async fn attach(
        &self,
        request: tonic::Request<Streaming<v1::AttachRequest>>,
    ) -> Result<tonic::Response<Self::AttachStream>, Status> {
        let caller = Caller::of(&request)?;
        let (responses, stream) = mpsc::channel(RESPONSES_MAX);
        // The task ends with the request stream, with the response stream, or with `stop`.
        let session = self
            .clone()
            .session(request.into_inner(), responses, caller);
        tokio::spawn(session);
        Ok(tonic::Response::new(Box::pin(ReceiverStream::new(stream))))
    }
}
