//! Another user in the broker's Secret while tasks wait and run: the pool is replaced, and every task is done once.

use celeriac_tests::kube::SOON;
use celeriac_tests::{Redis, eventually, turn};

use crate::scene::Ground;

/// Seconds that the tasks take, sixty of them.
const TIMES: &str = "[6] * 6 + [3] * 9 + [1] * 10 + [0.5] * 15 + [0.1] * 20";

/// D5: new pods come first, and old ones go when their tasks are done.
#[tokio::test]
async fn d5_a_rotated_secret_replaces_the_pool_and_every_task_is_done_once() {
    let _turn = turn().await;
    let ground = Ground::of("rotated").await;
    let rule = |name: &str| format!("{name} on >{name}-secret ~* &* +@all");
    let redis = Redis::builder().listen(ground.host());
    let redis = redis.user(&rule("old")).user(&rule("new")).start();
    let (host, port) = (ground.host(), redis.address().port());
    let url = |name: &str| format!("redis://{name}:{name}-secret@{host}:{port}/0");
    let scene = ground.app(&url("old"), &redis.url(), 2).await;
    assert!(connected(&redis, "old") > 0);
    let before = scene.names();

    let sent = scene.send(&format!("print(*[nap.delay(time).id for time in {TIMES}])"));
    for long in &sent[..2] {
        scene.began(long).await;
    }
    scene.rotate(&url("new"));
    eventually("the pool is replaced", SOON * 2, async || {
        let now = scene.names();
        let old = now.iter().any(|pod| before.contains(pod));
        if now.len() == 2 && !old {
            Ok(())
        } else {
            Err(format!("{now:?}, before {before:?}"))
        }
    })
    .await;
    scene.consuming(2).await;
    eventually(
        "nobody needs the old user",
        SOON,
        async || match connected(&redis, "old") {
            0 => Ok(()),
            connections => Err(connections),
        },
    )
    .await;
    redis.cli(&["ACL", "DELUSER", "old"]);
    let after = scene.send("print(*[add.delay(1, 2).id for _ in range(6)])");
    scene.each_ran_once(&[sent, after].concat()).await;
}

/// Connections of a user.
fn connected(redis: &Redis, user: &str) -> usize {
    let list = format!("{:?}", redis.cli(&["CLIENT", "LIST"]));
    list.matches(&format!(" user={user} ")).count()
}
