//! A broker in memory, for tests of what stands above a transport: scripted events, recorded requests, made-up replies and
//! faults at the press of a switch. It keeps the contract of [`Transport`].

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{
    DepthReading, Incoming, Published, QueueDepth, Subscription, Transport, TransportError,
};
use crate::wire::message::Frame;
use crate::wire::pidbox::ControlMessage;

/// Items a reader may leave unread before [`FakeTransport::push`] waits.
const BUFFER: usize = 1_024;

/// Answers a request: the frames that workers would send to the reply queue.
type Answer = Box<dyn FnMut(&ControlMessage) -> Vec<Frame> + Send>;

/// Makes the error of a broken broker, once for each call.
type Fault = Box<dyn Fn() -> TransportError + Send>;

/// A broker in memory. A clone is another handle on the same broker, so that a test keeps one while the code under test owns
/// the other.
#[derive(Clone)]
pub struct FakeTransport {
    shared: Arc<Shared>,
}

struct Shared {
    reply_queue: String,
    events: mpsc::Sender<Incoming>,
    /// Held by the subscription that lives.
    scripted: tokio::sync::Mutex<Scripted>,
    state: Mutex<State>,
}

/// What is to be delivered.
struct Scripted {
    /// Taken by a subscription whose reader went at that moment: it is the next one's.
    taken: Option<Incoming>,
    events: mpsc::Receiver<Incoming>,
}

impl Scripted {
    async fn next(&mut self) -> Option<Incoming> {
        match self.taken.take() {
            Some(item) => Some(item),
            None => self.events.recv().await,
        }
    }
}

struct State {
    published: Vec<ControlMessage>,
    answer: Answer,
    replies: VecDeque<Frame>,
    subscribers: Option<u64>,
    depths: BTreeMap<String, QueueDepth>,
    unacked_total: Option<u64>,
    now_micros: i64,
    fault: Option<Fault>,
    closed: bool,
}

impl Default for FakeTransport {
    fn default() -> Self {
        let (events, scripted) = mpsc::channel(BUFFER);
        let scripted = Scripted {
            taken: None,
            events: scripted,
        };
        let state = State {
            published: Vec::new(),
            answer: Box::new(|_| Vec::new()),
            replies: VecDeque::new(),
            subscribers: Some(0),
            depths: BTreeMap::new(),
            unacked_total: Some(0),
            now_micros: 0,
            fault: None,
            closed: false,
        };
        let reply_queue = "celeriac.fake.reply.celery.pidbox".to_owned();
        Self {
            shared: Arc::new(Shared {
                reply_queue,
                events,
                scripted: tokio::sync::Mutex::new(scripted),
                state: Mutex::new(state),
            }),
        }
    }
}

impl FakeTransport {
    /// An empty broker that works.
    pub fn new() -> Self {
        Self::default()
    }

    /// Delivers an item to the subscription, now or when it is made; waits while the reader leaves too many unread. Nothing
    /// happens when the subscription has ended.
    pub async fn push(&self, incoming: Incoming) {
        // An error means that nobody listens any more, which is no failure of a broker.
        let _ = self.shared.events.send(incoming).await;
    }

    /// Messages flow from `at_micros` on (microseconds since the Unix epoch).
    pub async fn live(&self, at_micros: i64) {
        self.push(Incoming::Live {
            at_micros,
            kept: false,
        })
        .await;
    }

    /// Delivers a message.
    pub async fn deliver(&self, frame: Frame, received_micros: i64) {
        self.push(Incoming::Message {
            frame,
            received_micros,
            receipt: None,
        })
        .await;
    }

    /// The connection is lost at `at_micros` (microseconds since the Unix epoch).
    pub async fn lose(&self, error: TransportError, at_micros: i64) {
        self.push(Incoming::Lost {
            at_micros,
            error,
            kept: false,
        })
        .await;
    }

