//! The same on RabbitMQ.

use std::net::SocketAddr;

use celeriac_tests::kube::SOON;
use celeriac_tests::{RabbitMq, eventually, turn};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};

use crate::scene::{Ground, is_undone};

#[tokio::test]
async fn on_rabbitmq_busy_workers_finish_and_an_undone_one_outlives_its_connections() {
    let _turn = turn().await;
    let host = RabbitMq::host();
    let ground = Ground::of("rabbit").await;
    // The node listens on loopback, which pods do not share.
    let listener = TcpListener::bind((ground.host(), 0)).await;
    let listener = listener.expect("the bridge is ours");
    let address = listener.local_addr().expect("it is bound");
    let forwarding = tokio::spawn(forward(listener, host.node().address()));
    let inside = host.url_of(address, "guest");
    let mut scene = ground.app(&inside, &host.url(), 2).await;
    scene.edit(|pool| pool["scaling"] = json!({"mode": "external"}));

    let (task, busy) = scene.hold().await;
    scene.scale(1);
    scene.lowered_to(1).await;
    assert_eq!(scene.names(), std::slice::from_ref(&busy));
    scene.scale(0);
    assert_eq!(scene.drained().await, busy);
    let waiting = scene.send("print(add.delay(1, 2).id)");
    scene.scale(1);
    eventually("it is undone", SOON, async || {
        if scene.pods().iter().any(is_undone) {
            Ok(())
        } else {
            Err(scene.draining())
        }
    })
    .await;
    scene.release(&task);
    assert_eq!(scene.began(&waiting[0]).await, busy);
    // What is not acknowledged when a connection ends runs once more, rightly.
    scene
        .each_ran_once(&[vec![task.clone()], waiting.clone()].concat())
        .await;
    eventually("both are acknowledged", SOON, async || {
        let queue = host.queue("celery")?;
        anyhow::ensure!(queue["messages"] == 0, "{queue}");
        Ok(())
    })
    .await;

    // Celery forgets the queues of such a worker at its next connection: it gets them again.
    let close = ["close_all_connections", "-p", host.name(), "a test"];
    host.node().ctl(&close);
    let after = scene.send("print(add.delay(3, 4).id)");
    assert_eq!(scene.began(&after[0]).await, busy);

    // What waits for its time in a worker that goes is in the queue again.
    let later = scene.send("print(add.apply_async((1, 2), countdown=30).id)");
    eventually("a worker holds it", SOON, async || {
        let queue = host.queue("celery")?;
        anyhow::ensure!(queue["messages_unacknowledged"] == 1, "{queue}");
        Ok(())
    })
    .await;
    scene.scale(0);
    scene.lowered_to(0).await;
    scene.scale(1);
    scene
        .each_ran_once(&[vec![task], waiting, after, later].concat())
        .await;
    forwarding.abort();
}

/// Connections of pods, each to the node.
async fn forward(listener: TcpListener, node: SocketAddr) {
    while let Ok((mut inside, _)) = listener.accept().await {
        tokio::spawn(async move {
            if let Ok(mut outside) = TcpStream::connect(node).await {
                let _ = tokio::io::copy_bidirectional(&mut inside, &mut outside).await;
            }
        });
    }
}
