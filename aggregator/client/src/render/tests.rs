//! What a person sees, letter by letter.

use celeriac_client::v1;

use super::fixture::*;
use super::watch::Lines;
use super::*;

#[track_caller]
fn shows(have: &str, want: &str) {
    assert_eq!(have, want, "\n--- have\n{have}\n--- want\n{want}");
}

#[test]
fn workers_show_who_is_there_and_how_busy() {
    let list = [worker(), silent_worker()];
    shows(
        &workers::table(&list, false, &view()).render(&view()),
        "\
NAME       STATUS  POOL     BUSY  PROCESSED  FAILED  EVENTS  SEEN    QUEUES
celery@w1  ONLINE  prefork   2/4        650       8  on      1s ago  celery,mail
celery@w3  SILENT  -         -/-          -       -  off     1h ago  -
",
    );
}

#[test]
fn workers_wide_show_the_rest() {
    let wide = wide();
    let table = workers::table(&[worker()], false, &wide).render(&wide);
    let (titles, row) = table.split_once('\n').expect("two lines");
    let columns = |line: &str| line.split("  ").filter(|cell| !cell.is_empty()).count();
    assert_eq!(columns(titles), 21, "{titles}");
    for value in [
        "640",
        "0.50 0.75 1.00",
        "41",
        "2h5m",
        "120MiB",
        "py-celery 5.7.0",
        "16",
    ] {
        assert!(row.contains(value), "{value} in {row}");
    }
}

#[test]
fn several_apps_are_named() {
    let mut other = queue();
    other.app = "blog".into();
    shows(
        &queues::table(&[queue(), other], true, &view()).render(&view()),
        "\
APP   NAME    READY  UNACKED  ACTIVE  CONSUMERS  OLDEST  WORKERS
shop  celery    120       ~8       3          2  ~4m10s        2
blog  celery    120       ~8       3          2  ~4m10s        2
",
    );
}

#[test]
fn queues_show_estimates_as_such_and_unknown_as_unknown() {
    shows(
        &queues::table(&[queue(), unread_queue()], false, &view()).render(&view()),
        "\
NAME    READY  UNACKED  ACTIVE  CONSUMERS  OLDEST  WORKERS
celery    120       ~8       3          2  ~4m10s        2
mail        -        -       0          -       -        0
",
    );
    shows(
        &queues::table(&[queue()], false, &wide()).render(&wide()),
        "\
APP   NAME    READY  UNACKED  ACTIVE  CONSUMERS  OLDEST  WORKERS  PRIORITIES  READ    CONSUMERS AS OF  OLDEST BY  CONSUMED BY
shop  celery    120       ~8       3          2  ~4m10s        2  0:100 3:20  1s ago  45s ago          estimated  celery@w1,celery@w2
",
    );
}

#[test]
fn tasks_flag_what_is_amiss() {
    shows(
        &tasks::table(&[done(), failed(), lost(), vanished()], false, &view()).render(&view()),
        "\
ID                                    NAME       STATE                      WORKER     RUNTIME  SEEN
4bb9ac42-6bb5-4a4b-a0fb-3d2b3b9c7c62  shop.add   SUCCESS                    celery@w1     12ms  35s ago
a3d1f6c0-0000-4000-8000-000000000002  shop.mail  FAILURE                    celery@w1        -  2m ago
b0000000-0000-4000-8000-000000000003  -          STARTED (lost)             celery@w3        -  1h ago
b0000000-0000-4000-8000-000000000003  -          STARTED (outcome unknown)  celery@w3        -  1h ago
",
    );
}

#[test]
fn tasks_fit_a_narrow_terminal_with_whole_ids() {
    let mut task = done();
    task.name = Some("shop.billing.invoices.send_reminder".into());
    task.worker = Some("celery@shop-worker-7d9f8b6c5-x2x9z".into());
    let view = View {
        width: Some(90),
        ..view()
    };
    let table = tasks::table(&[task, failed()], false, &view).render(&view);
    shows(
        &table,
        "\
ID                                    NAME          STATE    WORKER       RUNTIME  SEEN
4bb9ac42-6bb5-4a4b-a0fb-3d2b3b9c7c62  shop.billin…  SUCCESS  celery@sho…     12ms  35s ago
a3d1f6c0-0000-4000-8000-000000000002  shop.mail     FAILURE  celery@w1          -  2m ago
",
    );
    assert!(table.lines().all(|line| text::width(line) <= 90));
}

