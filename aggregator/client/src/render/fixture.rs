//! Invented messages with fixed times, for tests.

#![expect(
    clippy::unnecessary_wraps,
    reason = "most fields of a message are optional"
)]

use celeriac_client::v1;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::View;
use crate::args::Times;

/// 2026-11-22T02:02:03Z.
pub(crate) const NOW: i64 = 1_795_312_923;

pub(crate) fn view() -> View {
    View {
        now: Timestamp::from_second(NOW).expect("in range"),
        times: Times::Relative,
        zone: TimeZone::UTC,
        width: None,
        wide: false,
        color: false,
    }
}

pub(crate) fn wide() -> View {
    View {
        wide: true,
        ..view()
    }
}

/// So many seconds before now.
pub(crate) fn ago(seconds: i64) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp {
        seconds: NOW - seconds,
        nanos: 0,
    })
}

pub(crate) fn millis(millis: i64) -> Option<prost_types::Duration> {
    let nanos = i32::try_from(millis % 1_000 * 1_000_000).expect("below a second");
    Some(prost_types::Duration {
        seconds: millis / 1_000,
        nanos,
    })
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

pub(crate) fn gap() -> v1::Gap {
    v1::Gap {
        app: "shop".into(),
        cause: v1::GapCause::Reconnect.into(),
        start_time: ago(90),
        end_time: ago(60),
        worker: None,
        missed_starts: Some(7),
        dropped_messages: None,
        detail: "the broker closed the connection".into(),
    }
}

pub(crate) fn events_off(worker: Option<&str>) -> v1::Advice {
    v1::Advice {
        code: "EVENTS_OFF".into(),
        message: "task events are off; start the worker with -E".into(),
        worker: worker.map(str::to_owned),
        age: millis(130_000),
    }
}

pub(crate) fn app() -> v1::App {
    v1::App {
        name: "shop".into(),
        broker: Some(v1::Broker {
            endpoint: "redis://127.0.0.1:6379/0".into(),
            transport: "redis".into(),
            version: some("redis 7.0.15"),
            reachable: true,
            unreachable_reason: None,
            since: ago(600),
        }),
        inspector: Some(v1::Inspector {
            instance: "shop-0".into(),
            epoch: 1,
            version: "0.1.0".into(),
            attached: true,
            since: ago(600),
            subscription: v1::SubscriptionState::Live.into(),
            acknowledged_sequence: 9,
        }),
        workers_online: 2,
        workers_known: 3,
        slots: 6,
        active: 3,
        ready: 120,
        unacked: None,
        tasks_unfinished: 14,
        events_folded: 2_703,
        events_repeated: 12,
        rejections: vec![v1::Rejection {
            reason: "content type application/x-python-serialize is never read".into(),
            count: 4,
            ..Default::default()
        }],
        gaps: vec![gap()],
        advice: vec![events_off(Some("celery@w3"))],
        tasks_unconfirmed: 0,
        failed_last_hour: Some(0),
    }
}

pub(crate) fn worker() -> v1::Worker {
    v1::Worker {
        app: "shop".into(),
        name: "celery@w1".into(),
        status: v1::WorkerStatus::Online.into(),
        status_since: ago(600),
        incarnation: Some(v1::Incarnation {
            number: 2,
            pid: Some(41),
            first_seen: ago(600),
        }),
        last_heartbeat: ago(1),
        last_seen: ago(1),
        heartbeat_interval: millis(2_000),
        active: Some(2),
        processed: Some(650),
        load_average: vec![0.5, 0.75, 1.0],
        software: some("py-celery 5.7.0"),
        system: some("Linux"),
        events: v1::EventsMode::On.into(),
        inspection: Some(inspection()),
        reserved_known: 3,
        event_counts: [
            ("task-succeeded".to_owned(), 640),
            ("task-failed".to_owned(), 8),
        ]
        .into(),
        advice: vec![],
        missed_starts: Some(3),
        gaps: vec![],
    }
}

fn inspection() -> v1::WorkerInspection {
    v1::WorkerInspection {
        time: ago(45),
        pool: some("prefork"),
        pool_processes: 4,
        max_concurrency: Some(4),
        slots: Some(4),
        autoscaler: Some(v1::Autoscaler {
            max: 8,
            min: 2,
            current: 4,
        }),
        prefetch_count: Some(16),
        uptime: millis(7_500_000),
        peak_memory_bytes: Some(125_829_120),
        queues: vec![
            v1::ConsumedQueue {
                name: "celery".into(),
                exchange: "celery".into(),
                exchange_type: "direct".into(),
                routing_key: "celery".into(),
                max_priority: None,
            },
            v1::ConsumedQueue {
                name: "mail".into(),
                exchange: String::new(),
                exchange_type: "direct".into(),
                routing_key: "mail".into(),
                max_priority: Some(10),
            },
        ],
        queues_known: true,
        active: Some(1),
        reserved: Some(3),
        scheduled: Some(5),
        registered: vec!["shop.add".into(), "shop.mail".into()],
        configuration_json: some(r#"{"task_acks_late": true, "broker_url": "redis://h//"}"#),
        totals: [("shop.add".to_owned(), 650)].into(),
    }
}

pub(crate) fn silent_worker() -> v1::Worker {
    v1::Worker {
        app: "shop".into(),
        name: "celery@w3".into(),
        status: v1::WorkerStatus::Silent.into(),
        last_seen: ago(4_000),
        events: v1::EventsMode::Off.into(),
        advice: vec![events_off(None)],
        ..Default::default()
    }
}

pub(crate) fn queue() -> v1::Queue {
    v1::Queue {
        app: "shop".into(),
        name: "celery".into(),
        ready: Some(120),
        priorities: vec![
            v1::PriorityDepth {
                priority: 0,
                ready: 100,
            },
            v1::PriorityDepth {
                priority: 3,
                ready: 20,
            },
        ],
        unacked: Some(v1::Unacked {
            count: 8,
            approximate: true,
        }),
        consumers: Some(2),
        consumers_as_of: ago(45),
        oldest: Some(v1::OldestMessage {
            time: ago(250),
            method: v1::AgeMethod::Estimated.into(),
        }),
        depth_time: ago(1),
        workers: vec!["celery@w1".into(), "celery@w2".into()],
        active: 3,
    }
}

pub(crate) fn unread_queue() -> v1::Queue {
    v1::Queue {
        app: "shop".into(),
        name: "mail".into(),
        ..Default::default()
    }
}

pub(crate) fn done() -> v1::Task {
    v1::Task {
        app: "shop".into(),
        id: "4bb9ac42-6bb5-4a4b-a0fb-3d2b3b9c7c62".into(),
        name: some("shop.add"),
        state: "SUCCESS".into(),
        finished: true,
        worker: some("celery@w1"),
        client: some("gen77@web"),
        queue: some("celery"),
        root_id: some("4bb9ac42-6bb5-4a4b-a0fb-3d2b3b9c7c62"),
        retries: Some(0),
        sent_time: ago(35),
        received_time: ago(34),
        started_time: ago(33),
        succeeded_time: ago(32),
        runtime: millis(12),
        first_seen: ago(35),
        last_seen: ago(32),
        finish_seen: ago(32),
        attempt_count: 1,
        ..Default::default()
    }
}

pub(crate) fn failed() -> v1::Task {
    v1::Task {
        app: "shop".into(),
        id: "a3d1f6c0-0000-4000-8000-000000000002".into(),
        name: some("shop.mail"),
        state: "FAILURE".into(),
        finished: true,
        worker: some("celery@w1"),
        parent_id: some("4bb9ac42-6bb5-4a4b-a0fb-3d2b3b9c7c62"),
        root_id: some("4bb9ac42-6bb5-4a4b-a0fb-3d2b3b9c7c62"),
        retries: Some(1),
        received_time: ago(20),
        started_time: ago(18),
        failed_time: ago(15),
        runtime: None,
        first_seen: ago(130),
        last_seen: ago(15),
        finish_seen: ago(15),
        payload: Some(v1::Payload {
            args: some("('x@y.z',)"),
            kwargs: some("{'body': 'hi\x1b[2J'}"),
            result: None,
            exception: some("ValueError('boom')"),
            traceback: some(
                "Traceback (most recent call last):\n  File \"shop.py\", line 3\nValueError: boom\n",
            ),
            truncations: vec![v1::Truncation {
                field: "traceback".into(),
                original_bytes: 71_680,
            }],
            sanitized_fields: vec!["kwargs".into()],
        }),
        exception_summary: some("ValueError('boom')"),
        attempts: vec![
            v1::Attempt {
                number: 1,
                worker: some("celery@w2"),
                incarnation: 1,
                received_time: ago(130),
                started_time: ago(129),
                ended_time: ago(126),
                outcome: some("RETRY"),
                exception_summary: some("ConnectionError()"),
            },
            v1::Attempt {
                number: 2,
                worker: some("celery@w1"),
                incarnation: 2,
                received_time: ago(20),
                started_time: ago(18),
                ended_time: ago(15),
                outcome: some("FAILURE"),
                exception_summary: some("ValueError('boom')"),
            },
        ],
        attempt_count: 2,
        custom_fields: [("progress".to_owned(), "0.5".to_owned())].into(),
        ..Default::default()
    }
}

pub(crate) fn lost() -> v1::Task {
    v1::Task {
        app: "shop".into(),
        id: "b0000000-0000-4000-8000-000000000003".into(),
        state: "STARTED".into(),
        lost: true,
        worker: some("celery@w3"),
        started_time: ago(4_100),
        first_seen: ago(4_100),
        last_seen: ago(4_100),
        attempt_count: 1,
        ..Default::default()
    }
}

pub(crate) fn vanished() -> v1::Task {
    v1::Task {
        lost: false,
        outcome_unknown: true,
        ..lost()
    }
}

pub(crate) fn task_name() -> v1::TaskName {
    v1::TaskName {
        app: "shop".into(),
        name: "shop.mail".into(),
        sent: 700,
        received: 690,
        started: 680,
        succeeded: 640,
        failed: 8,
        retried: 12,
        revoked: 2,
        rejected: 1,
        reserved: 3,
        active: 2,
        mean_runtime: millis(230),
        max_runtime: millis(61_000),
        p50_runtime: millis(180),
        p95_runtime: millis(2_400),
        last_seen: ago(3),
    }
}