    /// From now on requests are answered by `answer`; its frames come to the reply queue at once.
    pub fn answer_with(&self, answer: impl FnMut(&ControlMessage) -> Vec<Frame> + Send + 'static) {
        self.shared.state.lock().answer = Box::new(answer);
    }

    /// A reply that comes when it comes.
    pub fn reply(&self, frame: Frame) {
        self.shared.state.lock().replies.push_back(frame);
    }

    /// How many subscribers a request reaches; `None` as on a broker that does not tell.
    pub fn set_subscribers(&self, subscribers: Option<u64>) {
        self.shared.state.lock().subscribers = subscribers;
    }

    /// Sets what is known of a queue; it is discovered from then on.
    pub fn set_depth(&self, depth: QueueDepth) {
        self.shared
            .state
            .lock()
            .depths
            .insert(depth.name.clone(), depth);
    }

    /// Sets what is delivered and not acknowledged.
    pub fn set_unacked_total(&self, unacked: Option<u64>) {
        self.shared.state.lock().unacked_total = unacked;
    }

    /// Sets the time of the next readings, microseconds since the Unix epoch.
    pub fn set_now_micros(&self, now_micros: i64) {
        self.shared.state.lock().now_micros = now_micros;
    }

    /// From now on every call fails with what `fault` makes, and nothing is published.
    pub fn fail_with(&self, fault: impl Fn() -> TransportError + Send + 'static) {
        self.shared.state.lock().fault = Some(Box::new(fault));
    }

    /// From now on calls work again.
    pub fn mend(&self) {
        self.shared.state.lock().fault = None;
    }

    /// The requests that were published since the last call, oldest first.
    pub fn take_published(&self) -> Vec<ControlMessage> {
        std::mem::take(&mut self.shared.state.lock().published)
    }

    /// Whether [`Transport::close`] was called.
    pub fn is_closed(&self) -> bool {
        self.shared.state.lock().closed
    }

    fn checked<T>(&self, call: impl FnOnce(&mut State) -> T) -> Result<T, TransportError> {
        let mut state = self.shared.state.lock();
        if let Some(fault) = &state.fault {
            return Err(fault());
        }
        Ok(call(&mut state))
    }
}

impl Transport for FakeTransport {
    fn subscribe(&self, stop: CancellationToken) -> Subscription {
        let shared = Arc::clone(&self.shared);
        let (out, incoming) = mpsc::channel(BUFFER);
        tokio::spawn(async move {
            let forward = async {
                let mut scripted = shared.scripted.lock().await;
                while let Some(item) = scripted.next().await {
                    if let Err(unread) = out.send(item).await {
                        scripted.taken = Some(unread.0);
                        break;
                    }
                }
            };
            tokio::select! {
                // In this order, so that one that has ended takes nothing from the next.
                biased;
                () = stop.cancelled() => {}
                () = out.closed() => {}
                () = forward => {}
            }
        });
        incoming.into()
    }

    async fn publish_control(&self, message: &ControlMessage) -> Result<Published, TransportError> {
        self.checked(|state| {
            state.published.push(message.clone());
            let replies = (state.answer)(message);
            state.replies.extend(replies);
            Published {
                subscribers: state.subscribers,
            }
        })
    }

    fn reply_queue(&self) -> &str {
        &self.shared.reply_queue
    }

    async fn take_replies(&self) -> Result<Vec<Frame>, TransportError> {
        self.checked(|state| state.replies.drain(..).collect())
    }

    async fn depths(&self, queues: &[String]) -> Result<DepthReading, TransportError> {
        self.checked(|state| {
            let empty = |name: &String| QueueDepth {
                name: name.clone(),
                ready: vec![(0, 0)],
                ..QueueDepth::default()
            };
            let known = |name: &String| {
                state
                    .depths
                    .get(name)
                    .cloned()
                    .unwrap_or_else(|| empty(name))
            };
            DepthReading {
                read_micros: state.now_micros,
                queues: queues.iter().map(known).collect(),
                unacked_total: state.unacked_total,
            }
        })
    }

