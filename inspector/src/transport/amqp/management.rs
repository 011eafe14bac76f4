//! RabbitMQ's management over HTTP, where there is one: what passive declares do not tell. Nothing depends on it; whether it
//! is there is said once.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, AUTHORIZATION, HOST, HeaderValue, WWW_AUTHENTICATE};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::{Instant as Deadline, timeout_at};
use tokio_util::task::AbortOnDropHandle;

use super::super::{TransportError, failure, socket};
use crate::wire::url::{Address, ManagementUrl, Server};

/// How long an answer may take; a list of 10,000 queues takes a second.
const ANSWER: Duration = Duration::from_secs(5);

/// Bytes of an answer that are read at most: 10,000 queues with five fields each have 2 MiB.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What it told is good for this long: its own numbers are made every 5 s.
const FRESH: Duration = Duration::from_secs(5);

/// After a failure it is asked again after this.
const AGAIN: Duration = Duration::from_mins(1);

/// What it calls a stream.
const STREAM: &str = "stream";

/// Management of one broker.
pub(super) struct Management {
    /// Where it is said to be, so that its absence is worth a warning; otherwise it may be beside the server.
    named: Option<ManagementUrl>,
    control_exchange: String,
    state: Mutex<State>,
    /// One asks at a time.
    asking: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    /// The server beside which it was asked last.
    of: Option<Address>,
    told: Option<(Instant, Arc<Told>)>,
    /// When it last failed, and how.
    failed: Option<(Instant, String)>,
}

/// What it says of the virtual host.
#[derive(Debug, Clone, Default)]
pub(super) struct Told {
    /// Of every queue by name.
    pub(super) queues: HashMap<String, QueueFacts>,
    /// Queues bound to the exchange of control requests.
    pub(super) listeners: u64,
    /// Such as `3.10.8`.
    pub(super) version: String,
}

/// One queue.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct QueueFacts {
    name: String,
    /// Such as `quorum`.
    #[serde(default, rename = "type")]
    kind: Option<String>,
    /// Delivered and not acknowledged; absent until the first statistics.
    #[serde(default, rename = "messages_unacknowledged")]
    pub(super) unacked: Option<u64>,
    /// When its oldest message was published, seconds since the Unix epoch, if the publisher said so.
    #[serde(default, rename = "head_message_timestamp")]
    pub(super) head_seconds: Option<i64>,
}

#[derive(Deserialize)]
struct Overview {
    rabbitmq_version: String,
}

#[derive(Deserialize)]
struct Binding {
    destination_type: String,
}

impl QueueFacts {
    /// Whether it is a stream: its messages stay when they have been read, so that their number says nothing of what waits.
    pub(super) fn is_stream(&self) -> bool {
        self.kind.as_deref() == Some(STREAM)
    }
}

impl Management {
    pub(super) fn new(named: Option<ManagementUrl>, control_exchange: String) -> Self {
        Self {
            named,
            control_exchange,
            state: Mutex::default(),
            asking: tokio::sync::Mutex::default(),
        }
    }

    /// What it told last, if that is not older than a minute.
    pub(super) fn last(&self) -> Option<Arc<Told>> {
        let state = self.state.lock();
        let (at, told) = state.told.as_ref()?;
        (at.elapsed() < AGAIN).then(|| Arc::clone(told))
    }

    /// What it tells now of the broker of a server. `None` when it is not there or does not answer.
    pub(super) async fn told(&self, server: &Server) -> Option<Arc<Told>> {
        let named = self.named.clone().map(|url| url.of(server));
        let url = &named.or_else(|| ManagementUrl::beside(server))?;
        let _one = self.asking.lock().await;
        {
            let mut state = self.state.lock();
            // After a failover it is another that is asked, or another broker that is asked for.
            if state.of.as_ref() != Some(&server.address) {
                *state = State {
                    of: Some(server.address.clone()),
                    ..State::default()
                };
            }
            if let Some((at, told)) = &state.told
                && at.elapsed() < FRESH
            {
                return Some(Arc::clone(told));
            }
            if state
                .failed
                .as_ref()
                .is_some_and(|(at, _)| at.elapsed() < AGAIN)
            {
                return None;
            }
        }
        let asked = self.ask_all(url).await;
        let mut state = self.state.lock();
        match asked {
            Ok(told) => {
                if state.told.is_none() || state.failed.take().is_some() {
                    tracing::info!(endpoint = %url.server.endpoint(), "management tells of queues");
                }
                told.explain_streams(state.told.as_ref().map(|(_, before)| before.as_ref()));
                let told = Arc::new(told);
                state.told = Some((Instant::now(), Arc::clone(&told)));
                Some(told)
            }
            Err(error) => {
                self.on_failure(&mut state, error.to_string());
                None
            }
        }
    }

    fn on_failure(&self, state: &mut State, error: String) {
        let news = state.failed.as_ref().is_none_or(|(_, last)| *last != error);
        if news && self.named.is_some() {
            tracing::warn!(
                error,
                "management does not answer; what it alone tells is absent"
            );
        } else if news {
            tracing::info!(
                error,
                "without management there are no unacknowledged counts and no queues but those that workers name; \
                 its URL can be given as --management"
            );
        }
        state.told = None;
        state.failed = Some((Instant::now(), error));
    }

