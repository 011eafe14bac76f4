//! One pool: what is remembered of it, and one decision.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use celeriac_client::{Client, v1};
use kube::ResourceExt as _;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::Key;
use super::ask::ask;
use super::feed::{Feed, Told};
use super::others::{self, Other, Others};
use super::picture::{Known, Now, Picture, request};
use super::say::{Said, Saying};
use crate::autoscale::{Decision, History, decide};
use crate::controllers::Context;
use crate::crd::{CeleryWorker, ScalingMode};
use crate::drain::pod::Pod as Seen;

/// The aggregator tells something each 15 s; when two of those are missing, what it told is old.
const SILENT_AFTER: Duration = Duration::from_secs(35);

/// What is not known yet is not told of before this: at first nothing is.
const PATIENCE: Duration = Duration::from_secs(15);

/// What one look at all pools shares.
pub(super) struct Round<'a> {
    pub(super) context: &'a Context,
    pub(super) others: &'a [Others],
    /// The way to the aggregator, or why there is none.
    pub(super) client: &'a Result<Client, String>,
    /// To be told when a load has changed.
    pub(super) changed: &'a Arc<Notify>,
    pub(super) now: Now,
}

/// A pool as its objects are.
pub(super) struct Objects {
    pub(super) pool: Arc<CeleryWorker>,
    /// What its Deployment is asked for, where it is there.
    pub(super) deployed: Option<u32>,
    /// Its pods.
    pub(super) pods: Vec<Seen>,
}

/// What is remembered of a pool.
pub(super) struct Pool {
    uid: Option<String>,
    native: Option<Native>,
    said: Said,
    /// Since when it has been looked at.
    since: Instant,
}

/// What is remembered while the operator scales it.
struct Native {
    feed: Option<Feed>,
    history: History,
    /// Slots of a replica as they were known last.
    slots: Option<NonZeroU32>,
    /// The version over which was written last: until another is seen, what was asked for is under way.
    asked_over: Option<String>,
}

impl Pool {
    pub(super) fn new(object: &CeleryWorker) -> Self {
        Self {
            uid: object.uid(),
            native: None,
            said: Said::default(),
            since: Instant::now(),
        }
    }

    /// Whether it is about this object, and not about one of the same name before.
    pub(super) fn is_of(&self, object: &CeleryWorker) -> bool {
        self.uid == object.uid()
    }

    /// Whether something new was told of its load.
    pub(super) fn has_news(&self) -> bool {
        let feed = self.native.as_ref().and_then(|native| native.feed.as_ref());
        feed.is_some_and(Feed::has_news)
    }

    /// Looks at it, asks for another number of workers if that is due, and says what is new.
    pub(super) async fn look(&mut self, round: &Round<'_>, key: &Key, objects: &Objects) {
        let object = objects.pool.as_ref();
        let native = object.spec.options.scaling.mode == ScalingMode::Native;
        let saying = match others::find(round.others, &key.0, object) {
            Other::Found(words) => {
                // What was wanted meanwhile is not known when it goes on.
                self.native = None;
                Some(Saying::not("OtherAutoscaler", words))
            }
            _ if !native => {
                self.native = None;
                None
            }
            Other::Unknown if self.since.elapsed() < PATIENCE => return,
            Other::Unknown => {
                let words = "nothing is done before it is known that no HorizontalPodAutoscaler scales this pool too";
                Some(Saying::not("AutoscalersUnknown", words.to_owned()))
            }
            Other::Nobody => {
                let patient = self.since.elapsed() < PATIENCE;
                let window = round.context.scale_down_window;
                let native = self
                    .native
                    .get_or_insert_with(|| Native::new(round.now, window));
                match native.decide(round, key, objects, patient).await {
                    Some(saying) => Some(saying),
                    None => return,
                }
            }
        };
        self.said.say(round.context, object, saying.as_ref()).await;
    }
}

impl Native {
    fn new(now: Now, window: Duration) -> Self {
        Self {
            feed: None,
            history: History::new(now.moment, window),
            slots: None,
            asked_over: None,
        }
    }

    /// Decides and acts; `None` when there is nothing to be said (yet).
    async fn decide(
        &mut self,
        round: &Round<'_>,
        key: &Key,
        objects: &Objects,
        patient: bool,
    ) -> Option<Saying> {
        let object = objects.pool.as_ref();
        let told = match self.told(round, key, object) {
            Told::Demand(demand, at) if at.elapsed() <= SILENT_AFTER => Ok(demand),
            Told::Demand(..) => Err("the aggregator is silent".to_owned()),
            Told::Nothing if patient => return None,
            Told::Nothing => Err("the aggregator has not answered yet".to_owned()),
            Told::Broken(why) => Err(why),
        };
        let (decision, slots) =
            self.decision(round.now, objects, told.as_deref().map_err(Clone::clone));
        let before = u32::try_from(object.spec.options.replicas).unwrap_or_default();
        let going = u32::try_from(decision.retire.len()).unwrap_or(u32::MAX);
        let target = decision.replicas.saturating_sub(going);
        if target != before {
            let version = object.resource_version();
            if self.asked_over.is_some() && self.asked_over == version {
                return None;
            }
            if !ask(round.context, object, target).await {
                // Nothing is remembered of what was not done: the next round decides anew.
                return None;
            }
            self.asked_over = version;
        }
        self.slots = Some(slots);
        self.history.record(round.now.moment, &decision);
        Some(Saying::of(&decision, before, target))
    }

    fn decision(
        &self,
        now: Now,
        objects: &Objects,
        told: Result<&v1::Demand, String>,
    ) -> (Decision, NonZeroU32) {
        let known = Known {
            object: &objects.pool,
            deployed: objects.deployed,
            pods: &objects.pods,
            slots: self.slots,
            now,
        };
        let Picture {
            policy,
            demand,
            replicas,
        } = Picture::new(&known, told);
        let decision = decide(now.moment, &policy, &demand, &replicas, &self.history);
        (decision, policy.slots_per_replica)
    }

    /// What the stream of the pool's load told last. Opens one, or another when it is to be about other queues.
    fn told(&mut self, round: &Round<'_>, key: &Key, object: &CeleryWorker) -> Told {
        let client = match round.client {
            Ok(client) => client,
            Err(why) => return Told::Broken(why.clone()),
        };
        let Some(request) = request(&key.0, object) else {
            // The API server takes no such pool.
            return Told::Broken("the pool names no app or no queues".to_owned());
        };
        let follows = |feed: &Feed| *feed.request() == request;
        if !self.feed.as_ref().is_some_and(follows) {
            let changed = Arc::clone(round.changed);
            self.feed = Some(Feed::open(client.clone(), request, changed));
        }
        self.feed.as_mut().map_or(Told::Nothing, Feed::last)
    }
}