    async fn discover_queues(&self) -> Result<Vec<String>, TransportError> {
        self.checked(|state| state.depths.keys().cloned().collect())
    }

    async fn server_version(&self) -> Result<String, TransportError> {
        self.checked(|_| "fake 1".to_owned())
    }

    async fn results(&self, _: &[String]) -> Result<Option<Vec<Vec<u8>>>, TransportError> {
        self.checked(|_| None)
    }

    async fn close(&self) {
        self.shared.state.lock().closed = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(body: &str) -> ControlMessage {
        ControlMessage {
            body: body.as_bytes().to_vec(),
            content_type: "application/json",
            content_encoding: "utf-8",
            expires: 0.0,
        }
    }

    fn down() -> TransportError {
        TransportError::Unreachable {
            endpoint: "fake".to_owned(),
            reason: "switched off".to_owned(),
        }
    }

    #[tokio::test]
    async fn scripted_items_come_in_order_until_stopped() {
        let broker = FakeTransport::new();
        let stop = CancellationToken::new();
        broker.live(1).await;
        let mut incoming = broker.subscribe(stop.clone());
        broker.deliver(Frame::Envelope(vec![7].into()), 2).await;
        broker.lose(down(), 3).await;
        assert!(matches!(
            incoming.recv().await,
            Some(Incoming::Live { at_micros: 1, .. })
        ));
        assert!(matches!(
            incoming.recv().await,
            Some(Incoming::Message {
                received_micros: 2,
                ..
            })
        ));
        assert!(matches!(
            incoming.recv().await,
            Some(Incoming::Lost { at_micros: 3, .. })
        ));
        stop.cancel();
        assert!(incoming.recv().await.is_none());
        broker.live(4).await;
    }

    #[tokio::test]
    async fn requests_are_recorded_and_answered() {
        let broker = FakeTransport::new();
        broker.set_subscribers(Some(2));
        broker.answer_with(|message| vec![Frame::Envelope(message.body.clone().into())]);
        let published = broker
            .publish_control(&request("ping"))
            .await
            .expect("the broker works");
        assert_eq!(published.subscribers, Some(2));
        broker.reply(Frame::Envelope(b"late".to_vec().into()));
        let replies = broker.take_replies().await.expect("the broker works");
        assert_eq!(
            replies,
            [
                Frame::Envelope(b"ping".to_vec().into()),
                Frame::Envelope(b"late".to_vec().into())
            ]
        );
        assert!(
            broker
                .take_replies()
                .await
                .expect("the broker works")
                .is_empty()
        );
        assert_eq!(broker.take_published(), [request("ping")]);
        assert!(broker.take_published().is_empty());
    }

    #[tokio::test]
    async fn a_broken_broker_publishes_nothing_until_mended() {
        let broker = FakeTransport::new();
        broker.fail_with(down);
        broker
            .publish_control(&request("ping"))
            .await
            .expect_err("the broker is broken");
        broker.depths(&[]).await.expect_err("the broker is broken");
        broker.mend();
        assert!(broker.take_published().is_empty());
        broker.set_depth(QueueDepth {
            name: "a".to_owned(),
            ready: vec![(0, 3)],
            ..QueueDepth::default()
        });
        broker.set_now_micros(9);
        let reading = broker
            .depths(&["b".to_owned(), "a".to_owned()])
            .await
            .expect("the broker works");
        assert_eq!(reading.read_micros, 9);
        assert_eq!(reading.queues[0].ready, [(0, 0)]);
        assert_eq!(reading.queues[1].ready, [(0, 3)]);
        assert_eq!(
            broker.discover_queues().await.expect("the broker works"),
            ["a"]
        );
        broker.close().await;
        assert!(broker.is_closed());
    }
}