    async fn ask_all(&self, url: &ManagementUrl) -> Result<Told, TransportError> {
        if self.named.is_none() {
            self.check_realm(url).await?;
        }
        let host = url.virtual_host();
        let overview: Overview = get(url, "/api/overview").await?;
        let columns = "columns=name,type,messages_unacknowledged,head_message_timestamp";
        let queues: Vec<QueueFacts> = get(url, &format!("/api/queues/{host}?{columns}")).await?;
        let exchange = percent_encoding::utf8_percent_encode(
            &self.control_exchange,
            percent_encoding::NON_ALPHANUMERIC,
        );
        let bindings = format!("/api/exchanges/{host}/{exchange}/bindings/source");
        // There is none before the first worker.
        let bindings: Vec<Binding> = get(url, &bindings).await.unwrap_or_default();
        let listeners = bindings
            .iter()
            .filter(|one| one.destination_type == "queue");
        Ok(Told {
            listeners: listeners.count() as u64,
            queues: queues
                .into_iter()
                .map(|facts| (facts.name.clone(), facts))
                .collect(),
            version: overview.rabbitmq_version,
        })
    }

    /// User and password go only to what says that it is management.
    async fn check_realm(&self, url: &ManagementUrl) -> Result<(), TransportError> {
        let answer = request(url, "/api/overview", false).await?;
        let realm = answer.headers().get(WWW_AUTHENTICATE);
        let realm = realm.map_or_else(String::new, |realm| {
            String::from_utf8_lossy(realm.as_bytes()).to_ascii_lowercase()
        });
        if answer.status() == StatusCode::UNAUTHORIZED && realm.contains("rabbitmq management") {
            return Ok(());
        }
        Err(answered(url, "it is not RabbitMQ's management".to_owned()))
    }
}

impl Told {
    /// Names, once, the streams that it did not tell of before.
    fn explain_streams(&self, before: Option<&Self>) {
        let known = |name: &str| before.is_some_and(|told| told.queues.contains_key(name));
        for facts in self.queues.values().filter(|facts| facts.is_stream()) {
            if !known(&facts.name) {
                tracing::warn!(
                    queue = facts.name,
                    "it is a stream, whose messages stay when they have been read: it has no depth and is left out"
                );
            }
        }
    }
}

async fn get<T: DeserializeOwned>(url: &ManagementUrl, path: &str) -> Result<T, TransportError> {
    let answer = request(url, path, true).await?;
    match answer.status() {
        StatusCode::OK => {
            serde_json::from_slice(answer.body()).map_err(|error| answered(url, error.to_string()))
        }
        status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
            Err(TransportError::Credentials {
                endpoint: url.server.endpoint(),
                reason: format!(
                    "status {} for {path}; management needs a user with the tag management or monitoring",
                    status.as_u16()
                ),
            })
        }
        other => Err(answered(
            url,
            format!("status {} for {path}", other.as_u16()),
        )),
    }
}

fn answered(url: &ManagementUrl, reason: String) -> TransportError {
    TransportError::Answer {
        endpoint: url.server.endpoint(),
        action: "management",
        reason,
    }
}

/// One GET over a connection of its own, as the user of the URL when it is `known` who asks.
async fn request(
    url: &ManagementUrl,
    path: &str,
    known: bool,
) -> Result<Response<Bytes>, TransportError> {
    let server = &url.server;
    let deadline = Deadline::now() + ANSWER;
    let socket = socket::open(server, deadline, ANSWER).await?;
    let mut asked = Request::get(format!("{}{path}", url.prefix))
        .header(HOST, url.authority())
        .header(ACCEPT, "application/json");
    if known {
        let pair = format!(
            "{}:{}",
            server.username.as_deref().unwrap_or_default(),
            server.password.as_deref().unwrap_or_default()
        );
        let basic = format!("Basic {}", base64_simd::STANDARD.encode_to_string(pair));
        let mut basic = HeaderValue::try_from(basic).expect("base64 is visible ASCII");
        basic.set_sensitive(true);
        asked = asked.header(AUTHORIZATION, basic);
    }
    let asked = asked.body(Empty::<Bytes>::new());
    let asked = asked.map_err(|error| answered(url, error.to_string()))?;
    let broken = |error: hyper::Error| answered(url, failure::words(server, &error.to_string()));
    let exchange = async {
        let (mut sender, connection) = http1::handshake(TokioIo::new(socket))
            .await
            .map_err(broken)?;
        let _connection = AbortOnDropHandle::new(tokio::spawn(connection));
        let (head, body) = sender
            .send_request(asked)
            .await
            .map_err(broken)?
            .into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| answered(url, failure::words(server, &error.to_string())));
        Ok(Response::from_parts(head, body?.to_bytes()))
    };
    timeout_at(deadline, exchange)
        .await
        .map_err(|_| failure::timed_out(server, "management", ANSWER))?
}
