//! Judged by the rules of <https://protobuf.dev/programming-guides/json/> and by prost-reflect's own reader and writer.

use std::collections::HashSet;

use prost_reflect::MessageDescriptor;
use serde::de::DeserializeSeed as _;

use super::*;
use crate::render::fixture;

fn tasks() -> v1::ListTasksResponse {
    v1::ListTasksResponse {
        tasks: vec![fixture::done()],
        next_page_token: String::new(),
        as_of: Some(prost_types::Timestamp {
            seconds: fixture::NOW,
            nanos: 250_000_000,
        }),
        scan: Some(v1::ScanProgress {
            scanned: 1_000,
            total: 9_007_199_254_740_993,
        }),
    }
}

#[test]
fn a_list_of_tasks_is_proto3_json() {
    let want = r#"{
  "tasks": [
    {
      "app": "shop",
      "id": "4bb9ac42-6bb5-4a4b-a0fb-3d2b3b9c7c62",
      "name": "shop.add",
      "state": "SUCCESS",
      "finished": true,
      "worker": "celery@w1",
      "client": "gen77@web",
      "queue": "celery",
      "rootId": "4bb9ac42-6bb5-4a4b-a0fb-3d2b3b9c7c62",
      "retries": "0",
      "sentTime": "2026-11-22T02:01:28Z",
      "receivedTime": "2026-11-22T02:01:29Z",
      "startedTime": "2026-11-22T02:01:30Z",
      "succeededTime": "2026-11-22T02:01:31Z",
      "runtime": "0.012s",
      "firstSeen": "2026-11-22T02:01:28Z",
      "lastSeen": "2026-11-22T02:01:31Z",
      "finishSeen": "2026-11-22T02:01:31Z",
      "attemptCount": "1"
    }
  ],
  "asOf": "2026-11-22T02:02:03.250Z",
  "scan": {
    "scanned": "1000",
    "total": "9007199254740993"
  }
}
"#;
    let have = Canonical::new(&tasks())
        .pretty_json()
        .expect("it is written");
    assert_eq!(have, want, "\n{have}");
}

#[test]
fn enums_are_names_and_maps_are_sorted() {
    let worker = v1::GetWorkerResponse {
        worker: Some(fixture::worker()),
    };
    let have = Canonical::new(&worker).json_line().expect("it is written");
    for part in [
        r#""status":"WORKER_STATUS_ONLINE""#,
        r#""loadAverage":[0.5,0.75,1.0]"#,
        r#""eventCounts":{"task-failed":"8","task-succeeded":"640"}"#,
        r#""heartbeatInterval":"2s""#,
        r#""reservedKnown":"3""#,
    ] {
        assert!(have.contains(part), "{part} in {have}");
    }
    assert!(
        !have.contains("maxPriority\":null"),
        "what is absent is not there: {have}"
    );
    let unknown = v1::Worker {
        status: 99,
        load_average: vec![f64::NAN, f64::INFINITY],
        ..Default::default()
    };
    let unknown = v1::GetWorkerResponse {
        worker: Some(unknown),
    };
    assert_eq!(
        Canonical::new(&unknown).json_line().expect("it is written"),
        "{\"worker\":{\"status\":99,\"loadAverage\":[\"NaN\",\"Infinity\"]}}\n"
    );
}

/// The same as prost-reflect writes, but for the order of maps; and what is written reads back as the same message.
#[test]
fn it_agrees_with_the_library() {
    fn check<M: Printed + Default + PartialEq>(message: &M) {
        let canonical = Canonical::new(message);
        let json = canonical.pretty_json().expect("it is written");
        let ours: serde_json::Value = serde_json::from_str(&json).expect("it is JSON");
        assert_eq!(
            ours,
            serde_json::to_value(&canonical.0).expect("the library writes")
        );
        let yaml = canonical.yaml().expect("it is written");
        let read: serde_json::Value = serde_saphyr::from_str(&yaml).expect(&yaml);
        assert_eq!(read, ours, "{yaml}");
        let descriptor = canonical.0.descriptor();
        let back = descriptor.deserialize(&ours).expect("it reads back");
        let back: M = back.transcode_to().expect("the same type");
        assert!(back == *message, "{json}");
    }
    let mut odd = fixture::failed();
    odd.id = "yes".into();
    odd.name = Some("- 0x1f: {#} 1e3 ~".into());
    odd.queue = Some(String::new());
    check(&v1::GetTaskResponse { task: Some(odd) });
    check(&tasks());
    check(&v1::ListWorkersResponse {
        workers: vec![fixture::worker()],
        ..Default::default()
    });
    check(&v1::ListAppsResponse {
        apps: vec![fixture::app()],
        ..Default::default()
    });
    check(&v1::ListQueuesResponse {
        queues: vec![fixture::queue()],
        ..Default::default()
    });
    check(&v1::ListGapsResponse {
        gaps: vec![fixture::gap()],
        ..Default::default()
    });
    check(&v1::ListTaskNamesResponse {
        task_names: vec![fixture::task_name()],
        ..Default::default()
    });
    check(&v1::WatchResponse {
        resume_token: "t".into(),
        message: Some(v1::watch_response::Message::Gap(fixture::gap())),
        ..Default::default()
    });
    check(&v1::GetAppResponse::default());
}

#[test]
fn data_cannot_drive_the_terminal() {
    let evil = "\x1b[2J\u{7f}\u{9b}31m\u{202e}\u{e0041}\u{7}";
    let task = v1::Task {
        id: evil.into(),
        ..Default::default()
    };
    let canonical = Canonical::new(&v1::GetTaskResponse { task: Some(task) });
    let json = canonical.json_line().expect("it is written");
    let escaped = "\\u001b[2J\\u007f\\u009b31m\\u202e\\udb40\\udc41\\u0007";
    assert_eq!(json, format!("{{\"task\":{{\"id\":\"{escaped}\"}}}}\n"));
    let read: serde_json::Value = serde_json::from_str(&json).expect("it is JSON");
    assert_eq!(read["task"]["id"], evil);
    let yaml = canonical.yaml().expect("it is written");
    assert!(
        !yaml.contains(|c: char| c.is_control() && c != '\n'),
        "{yaml:?}"
    );
}

#[test]
fn no_printed_message_has_bytes() {
    fn walk(message: &MessageDescriptor, seen: &mut HashSet<String>) {
        if !seen.insert(message.full_name().to_owned()) {
            return;
        }
        for field in message.fields() {
            assert!(
                field.kind() != Kind::Bytes,
                "{} has bytes",
                field.full_name()
            );
            if let Kind::Message(inner) = field.kind() {
                walk(&inner, seen);
            }
        }
    }
    let mut seen = HashSet::new();
    for name in PRINTED {
        walk(&CONTRACT.get_message_by_name(name).expect(name), &mut seen);
    }
    assert!(seen.len() > 20, "{seen:?}");
}
