//! What is told of the load of a queue set.

use super::build::*;
use crate::state::app::App;
use crate::state::changes::Changes;
use crate::state::demand::Demand;
use crate::state::ids::Micros;
use crate::state::input::{
    BrokerFacts, Depths, Input, QueueDepth, Report, Snapshot, Stats, WorkerEvent,
};
use crate::state::limits::Limits;
use crate::state::worker::ConsumedQueue;

/// An app that is told things by the second.
struct Scene {
    app: App,
    now: Micros,
}

impl Scene {
    fn new() -> Self {
        Self {
            app: App::new("shop".into(), Limits::default()),
            now: at(0.0),
        }
    }

    fn tell(&mut self, seconds: f64, input: Input) {
        self.now = at(seconds);
        self.app.apply(self.now, input, &mut Changes::default());
    }

    fn report(&mut self, seconds: f64, reachable: bool) {
        let broker = BrokerFacts {
            endpoint: "redis://h:6379/0".into(),
            transport: "redis".into(),
            version: None,
            reachable,
            unreachable_reason: (!reachable).then(|| "connection refused".into()),
            since: at(seconds),
        };
        let report = Report {
            time: at(seconds),
            subscribed: true,
            broker: Some(broker),
            messages: 0,
            events: 0,
            rejections: Vec::new(),
            control_subscribers: None,
            silent_nodes: Vec::new(),
            kept: false,
        };
        self.tell(seconds, Input::Report(Box::new(report)));
    }

    fn depths(&mut self, seconds: f64, ready: u64, unacked_total: Option<u64>) {
        let queue = QueueDepth {
            name: "mail".into(),
            ready,
            priorities: Vec::new(),
            consumers: None,
            unacked: None,
            oldest: None,
        };
        let depths = Depths {
            read: at(seconds),
            queues: vec![queue],
            unacked_total,
        };
        self.tell(seconds, Input::Depths(depths));
    }

    /// The worker answered that it consumes `queues` with four processes.
    fn answers(&mut self, seconds: f64, name: &str, queues: &[&str]) {
        let queues = queues.iter().map(|name| ConsumedQueue {
            name: (*name).into(),
            exchange: (*name).into(),
            exchange_type: "direct".into(),
            routing_key: (*name).into(),
            max_priority: None,
        });
        let stats = Stats {
            pid: Some(7),
            pool_implementation: Some("celery.concurrency.prefork:TaskPool".into()),
            max_concurrency: Some(4),
            processes: vec![11, 12, 13, 14],
            ..Stats::default()
        };
        let snapshot = Snapshot {
            hostname: name.to_owned(),
            asked: at(seconds),
            received: at(seconds),
            stats: Some(stats),
            queues: Some(queues.collect()),
            ..Snapshot::default()
        };
        self.tell(seconds, Input::Snapshot(Box::new(snapshot)));
    }

    fn beat(&mut self, node: &mut Node, seconds: f64, active: u64, processed: u64) {
        let beat = node.beats(seconds);
        let beat = WorkerEvent {
            active: Some(active),
            processed: Some(processed),
            ..beat
        };
        self.tell(seconds, beat.into());
    }

    fn demand(&self) -> Demand {
        self.app.demand(self.now, &["mail".to_owned()], "")
    }
}

#[test]
fn a_steady_flow_is_told_with_its_rate_and_the_time_a_task_takes() {
    let mut scene = Scene::new();
    let mut node = worker("celery@mail-1", 7);
    scene.report(0.0, true);
    scene.answers(0.5, "celery@mail-1", &["mail"]);
    // Three tasks start each second and three slots are busy: a task takes a second. The queue grows by two a second.
    for step in 0..60_u32 {
        let seconds = f64::from(step) * 2.0;
        scene.depths(seconds, u64::from(step) * 4, Some(0));
        scene.beat(&mut node, seconds + 0.1, 3, u64::from(step) * 6);
    }
    let demand = scene.demand();
    assert_eq!(demand.stale, None);
    assert_eq!((demand.ready, demand.active, demand.slots), (59 * 4, 3, 4));
    let service_time = demand.service_time.unwrap();
    assert!((service_time - 1.0).abs() < 0.1, "{service_time}");
    for rate in [demand.arrivals, demand.arrivals_now] {
        let rate = rate.unwrap();
        assert!((rate - 5.0).abs() < 0.8, "{rate}");
    }
    // It has not been empty for 117 s.
    let age = demand.oldest_age.unwrap();
    assert!((age - 116.1).abs() < 0.2, "{age}");
    assert!(demand.workers[0].accepting);
    assert_eq!(
        demand.workers[0].queues.as_ref().unwrap().0,
        ["mail".into()]
    );
}

