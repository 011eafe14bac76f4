use super::*;

fn worker(name: &str) -> Worker {
    Worker {
        name: name.to_owned(),
        online: true,
        slots: Some(4),
        version: Some("5.7.0".to_owned()),
        ..Worker::default()
    }
}

fn queue(name: &str, ready: u64) -> Queue {
    Queue {
        name: name.to_owned(),
        ready: Some(ready),
        ..Queue::default()
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("it is a time")
}

fn shop() -> App {
    let mail = "celery@shop-mail-6d4f5c7d9-x2k4z";
    let rest = "celery@shop-default-84bd5c9f6c-8qvnh";
    App {
        unacked: Some(9),
        failed_last_hour: Some(3),
        workers: vec![
            Worker {
                active: Some(3),
                reserved: 2,
                queues: Some(vec!["mail".to_owned(), "news".to_owned()]),
                ..worker(mail)
            },
            Worker {
                active: Some(1),
                reserved: 5,
                slots: None,
                events_off: true,
                version: Some("5.4.0".to_owned()),
                ..worker(rest)
            },
            Worker {
                online: false,
                active: Some(4),
                reserved: 7,
                version: Some("4.4.7".to_owned()),
                ..worker("celery@shop-mail-6d4f5c7d9-gone1")
            },
        ],
        queues: vec![
            Queue {
                oldest: Some(at(50)),
                unacked: Some(4),
                ..queue("mail", 20)
            },
            Queue {
                oldest: Some(at(40)),
                ..queue("celery", 1)
            },
            // Of a queue that is empty no message is the oldest.
            Queue {
                oldest: Some(at(10)),
                ..queue("old", 0)
            },
        ],
        ..App::default()
    }
}

#[test]
fn an_app_is_what_its_workers_on_line_and_its_queues_add_up_to() {
    let figures = of_app(&shop());
    let expected = Figures {
        online: Some(2),
        // Of one worker the slots are not known, so neither is what is busy of them.
        busy: Some((3, 4)),
        backlog: Some(20 + 1 + 2 + 5),
        oldest: Some(at(40)),
        unacked: Some(9),
        failed: Some(3),
        versions: vec!["5.4.0".to_owned(), "5.7.0".to_owned()],
        events_off: Some(1),
    };
    assert_eq!(figures, expected);
}

#[test]
fn a_pool_is_its_pods_workers_and_the_queues_they_take_from() {
    let app = shop();
    // By what its worker says, and by what it is told.
    for targets in [vec![], vec!["mail".to_owned(), "news".to_owned()]] {
        let mail = of_pool(&app, "shop-mail", &targets);
        assert_eq!(mail.online, Some(1));
        assert_eq!(mail.busy, Some((3, 4)));
        assert_eq!(mail.backlog, Some(22));
        assert_eq!(mail.oldest, Some(at(50)));
        assert_eq!(mail.unacked, Some(4));
        assert_eq!(mail.failed, None);
    }
    // Nobody says which queues these are.
    let rest = of_pool(&app, "shop-default", &[]);
    assert_eq!((rest.backlog, rest.busy), (None, None));
}

#[test]
fn a_pool_without_workers_has_no_slots_and_the_backlog_of_its_queues() {
    let none = of_pool(&shop(), "shop-night", &["mail".to_owned()]);
    assert_eq!((none.online, none.busy), (Some(0), Some((0, 0))));
    assert_eq!(none.backlog, Some(20));
    // On Redis a queue that is empty is not there.
    let empty = of_pool(&shop(), "shop-night", &["night".to_owned()]);
    assert_eq!((empty.backlog, empty.unacked), (Some(0), None));
}

#[test]
fn what_was_not_read_is_not_known() {
    let mut app = shop();
    for queue in &mut app.queues {
        queue.ready = None;
    }
    assert_eq!(of_app(&app).backlog, None);
    app.queues.clear();
    assert_eq!(of_app(&app).backlog, Some(7));
}

#[test]
fn a_worker_is_of_the_pool_whose_deployment_made_its_pod() {
    let long = "a".repeat(40) + "-" + &"b".repeat(22);
    let cut = format!("celery@{}x2k4z", &format!("{long}-")[..58]);
    let near = "c".repeat(50);
    let near_cut = format!("celery@{near}-6d4f5c7x2k4z");
    for (node, pool, expected) in [
        ("celery@shop-mail-6d4f5c7d9-x2k4z", "shop-mail", true),
        // Another pool whose name begins alike.
        ("celery@shop-mail-6d4f5c7d9-x2k4z", "shop", false),
        (
            "celery@shop-mail-6d4f5c7d9-x2k4z",
            "shop-mail-6d4f5c7d9",
            false,
        ),
        ("celery@shop-mail", "shop-mail", false),
        ("celery@shop-mail-x2k4z", "shop-mail", false),
        ("other@shop-mail-6d4f5c7d9-x2k4z", "shop-mail", false),
        ("celery@höst-mail-6d4f5c7d9-x2k4z", "höst-mail", false),
        ("celery@", "", false),
        (cut.as_str(), long.as_str(), true),
        (near_cut.as_str(), near.as_str(), true),
        (near_cut.as_str(), "shop-mail", false),
    ] {
        assert_eq!(is_of_pool(node, pool), expected, "{node} {pool}");
    }
}
