//! Which queues somebody had a worker stop consuming.

use super::build::*;
use crate::state::app::App;
use crate::state::changes::Changes;
use crate::state::ids::Symbol;
use crate::state::input::{Input, Meant, Snapshot, Wish};
use crate::state::limits::{CANCELLED_MAX, Limits};

/// An app with the workers `celery@a` and `celery@b`, in their first lives.
struct Scene {
    app: App,
    nodes: [Node; 2],
}

impl Scene {
    fn new() -> Self {
        let mut scene = Self {
            app: App::new("shop".into(), Limits::default()),
            nodes: [worker("celery@a", 7), worker("celery@b", 8)],
        };
        for at in [0, 1] {
            let event = scene.nodes[at].online(1.0);
            scene.tell(1.0, event.into());
        }
        scene
    }

    fn tell(&mut self, seconds: f64, input: Input) -> Changes {
        let mut changes = Changes::default();
        self.app.apply(at(seconds), input, &mut changes);
        changes
    }

    /// A command to `worker`, or to all, recorded at that time, and told of then or later.
    fn wish(&mut self, recorded: f64, worker: &str, what: Meant, queue: &str) -> Changes {
        let wish = Wish {
            queue: queue.into(),
            workers: (worker != "all").then(|| vec![worker.into()]),
            recorded: at(recorded),
            what,
        };
        self.tell(recorded, Input::Wish(wish))
    }

    /// The cancelled queues of a worker as its demand names them.
    fn cancelled(&self, worker: &str) -> Vec<String> {
        let demand = self.app.demand(at(2.0), &["mail".to_owned()], worker);
        let cancelled = demand.workers[0].cancelled.iter();
        cancelled.map(|one| one.queue.to_string()).collect()
    }
}

#[test]
fn a_cancel_is_named_until_the_queue_is_added_again() {
    let mut scene = Scene::new();
    let changes = scene.wish(2.0, "celery@a", Meant::Cancelled, "news");
    assert_eq!(changes.workers, [Symbol::from("celery@a")], "it is kept");
    scene.wish(3.0, "celery@a", Meant::Cancelled, "mail");
    assert_eq!(scene.cancelled("celery@a"), ["mail", "news"]);
    assert_eq!(scene.cancelled("celery@b"), [""; 0]);
    scene.wish(4.0, "celery@a", Meant::Consumed, "news");
    assert_eq!(scene.cancelled("celery@a"), ["mail"]);
    let changes = scene.wish(5.0, "celery@a", Meant::Consumed, "news");
    assert_eq!(changes.workers, []);
    scene.wish(6.0, "all", Meant::Cancelled, "news");
    assert_eq!(scene.cancelled("celery@a"), ["mail", "news"]);
    assert_eq!(scene.cancelled("celery@b"), ["news"]);
    scene.wish(7.0, "all", Meant::Consumed, "news");
    assert_eq!(scene.cancelled("celery@b"), [""; 0]);
}

#[test]
fn what_did_not_go_out_was_not_cancelled_by_it() {
    let mut scene = Scene::new();
    scene.wish(2.0, "celery@a", Meant::Cancelled, "mail");
    scene.wish(2.0, "celery@a", Meant::Unsaid, "mail");
    assert_eq!(scene.cancelled("celery@a"), [""; 0]);
    // What an earlier command said is still so.
    scene.wish(3.0, "celery@a", Meant::Cancelled, "mail");
    scene.wish(4.0, "celery@a", Meant::Cancelled, "mail");
    scene.wish(4.0, "celery@a", Meant::Unsaid, "mail");
    assert_eq!(scene.cancelled("celery@a"), ["mail"]);
}

#[test]
fn a_reconnect_is_the_same_life_and_another_life_consumes_what_it_is_started_with() {
    let mut scene = Scene::new();
    scene.wish(2.0, "all", Meant::Cancelled, "mail");
    // Celery says goodbye and hello when its connection was lost.
    for event in [Node::offline, Node::online] {
        let event = event(&mut scene.nodes[0], 3.0);
        scene.tell(3.0, event.into());
    }
    assert_eq!(scene.cancelled("celery@a"), ["mail"]);
    let event = worker("celery@a", 7).online(4.0);
    scene.tell(4.0, event.into());
    assert_eq!(scene.app.worker("celery@a").unwrap().incarnation, 2);
    assert_eq!(scene.cancelled("celery@a"), [""; 0]);
    assert_eq!(scene.cancelled("celery@b"), ["mail"]);
}

#[test]
fn what_was_said_to_a_life_before_it_was_seen_is_said_to_it() {
    let mut scene = Scene::new();
    scene.wish(20.0, "celery@a", Meant::Cancelled, "news");
    scene.wish(40.0, "celery@a", Meant::Cancelled, "mail");
    // Its uptime says that it began at 30 s; no event of it was heard.
    let answer = Snapshot {
        stats: Some(up_for(30.0)),
        ..answers("celery@a", 60.0)
    };
    scene.tell(60.0, answer.into());
    assert_eq!(scene.app.worker("celery@a").unwrap().incarnation, 2);
    assert_eq!(scene.cancelled("celery@a"), ["mail"]);
}

#[test]
fn of_more_than_are_kept_the_newest_are() {
    let mut scene = Scene::new();
    for number in 0..=CANCELLED_MAX {
        let queue = format!("q{number:03}");
        scene.wish(2.0, "celery@a", Meant::Cancelled, &queue);
    }
    let cancelled = scene.cancelled("celery@a");
    assert_eq!(cancelled.len(), CANCELLED_MAX);
    assert_eq!(cancelled[0], "q001");
}