#[test]
fn states_have_colours_on_a_terminal() {
    let view = View {
        color: true,
        ..view()
    };
    let table = tasks::table(&[done(), failed(), lost(), vanished()], false, &view).render(&view);
    for coloured in [
        "\x1b[32mSUCCESS\x1b[0m",
        "\x1b[31mFAILURE\x1b[0m",
        "\x1b[31mSTARTED (lost)\x1b[0m",
        "\x1b[33mSTARTED (outcome unknown)\x1b[0m",
    ] {
        assert!(table.contains(coloured), "{coloured:?} in {table:?}");
    }
    assert_eq!(text::Tone::of_state("STARTED"), text::Tone::Busy);
    assert_eq!(text::Tone::of_state("RETRY"), text::Tone::Warn);
    let workers = workers::table(&[silent_worker()], false, &view).render(&view);
    assert!(workers.contains("\x1b[31mSILENT\x1b[0m"), "{workers:?}");
}

#[test]
fn a_failed_task_tells_its_life() {
    shows(
        &task::detail(&failed(), &view()),
        "\
Task     a3d1f6c0-0000-4000-8000-000000000002
Name     shop.mail
State    FAILURE
App      shop
Worker   celery@w1
Parent   4bb9ac42-6bb5-4a4b-a0fb-3d2b3b9c7c62
Root     4bb9ac42-6bb5-4a4b-a0fb-3d2b3b9c7c62
Retries  1

Times
  Received    20s ago (2026-11-22T02:01:43.000Z)
  Started     18s ago (2026-11-22T02:01:45.000Z)
  Failed      15s ago (2026-11-22T02:01:48.000Z)
  First seen  2m10s ago (2026-11-22T01:59:53.000Z)
  Last seen   15s ago (2026-11-22T02:01:48.000Z)

Args
  ('x@y.z',)

Kwargs (what JSON cannot hold was replaced)
  {'body': 'hi\\x1b[2J'}

Exception
  ValueError('boom')

Traceback (cut, 70KiB in full)
  Traceback (most recent call last):
    File \"shop.py\", line 3
  ValueError: boom

Attempts
  NO  WORKER     LIFE  RECEIVED  STARTED  ENDED    TOOK  OUTCOME  EXCEPTION
   1  celery@w2     1  2m ago    2m ago   2m ago     3s  RETRY    ConnectionError()
   2  celery@w1     2  20s ago   18s ago  15s ago    3s  FAILURE  ValueError('boom')

Custom fields
  progress = 0.5
",
    );
}

#[test]
fn lost_and_unknown_are_explained_in_a_sentence() {
    let lost = task::detail(&lost(), &view());
    assert!(
        lost.contains("State    STARTED (lost)\nLost     Its worker went offline or began"),
        "{lost}"
    );
    let unknown = task::detail(&vanished(), &view());
    assert!(
        unknown.contains("Outcome unknown  It is over, but how is not known"),
        "{unknown}"
    );
    let mut revoked = done();
    revoked.revocation = Some(v1::Revocation {
        terminated: true,
        signal: Some("SIGKILL".into()),
        expired: false,
    });
    revoked.attempts = vec![v1::Attempt {
        number: 45,
        ..Default::default()
    }];
    revoked.attempt_count = 45;
    let revoked = task::detail(&revoked, &view());
    for text in [
        "Revoked  its process was told to end by signal SIGKILL",
        "Root     itself",
        "Attempts (the last 1 of 45)",
        "Runtime     12ms",
    ] {
        assert!(revoked.contains(text), "{text} in {revoked}");
    }
}

#[test]
fn a_worker_tells_what_it_answered() {
    shows(
        &worker::detail(&worker(), &view()),
        "\
Worker           celery@w1
App              shop
Status           ONLINE
Status since     10m ago (2026-11-22T01:52:03.000Z)
Last heartbeat   1s ago (2026-11-22T02:02:02.000Z)
Last seen        1s ago (2026-11-22T02:02:02.000Z)
Heartbeat every  2s
Life             2, pid 41, seen since 10m ago (2026-11-22T01:52:03.000Z)
Software         py-celery 5.7.0
System           Linux
Load             0.50 0.75 1.00
Task events      on

Tasks
  Busy               2/4
  Reserved           3
  Processed          650
  Missed starts      3
  Active (asked)     1
  Reserved (asked)   3
  Scheduled (asked)  5
  Asked              45s ago (2026-11-22T02:01:18.000Z)

Pool
  Pool             prefork
  Slots            4
  Processes        4
  Max concurrency  4
  Autoscaler       4 now, from 2 to 8
  Prefetch         16
  Uptime           2h5m
  Memory peak      120MiB

Queues
  NAME    EXCHANGE   TYPE    ROUTING KEY  MAX PRIORITY
  celery  celery     direct  celery                  -
  mail    (default)  direct  mail                   10

Events seen in this life
  EVENT           COUNT
  task-succeeded    640
  task-failed         8

Tasks accepted since start
  NAME      COUNT
  shop.add    650

Registered tasks (2)
  shop.add
  shop.mail

Configuration
  2 settings, shown by -o wide
",
    );
    let wide = worker::detail(&worker(), &wide());
    let configuration = "Configuration\n  broker_url = \"redis://h//\"\n  task_acks_late = true\n";
    assert!(wide.ends_with(configuration), "{wide}");
}

