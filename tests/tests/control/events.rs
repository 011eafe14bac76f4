//! Task events on and off, and a heartbeat on demand.

use celeriac_proto::v1;
use celeriac_proto::v1::execute_command_request::Command;
use celeriac_tests::eventually;
use serde_json::Value;

use crate::scene::{Kind, SOON, Scene, THREADS, node};

pub(crate) async fn check(scene: &Scene, names: &[&str]) {
    let monitor = scene.redis.monitor();
    // Events of one worker that were published, by type.
    let published = |name: &str, event_type: &str| -> Vec<Value> {
        let commands = monitor.commands();
        let payloads = commands
            .iter()
            .filter(|one| one.words[0].eq_ignore_ascii_case("publish"))
            .filter(|one| one.words[1].starts_with("/0.celeryev/"))
            .map(|one| one.words[2].clone());
        payloads
            .flat_map(|payload| events(&payload))
            .filter(|event| event["type"] == event_type && event["hostname"] == node(name))
            .collect()
    };
    let enable = Command::EnableEvents(v1::EnableEventsCommand {});
    let disable = Command::DisableEvents(v1::DisableEventsCommand {});
    for name in names {
        let on = *name == THREADS;
        if on {
            // It was started with -E.
            let text = "task events already disabled";
            scene
                .check(
                    name,
                    disable.clone(),
                    Kind::NoEffect,
                    text,
                    "it was started with -E",
                )
                .await;
        } else {
            let text = "task events enabled";
            scene.check(name, enable.clone(), Kind::Ok, text, "").await;
        }
        let text = "task events already enabled";
        scene
            .check(name, enable.clone(), Kind::NoEffect, text, "already")
            .await;
        let before = published(name, "task-succeeded").len();
        let id = scene.sent("add", name, ", 1, 2").await;
        eventually("its events come", SOON, async || {
            let count = published(name, "task-succeeded").len();
            if count > before {
                Ok(())
            } else {
                Err("not yet")
            }
        })
        .await;
        scene.until(&format!("state('{id}') == 'SUCCESS'")).await;
        if on {
            heartbeat(scene, name, &published).await;
            continue;
        }
        let text = "task events disabled";
        scene.check(name, disable.clone(), Kind::Ok, text, "").await;
        let before = published(name, "task-succeeded").len();
        let id = scene.sent("add", name, ", 1, 2").await;
        scene.until(&format!("state('{id}') == 'SUCCESS'")).await;
        heartbeat(scene, name, &published).await;
        // The heartbeat came after the task, so its events would have come too.
        assert_eq!(published(name, "task-succeeded").len(), before);
    }
}

/// One that is asked for says `freq` 5 and has no counters; a periodic one has.
async fn heartbeat(scene: &Scene, name: &str, published: &impl Fn(&str, &str) -> Vec<Value>) {
    let asked_for = || {
        let beats = published(name, "worker-heartbeat");
        beats.iter().filter(|beat| beat["freq"] == 5).count()
    };
    let before = asked_for();
    let heartbeat = Command::Heartbeat(v1::HeartbeatCommand {});
    scene.check(name, heartbeat, Kind::Ok, "null", "").await;
    eventually("the heartbeat comes", SOON, async || {
        if asked_for() > before {
            Ok(())
        } else {
            Err("not yet")
        }
    })
    .await;
}

/// The events in a message.
fn events(payload: &str) -> Vec<Value> {
    let Ok(envelope) = serde_json::from_str::<Value>(payload) else {
        return Vec::new();
    };
    let body = envelope["body"].as_str().unwrap_or_default();
    let body = base64_simd::STANDARD
        .decode_to_vec(body)
        .unwrap_or_default();
    match serde_json::from_slice(&body) {
        Ok(Value::Array(all)) => all,
        Ok(one) => vec![one],
        Err(_) => Vec::new(),
    }
}
