//! Revoking: what is noted, what is ended, and what cannot be.

use celeriac_proto::v1;
use celeriac_proto::v1::execute_command_request::Command;
use celeriac_tests::eventually;
use serde_json::json;

use crate::scene::{AUTO, FORK, GEVENT, Kind, SOLO, SOON, Scene, THREADS, node};

fn revoke(id: &str, terminate: bool) -> Command {
    Command::Revoke(v1::RevokeCommand {
        task_ids: vec![id.to_owned()],
        terminate,
        signal: String::new(),
    })
}

/// Running tasks.
pub(crate) async fn check(scene: &Scene, names: &[&str]) {
    for name in [FORK, AUTO] {
        let (id, pid) = running(scene, name, 60).await;
        let text = format!("terminate: {id}");
        scene
            .check(name, revoke(&id, true), Kind::Ok, &text, "")
            .await;
        scene.until(&format!("state('{id}') == 'REVOKED'")).await;
        eventually("its process has ended", SOON, async || {
            let there = std::path::Path::new(&format!("/proc/{pid}")).exists();
            if there { Err("it runs") } else { Ok(()) }
        })
        .await;
    }
    if names.contains(&GEVENT) {
        gevent(scene).await;
    }
    // Pools that cannot end a task say so, and the task goes on.
    let (id, _) = running(scene, THREADS, 4).await;
    let text = "does not implement kill_job";
    scene
        .check(
            THREADS,
            revoke(&id, true),
            Kind::Error,
            text,
            "cannot end a task",
        )
        .await;
    scene.until(&format!("state('{id}') == 'SUCCESS'")).await;
    solo(scene).await;
    for name in names {
        let text = "terminate: tasks unknown";
        scene
            .check(
                name,
                revoke("nosuch", true),
                Kind::NoEffect,
                text,
                "nothing to end",
            )
            .await;
    }
}

/// Newer versions of Celery can end a task on gevent.
async fn gevent(scene: &Scene) {
    let killable = scene.version == "5.7";
    let (id, _) = running(scene, GEVENT, 4).await;
    if killable {
        let text = format!("terminate: {id}");
        scene
            .check(GEVENT, revoke(&id, true), Kind::Ok, &text, "")
            .await;
        scene.until(&format!("state('{id}') == 'REVOKED'")).await;
    } else {
        let text = "does not implement kill_job";
        scene
            .check(
                GEVENT,
                revoke(&id, true),
                Kind::Error,
                text,
                "cannot end a task",
            )
            .await;
        scene.until(&format!("state('{id}') == 'SUCCESS'")).await;
    }
}

/// A task that runs: its id and the process that runs it.
async fn running(scene: &Scene, name: &str, seconds: u32) -> (String, i64) {
    let id = scene.sent("nap", name, &format!(", {seconds}")).await;
    let found = format!(
        "[one for one in asked('{}', 'active') if one['id'] == '{id}']",
        node(name)
    );
    scene.until(&found).await;
    let task = scene.witness.ask(&found).await;
    (id, task[0]["worker_pid"].as_i64().unwrap_or_default())
}

/// A solo worker answers between tasks only: the answer comes late, and is found.
async fn solo(scene: &Scene) {
    let id = scene.sent("nap", SOLO, ", 5").await;
    let started = async || {
        // It cannot be asked while it runs: its queue is empty then.
        let left = scene.redis.cli(&["LLEN", SOLO]);
        if left == celeriac_tests::resp::Value::Number(0) {
            Ok(())
        } else {
            Err("not yet")
        }
    };
    eventually("the task is taken", SOON, started).await;
    let record = scene.record(SOLO, revoke(&id, true), 1).await;
    let answer = &record.answers[0];
    assert_eq!(answer.kind(), Kind::NoAnswerYet, "{answer:?}");
    assert!(answer.meaning.contains("between tasks"), "{answer:?}");
    scene.until(&format!("state('{id}') == 'SUCCESS'")).await;
    let request = v1::GetCommandRequest {
        request_id: record.request.expect("as it was given").request_id,
        ..Default::default()
    };
    let late = eventually("the answer comes late", SOON, async || {
        let got = scene.client().await.get_command(request.clone()).await;
        let record = got
            .map_err(|status| status.to_string())?
            .into_inner()
            .record;
        let answer = record.expect("a record").answers.remove(0);
        match answer.kind() {
            Kind::NoAnswerYet => Err("not yet".to_owned()),
            _ => Ok(answer),
        }
    })
    .await;
    assert_eq!(late.kind(), Kind::NoEffect, "{late:?}");
    assert!(late.answer_json.contains("terminate: tasks unknown"));
}

/// Tasks that wait.
pub(crate) async fn check_revoked(scene: &Scene, names: &[&str]) {
    let mut waiting = Vec::new();
    for name in names {
        let id = scene.sent("add", name, ", 1, 2, countdown=5").await;
        let scheduled = format!(
            "'{id}' in [one['request']['id'] for one in asked('{}', 'scheduled')]",
            node(name)
        );
        scene.until(&scheduled).await;
        let meaning = "one that runs already goes on";
        let text = "flagged as revoked";
        scene
            .check(name, revoke(&id, false), Kind::Ok, text, meaning)
            .await;
        let revoked = scene.asked(name, "'revoked'").await;
        let noted = revoked
            .as_array()
            .is_some_and(|ids| ids.contains(&json!(id)));
        assert!(noted, "{revoked}");
        stamped(scene, name).await;
        waiting.push((name, id, scheduled));
    }
    for (name, id, scheduled) in waiting {
        // Celery 5.7 stores REVOKED at once; a task that ran when its time came would store SUCCESS over it.
        scene.until(&format!("not ({scheduled})")).await;
        let after = scene.sent("add", name, ", 1, 2").await;
        scene.until(&format!("state('{after}') == 'SUCCESS'")).await;
        scene.until(&format!("state('{id}') == 'REVOKED'")).await;
    }
}

async fn stamped(scene: &Scene, name: &str) {
    let by = |terminate| {
        Command::RevokeByStampedHeaders(v1::RevokeByStampedHeadersCommand {
            headers: [("user".to_owned(), format!("u-{name}"))].into(),
            terminate,
            signal: String::new(),
        })
    };
    if scene.version == "4.4" {
        let text = "KeyError('revoke_by_stamped_headers')";
        scene
            .check(
                name,
                by(false),
                Kind::Error,
                text,
                "does not know this command",
            )
            .await;
        return;
    }
    let text = "flagged as revoked, but not terminated";
    scene
        .check(
            name,
            by(false),
            Kind::Ok,
            text,
            "one that runs already goes on",
        )
        .await;
    scene
        .check(
            name,
            by(true),
            Kind::NoEffect,
            "were not terminated",
            "nothing to end",
        )
        .await;
    let task = format!(
        "(lambda one: [one.stamp(user='u-{name}'), one.apply_async(queue='{name}')][1].id)(add.s(1, 2))"
    );
    let id = scene.witness.ask(&task).await;
    let id = id.as_str().expect("an id");
    scene.until(&format!("state('{id}') == 'REVOKED'")).await;
}