#[test]
fn apps_show_the_broker_and_wide_what_was_missed() {
    let mut down = app();
    down.name = "blog".into();
    down.advice.clear();
    if let Some(broker) = &mut down.broker {
        broker.reachable = false;
        broker.unreachable_reason = Some("connection refused; start Redis".into());
    }
    let unseen = v1::App {
        name: "new".into(),
        ..Default::default()
    };
    shows(
        &apps::table(&[app(), down.clone(), unseen], &view()),
        "\
NAME  BROKER                    STATUS        WORKERS  BUSY  READY  UNACKED  UNFINISHED  EVENTS
shop  redis://127.0.0.1:6379/0  ok                2/3   3/6    120        -          14    2703
blog  redis://127.0.0.1:6379/0  broker down       2/3   3/6    120        -          14    2703
new   -                         no inspector      0/0   0/0      0        -           0       0
",
    );
    let refused =
        "blog: broker redis://127.0.0.1:6379/0 is not reached: connection refused; start Redis";
    assert_eq!(apps::unreachable(&[app(), down]), [refused]);
    let wide = apps::table(&[app()], &wide());
    shows(
        wide.split_once("\n\n").expect("sections").1,
        "\
Gaps
APP   CAUSE      FROM    TO      WORKER  MISSED STARTS  DROPPED  DETAIL
shop  reconnect  1m ago  1m ago  all                 7        -  the broker closed the connection

Not read
APP   COUNT  REASON                                                     SAMPLE
shop      4  content type application/x-python-serialize is never read  -
",
    );
}

#[test]
fn advice_is_one_line_a_kind() {
    let mut many: Vec<_> = (0..5)
        .map(|number| v1::Worker {
            name: format!("celery@w{number}"),
            ..silent_worker()
        })
        .collect();
    assert_eq!(
        advice::lines(&[app()], &many, false),
        [
            "advice: task events are off; start the worker with -E [celery@w3, celery@w0, celery@w1 and 2 more] (for 2m10s)"
        ],
    );
    many.truncate(1);
    assert_eq!(
        advice::lines(&[], &many, true),
        ["advice: shop: task events are off; start the worker with -E [celery@w0] (for 2m10s)"],
    );
}

#[test]
fn task_names_show_outcomes() {
    shows(
        &task_names::table(&[task_name()], false, &view()).render(&view()),
        "\
NAME       ACTIVE  RESERVED  RECEIVED  SUCCEEDED  FAILED  RETRIED    P50   P95   MEAN   MAX  SEEN
shop.mail       2         3       690        640       8       12  180ms  2.4s  230ms  1m1s  3s ago
",
    );
}

fn set(item: v1::watch_item::Item) -> v1::WatchResponse {
    let item = v1::WatchItem { item: Some(item) };
    message(v1::watch_response::Message::Delta(v1::WatchDelta {
        change: Some(v1::watch_delta::Change::Set(item)),
    }))
}

fn message(message: v1::watch_response::Message) -> v1::WatchResponse {
    v1::WatchResponse {
        resume_token: "t".into(),
        time: Some(prost_types::Timestamp {
            seconds: NOW,
            nanos: 456_000_000,
        }),
        message: Some(message),
    }
}