#[test]
fn of_few_starts_no_time_is_told() {
    let mut scene = Scene::new();
    let mut node = worker("celery@mail-1", 7);
    scene.answers(0.0, "celery@mail-1", &["mail"]);
    scene.beat(&mut node, 1.0, 0, 0);
    scene.beat(&mut node, 3.0, 2, 19);
    assert_eq!(scene.demand().service_time, None);
    scene.beat(&mut node, 5.0, 2, 20);
    assert!(scene.demand().service_time.is_some());
}

#[test]
fn what_runs_waits_and_has_an_eta_is_told_apart() {
    let mut scene = Scene::new();
    let mut node = worker("celery@mail-1", 7);
    scene.answers(0.0, "celery@mail-1", &["mail"]);
    scene.beat(&mut node, 1.0, 0, 0);
    for id in ["a", "b", "c"] {
        let event = node.receives(id, 2.0);
        scene.tell(2.0, event.into());
    }
    let mut later = node.receives("d", 2.5);
    later.eta = Some(at(600.0));
    scene.tell(2.5, later.into());
    let started = node.starts("a", 3.0);
    scene.tell(3.0, started.into());
    scene.beat(&mut node, 9.0, 1, 1);
    let demand = scene.demand();
    assert_eq!(
        (demand.active, demand.reserved, demand.scheduled),
        (1, 2, 1)
    );
    assert!(
        (demand.running_age.unwrap() - 6.0).abs() < 0.01,
        "{demand:?}"
    );
    // The time of its ETA has come.
    scene.beat(&mut node, 601.0, 1, 1);
    let demand = scene.demand();
    assert_eq!(
        (demand.active, demand.reserved, demand.scheduled),
        (1, 3, 0)
    );
}

#[test]
fn a_worker_that_consumes_nothing_is_told_of_by_its_name_and_accepts_nothing() {
    let mut scene = Scene::new();
    let mut node = worker("celery@mail-1", 7);
    scene.answers(0.0, "celery@mail-1", &[]);
    scene.beat(&mut node, 1.0, 2, 5);
    assert_eq!(scene.demand().workers, []);
    let named = scene
        .app
        .demand(scene.now, &["mail".to_owned()], "celery@mail-");
    assert_eq!((named.active, named.slots), (2, 0));
    assert!(!named.workers[0].accepting && named.workers[0].online);
}

#[test]
fn a_message_that_nobody_holds_is_told_after_a_while_and_one_on_its_way_is_not() {
    let mut scene = Scene::new();
    scene.report(0.0, true);
    for second in 0..14 {
        scene.depths(f64::from(second), 0, Some(u64::from(second > 0) * 3));
        assert_eq!(scene.demand().unacked, Some(0), "{second}");
    }
    scene.depths(14.0, 0, Some(1));
    scene.depths(17.0, 0, Some(3));
    assert_eq!(scene.demand().unacked, Some(1));
    scene.depths(31.0, 0, Some(3));
    scene.depths(33.0, 0, Some(3));
    assert_eq!(scene.demand().unacked, Some(3));
    scene.depths(34.0, 0, Some(0));
    assert_eq!(scene.demand().unacked, Some(0));
}

#[test]
fn it_is_said_why_numbers_are_old() {
    let mut scene = Scene::new();
    let stale = |scene: &Scene| scene.demand().stale.unwrap_or_default();
    assert_eq!(stale(&scene), "the inspector has not reported yet");
    scene.report(1.0, true);
    assert_eq!(stale(&scene), "the depths of queues have not been read yet");
    scene.depths(2.0, 0, None);
    assert_eq!(scene.demand().stale, None);
    scene.now = at(13.0);
    assert_eq!(stale(&scene), "the depths of queues were read 11 s ago");
    scene.report(14.0, false);
    assert_eq!(
        stale(&scene),
        "the broker cannot be reached: connection refused"
    );
}
