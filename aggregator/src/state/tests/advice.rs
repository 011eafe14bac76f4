//! What is said of workers that tell or hear less than others.

use super::build::{Scene, answers, at, report, scene, worker};
use crate::state::input::{Report, Snapshot, Stats, Unread, WorkerEvent};

#[test]
fn what_a_worker_does_not_tell_is_advised_on() {
    let (mut deaf, mut mute) = (worker("celery@deaf", 1), worker("celery@mute", 2));
    let mut scene = scene();
    scene
        .see(report(0.0, true))
        .see(deaf.online(0.0))
        .see(answers("celery@mute", 0.0));
    let silent = |seconds| Snapshot {
        hostname: "celery@deaf".to_owned(),
        asked: at(seconds),
        received: at(seconds),
        unanswered: vec!["stats".into()],
        ..Snapshot::default()
    };
    scene.see(silent(1.0));
    assert!(scene.app.advice().is_empty());
    scene
        .see(silent(30.0))
        .see(deaf.beats(59.0))
        .see(mute.receives("t", 59.0));
    let codes = |scene: &Scene, name: &str| -> Vec<_> {
        scene
            .app
            .advice_of(name)
            .iter()
            .map(|advice| advice.code)
            .collect()
    };
    assert_eq!(codes(&scene, "celery@deaf"), ["REMOTE_CONTROL_OFF"]);
    assert!(codes(&scene, "celery@mute").is_empty());
    scene.pass_until(61.0);
    assert_eq!(codes(&scene, "celery@mute"), ["HEARTBEATS_OFF"]);
    let rejections = vec![Unread {
        reason: "content type application/x-python-serialize is never read".into(),
        count: 3,
        ..Unread::default()
    }];
    scene.see(Report {
        rejections,
        ..report(62.0, true)
    });
    assert!(scene.changes.app);
    let advice = &scene.app.advice()[0];
    assert_eq!((advice.code, &advice.worker), ("UNREADABLE_CONTENT", &None));
    assert!(advice.message.contains("application/x-python-serialize"));
    assert!(
        advice.message.contains("whoever else publishes"),
        "{}",
        advice.message
    );
}

fn silence(name: &str, seconds: f64) -> Snapshot {
    Snapshot {
        hostname: name.to_owned(),
        asked: at(seconds),
        received: at(seconds),
        unanswered: vec!["stats".into()],
        ..Snapshot::default()
    }
}

/// One worker that answers and two that never do, of whom the broker counts this many in all.
fn counted(subscribers: u64) -> Vec<(&'static str, String)> {
    let mut scene = scene();
    let names = ["celery@deaf", "celery@numb"];
    scene.see(Report {
        control_subscribers: Some(subscribers),
        ..report(0.0, true)
    });
    scene.see(answers("celery@open", 0.0));
    for (name, pid) in names.into_iter().zip(1..) {
        scene.see(worker(name, pid).online(0.0));
        scene.see(silence(name, 1.0)).see(silence(name, 2.0));
    }
    let said = names.into_iter().flat_map(|name| scene.app.advice_of(name));
    said.map(|advice| (advice.code, advice.message)).collect()
}

#[test]
fn the_brokers_count_tells_who_does_not_listen_from_who_refuses() {
    for (subscribers, code, word) in [
        (1, "REMOTE_CONTROL_OFF", "does not listen"),
        (2, "REMOTE_CONTROL_OFF", "if it is off"),
        (3, "CONTROL_REFUSED", "`accept_content`"),
    ] {
        let said = counted(subscribers);
        assert_eq!(said.len(), 2, "{said:?}");
        for (said_code, message) in said {
            assert_eq!(said_code, code, "{subscribers} subscribers");
            assert!(message.contains(word), "{message}");
        }
    }
}

#[test]
fn what_is_not_read_of_a_worker_explains_its_silence() {
    let mut scene = scene();
    let unread = |senders: &[&str], repliers: &[&str]| Unread {
        reason: "content type application/x-python-serialize is never read".into(),
        count: 7,
        sample: None,
        senders: senders.iter().map(|node| (*node).into()).collect(),
        repliers: repliers.iter().map(|node| (*node).into()).collect(),
    };
    let (mut unanswering, mut set_right) = (worker("celery@a", 1), worker("celery@right", 3));
    let reports = |seconds| Report {
        rejections: vec![unread(&["celery@e", "celery@right"], &["celery@a"])],
        control_subscribers: Some(3),
        ..report(seconds, true)
    };
    scene
        .see(reports(0.0))
        .see(answers("celery@e", 0.0))
        .see(set_right.online(0.0))
        .see(unanswering.online(0.0))
        .see(silence("celery@a", 1.0))
        .see(silence("celery@a", 2.0));
    scene.pass_until(70.0);
    scene
        .see(reports(70.0))
        .see(answers("celery@e", 71.0))
        .see(set_right.beats(71.0));
    let codes = |name: &str| -> Vec<_> {
        let advice = scene.app.advice_of(name);
        advice.iter().map(|advice| advice.code).collect()
    };
    // Heartbeats that are not read are not missing.
    assert_eq!(codes("celery@e"), ["EVENTS_UNREADABLE"]);
    assert!(codes("celery@right").is_empty());
    let app = &scene.app.advice()[0].message;
    assert!(
        app.starts_with("7 messages from celery@e, celery@right, celery@a were not read"),
        "{app}"
    );
    scene.see(unanswering.beats(71.5));
    let advice = scene.app.advice_of("celery@a");
    assert_eq!(advice[0].code, "ANSWERS_UNREADABLE");
    assert!(advice[0].message.contains("`task_serializer = 'json'`"));
}

#[test]
fn a_pool_of_threads_before_5_7_is_said_to_lose_events_with_the_way_out() {
    for (pool, version, sends, loses) in [
        ("thread", "5.4.0", true, true),
        ("thread", "4.4.7", true, true),
        ("thread", "5.7.0", true, false),
        ("thread", "5.7.0rc1", true, false),
        ("thread", "6.0.1", true, false),
        ("prefork", "5.4.0", true, false),
        // One that sends none loses none.
        ("thread", "5.4.0", false, false),
    ] {
        let mut node = worker("celery@w", 1);
        let mut scene = scene();
        let stats = Stats {
            pool_implementation: Some(format!("celery.concurrency.{pool}:TaskPool").into()),
            ..Stats::default()
        };
        scene
            .see(report(0.0, true))
            .see(WorkerEvent {
                sw_ver: Some(version.into()),
                ..node.online(0.0)
            })
            .see(Snapshot {
                stats: Some(stats),
                ..answers("celery@w", 1.0)
            });
        if sends {
            scene.see(node.receives("t", 2.0));
        }
        let advice = scene.app.advice_of("celery@w");
        let codes: Vec<_> = advice.iter().map(|advice| advice.code).collect();
        let expected: &[&str] = if loses { &["THREADS_LOSE_EVENTS"] } else { &[] };
        assert_eq!(codes, expected, "{pool} {version} {sends}");
        for word in ["celery@w", version, "Upgrade to Celery 5.7", "prefork"] {
            let said = advice.iter().all(|advice| advice.message.contains(word));
            assert!(said, "{advice:?}");
        }
    }
}