#[test]
fn a_watch_prints_a_line_a_change() {
    use v1::watch_item::Item;
    use v1::watch_response::Message;
    let mut lines = Lines::default();
    let mut out = String::new();
    let removed = |kind: v1::WatchKind, name: &str| {
        message(Message::Delta(v1::WatchDelta {
            change: Some(v1::watch_delta::Change::Removed(v1::Removed {
                kind: kind.into(),
                app: "shop".into(),
                name: name.into(),
            })),
        }))
    };
    for message in [
        message(Message::SnapshotBegin(v1::SnapshotBegin {})),
        set(Item::App(app())),
        set(Item::Worker(worker())),
        set(Item::Queue(queue())),
        message(Message::SnapshotEnd(v1::SnapshotEnd { items: 3 })),
        set(Item::Task(done())),
        set(Item::Task(failed())),
        set(Item::Task(lost())),
        set(Item::TaskName(task_name())),
        message(Message::Heartbeat(v1::Heartbeat {})),
        message(Message::Gap(gap())),
        removed(v1::WatchKind::Task, "4bb9ac42-6bb5-4a4b-a0fb-3d2b3b9c7c62"),
        removed(v1::WatchKind::Worker, "celery@w1"),
    ] {
        out.push_str(&lines.of(&message, &view()));
    }
    shows(
        &out,
        "\
02:02:03.456  app     OK               -  shop  2/3 workers online
02:02:03.456  worker  ONLINE           -  celery@w1  slots 4  events on  queues celery,mail
02:02:03.456  queue   120 ready        -  celery  unacked ~8  consumers 2
02:02:03.456  task    SUCCESS       12ms  shop.add  4bb9ac42-6bb5-4a4b-a0fb-3d2b3b9c7c62  celery@w1
02:02:03.456  task    FAILURE          -  shop.mail  a3d1f6c0-0000-4000-8000-000000000002  celery@w1  ValueError('boom')
02:02:03.456  task    STARTED (lost)        -  -  b0000000-0000-4000-8000-000000000003  celery@w3
02:02:03.456  name    2 active     230ms  shop.mail  received 690  succeeded 640  failed 8  retried 12
02:02:03.456  gap     GAP              -  reconnect of all workers, 7 starts missed: the broker closed the connection
02:02:03.456  worker  GONE             -  celery@w1
",
    );
}

#[test]
fn a_watch_says_nothing_twice_but_tasks() {
    use v1::watch_item::Item;
    let mut lines = Lines::default();
    let mut seen = worker();
    assert!(
        !lines
            .of(&set(Item::Worker(seen.clone())), &view())
            .is_empty()
    );
    seen.last_heartbeat = ago(0);
    seen.processed = Some(651);
    assert_eq!(
        lines.of(&set(Item::Worker(seen.clone())), &view()),
        "",
        "a heartbeat is no news"
    );
    seen.status = v1::WorkerStatus::Offline.into();
    assert!(
        lines
            .of(&set(Item::Worker(seen)), &view())
            .contains("OFFLINE")
    );
    for _ in 0..2 {
        assert!(!lines.of(&set(Item::Task(done())), &view()).is_empty());
    }
}

#[test]
fn data_cannot_drive_the_terminal() {
    let evil = "\x1b]0;owned\x07\u{9b}2J\r\n\u{202e}";
    let mut task = failed();
    task.name = Some(evil.into());
    task.worker = Some(evil.into());
    task.state = evil.into();
    task.id = evil.into();
    task.attempts[0].worker = Some(evil.into());
    task.custom_fields = [(evil.to_owned(), evil.to_owned())].into();
    if let Some(payload) = &mut task.payload {
        payload.traceback = Some(evil.into());
        payload.args = Some(evil.into());
    }
    let mut worker = worker();
    worker.name = evil.into();
    worker.advice = vec![v1::Advice {
        message: evil.into(),
        ..events_off(None)
    }];
    if let Some(inspection) = &mut worker.inspection {
        inspection.registered = vec![evil.into()];
        inspection.configuration_json = Some(evil.into());
        inspection.queues[0].name = evil.into();
    }
    let mut app = app();
    app.name = evil.into();
    app.gaps[0].detail = evil.into();
    app.rejections[0].sample = Some(evil.into());
    let wide = wide();
    let item = v1::watch_item::Item::Task(task.clone());
    for shown in [
        task::detail(&task, &view()),
        tasks::table(&[task], true, &wide).render(&wide),
        worker::detail(&worker, &wide),
        workers::table(&[worker.clone()], true, &wide).render(&wide),
        apps::table(&[app], &wide),
        Lines::default().of(&set(item), &view()),
        advice::lines(&[], &[worker], true).concat(),
    ] {
        let bad = shown.chars().find(|c| text::is_control(*c) && *c != '\n');
        assert_eq!(bad, None, "in {shown:?}");
        assert!(shown.contains("\\x1b]0;owned\\x07"), "{shown:?}");
    }
}
