//! Several nodes in one URL, as kombu takes them: the first that answers is used, and the next when it ends.

use celeriac_inspector::transport::amqp::Keeping;
use celeriac_inspector::transport::{Incoming, Transport};
use celeriac_tests::rabbitmq::Kind;
use celeriac_tests::{Proxy, RabbitMq, eventually};

use super::{Rabbit, Three, Way, transport};
use crate::backend::{Backend, SOON, live, message, next, ping};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_next_node_takes_over_when_the_first_is_killed() {
    let second = Rabbit::<Three>::start().await;
    let host = second.host.name().to_owned();
    let first = tokio::task::spawn_blocking(move || {
        let node = RabbitMq::start(Kind::Four);
        node.add_host(&host);
        node
    });
    let mut first = first.await.expect("a node starts");
    let url = format!(
        "{};{}",
        second.host.url_of(first.address(), "guest"),
        Three::url(&second.host, &second.proxy, "guest")
    );
    let transport = transport(&url, &Keeping::Instance("shop".to_owned()));
    let (mut incoming, _stop) = live(&transport).await;
    let version = async || transport.server_version().await;
    second.fill("celery", 3).await;
    let ready = async || {
        let reading = transport.depths(&["celery".to_owned()]).await;
        reading.map(|reading| reading.queues.first().map(|queue| queue.ready.clone()))
    };
    version().await.expect("the first answers");
    assert_eq!(
        ready().await.expect("it answers"),
        None,
        "it has no such queue"
    );
    assert!(second.proxy.clients().is_empty(), "nobody asked the second");

    tokio::task::block_in_place(|| first.kill());
    loop {
        match next(&mut incoming).await {
            Incoming::Lost { .. } => {}
            Incoming::Live { kept, .. } => {
                break assert!(!kept, "another node keeps nothing of the first");
            }
            other => panic!("instead of life came {other:?}"),
        }
    }
    second.send_event("task.sent", "[1]").await;
    assert_eq!(message(&mut incoming).await, "[1]");
    eventually("the second is asked", SOON, async || match ready().await {
        Ok(Some(ready)) if ready == [(0, 3)] => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    second.listen().await;
    let request = ping(transport.reply_queue());
    let published = transport.publish_control(&request).await;
    published.expect("the second takes it");
    assert_eq!(second.heard().await.as_bytes(), request.body);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_node_that_is_not_there_is_passed_over_and_named_when_none_is() {
    let rabbit = Rabbit::<Three>::start().await;
    let gone = Proxy::start(rabbit.host.node().address());
    gone.refuse(true);
    let nowhere = rabbit.host.url_of(gone.address(), "guest");
    let there = Three::url(&rabbit.host, &rabbit.proxy, "guest");
    let works = transport(&format!("{nowhere};{there}"), &Keeping::Ephemeral);
    let (mut incoming, _stop) = live(&works).await;
    rabbit.send_event("task.sent", "[1]").await;
    assert_eq!(message(&mut incoming).await, "[1]");

    rabbit.part().await;
    let asked = transport(&format!("{nowhere};{there}"), &Keeping::Ephemeral);
    let error = asked.server_version().await.expect_err("both are gone");
    let named = gone.address().to_string();
    assert!(error.to_string().contains(&named), "{error}");
}
