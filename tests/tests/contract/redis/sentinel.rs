//! Redis 7 behind Sentinels, and what they can do to a connection.

use std::net::SocketAddr;
use std::time::Duration;

use celeriac_inspector::transport::redis::RedisTransport;
use celeriac_inspector::transport::{Incoming, Subscription, Transport, TransportError};
use celeriac_tests::redis::free_address;
use celeriac_tests::sentinel::MASTER_NAME;
use celeriac_tests::{Proxy, Redis, Sentinels, eventually};

use super::{Paved, Server, Way, one_event, transport};
use crate::backend::{SOON, body, live, message, next, ping};
use crate::cases::contract;

/// A Sentinel with a password of its own, a replica, and the master behind a proxy, by whose address everybody knows it.
struct Behind;

impl Way for Behind {
    fn pave() -> Paved {
        let redis = Redis::builder().password("right").start();
        let proxy = Proxy::start(redis.address());
        let replica = Redis::builder().password("right");
        let replica = replica.replica_of(proxy.address()).start();
        let sentinels = Sentinels::builder(1)
            .password("watch")
            .master_password("right")
            .replicas(1)
            .watch(proxy.address());
        Paved {
            url: sentinels.url(0),
            strangers_url: sentinels.url_with("s3cret", 0),
            options: sentinels.options(),
            redis,
            proxy,
            _beside: Box::new((sentinels, replica)),
        }
    }
}

contract!(Server<Behind>);

/// A server and another that copies it; copies are complete.
fn pair() -> [Redis; 2] {
    let master = Redis::start();
    let replica = Redis::builder().replica_of(master.address()).start();
    [master, replica]
}

/// The reasons until messages flow again.
async fn reasons(incoming: &mut Subscription) -> Vec<String> {
    let mut reasons = Vec::new();
    loop {
        match next(incoming).await {
            Incoming::Lost { error, kept, .. } => {
                assert!(!kept, "Redis keeps nothing");
                reasons.push(error.to_string());
            }
            Incoming::Live { .. } => return reasons,
            other => panic!("instead of life came {other:?}"),
        }
    }
}

async fn refused(transport: &RedisTransport) -> String {
    let asked = transport.server_version().await;
    asked
        .expect_err("there is no master to talk to")
        .to_string()
}

/// Kills the master: a replica takes over, and everything goes there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_is_followed_to_the_new_master() {
    let [mut master, replica] = pair();
    let sentinels = Sentinels::builder(3)
        .replicas(1)
        .down_after(Duration::from_millis(300))
        .watch(master.address());
    let transport = transport(&sentinels.url(0), &sentinels.options());
    let (mut incoming, _stop) = live(&transport).await;
    one_event(&master, "/0.celeryev/task.sent", "[1]");
    assert_eq!(message(&mut incoming).await, "[1]");
    let depth = async || transport.depths(&["celery".to_owned()]).await;
    depth().await.expect("the master answers");

    master.kill();
    let reasons = reasons(&mut incoming).await;
    assert!(!reasons.is_empty());
    one_event(&replica, "/0.celeryev/task.sent", "[2]");
    assert_eq!(message(&mut incoming).await, "[2]");
    replica.cli(&["LPUSH", "celery", "a task"]);
    // A Sentinel whose pings are late on a busy machine takes the new one for down too, for a moment; collectors ask again.
    let reading = eventually("the new master answers", SOON, depth).await;
    assert_eq!(reading.queues[0].ready[0], (0, 1));
    let sent = transport
        .publish_control(&ping(transport.reply_queue()))
        .await;
    sent.expect("the new master takes it");
    assert_eq!(replica.keys().len(), 2, "{:?}", replica.keys());
}

/// Nobody closes the connection to a master that others have left: the Sentinels are asked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_is_none_any_more_is_left_though_it_answers() {
    let [old, new] = [Redis::start(), Redis::start()];
    let sentinels = Sentinels::builder(1).watch(old.address());
    let transport = transport(&sentinels.url(0), &sentinels.options());
    let (mut incoming, _stop) = live(&transport).await;
    transport
        .server_version()
        .await
        .expect("the old one answers");
    sentinels.turn_to(0, new.address());
    let reasons = reasons(&mut incoming).await;
    assert!(
        reasons[0].contains("made another the master \"shop\""),
        "{reasons:?}"
    );
    one_event(&new, "/0.celeryev/task.sent", "[1]");
    assert_eq!(message(&mut incoming).await, "[1]");
    new.cli(&["LPUSH", "celery", "a task"]);
    let reading = transport.depths(&["celery".to_owned()]).await;
    let reading = reading.expect("the new one answers");
    assert_eq!(reading.queues[0].ready[0], (0, 1), "commands go there too");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_is_named_as_the_master_is_not_taken_for_one() {
    let [master, replica] = pair();
    let lying = Sentinels::builder(1).replicas(0).watch(master.address());
    let honest = Sentinels::builder(1).replicas(1).watch(master.address());
    lying.turn_to(0, replica.address());
    let said = eventually("it is noticed", SOON, async || {
        let said = refused(&transport(&lying.url(0), &lying.options())).await;
        if said.contains("it is a replica") {
            Ok(said)
        } else {
            Err(said)
        }
    })
    .await;
    assert!(said.contains(&replica.address().to_string()), "{said}");
    let both = format!("{};{}", lying.url(0), honest.url(0));
    let transport = transport(&both, &honest.options());
    let (mut incoming, _stop) = live(&transport).await;
    one_event(&master, "/0.celeryev/task.sent", "[1]");
    assert_eq!(message(&mut incoming).await, "[1]");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sentinels_are_asked_in_turn_and_what_is_wrong_is_said() {
    let redis = Redis::start();
    let sentinels = Sentinels::builder(1).watch(redis.address());
    let nobody = free_address();
    let url = format!("sentinel://{nobody}/0;{}", sentinels.url(0));
    let works = transport(&url, &sentinels.options()).server_version().await;
    works.expect("the second knows it");

    let of = |address: SocketAddr| format!("sentinel://{address}/0");
    let named = |name: &str| vec![format!("master_name={name}")];
    for (url, options, part) in [
        (of(nobody), named(MASTER_NAME), "cannot reach sentinel://"),
        // What the one that answers says is worth more than that another does not answer.
        (url, named("mail"), "no master \"mail\", only shop"),
        (of(redis.address()), named(MASTER_NAME), "it is no Sentinel"),
    ] {
        let said = refused(&transport(&url, &options)).await;
        assert!(said.contains(part), "{url}: {said}");
    }
    let few = ["master_name=shop", "min_other_sentinels=1"].map(str::to_owned);
    let said = refused(&transport(&sentinels.url(0), &few)).await;
    assert!(said.contains("0 other Sentinels"), "{said}");

    let locked = Sentinels::builder(1)
        .password("watch")
        .watch(redis.address());
    let password = |text: &str| {
        let kwargs = format!("sentinel_kwargs={{\"password\": \"{text}\"}}");
        vec!["master_name=shop".to_owned(), kwargs]
    };
    for options in [named(MASTER_NAME), password("s3cret")] {
        let asked = transport(&locked.url(0), &options).server_version().await;
        let error = asked.expect_err("the Sentinel has a password");
        assert!(
            matches!(error, TransportError::Credentials { .. }),
            "{error}"
        );
        assert!(!format!("{error} {error:?}").contains("s3cret"), "{error}");
    }
}

/// kombu before 5.4 has the letters `{db}` in the names of its channels there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_of_both_names_of_channels_are_heard_and_reached() {
    let redis = Redis::start();
    let sentinels = Sentinels::builder(1).watch(redis.address());
    let mut options = sentinels.options();
    let usual = transport(&sentinels.url(0), &options);
    let (mut incoming, _stop) = live(&usual).await;
    for (number, channel) in ["/{db}.celeryev/task.sent", "/0.celeryev/task.sent"]
        .iter()
        .enumerate()
    {
        one_event(&redis, channel, &format!("[{number}]"));
        assert_eq!(message(&mut incoming).await, format!("[{number}]"));
    }

    let mut workers = ["/{db}.celery.pidbox", "/0.celery.pidbox"].map(|channel| {
        let mut worker = redis.connect().expect("the server runs");
        let answer = worker.command(&["SUBSCRIBE", channel]);
        answer.expect("the server subscribes it");
        worker
    });
    options.push("sentinel_fanout_compat=true".to_owned());
    // Workers that listen at both places are counted once, and know a message again by its tag.
    for (transport, subscribers) in [(usual, 2), (transport(&sentinels.url(0), &options), 1)] {
        let request = ping(transport.reply_queue());
        let published = transport.publish_control(&request).await;
        let published = published.expect("the broker takes it");
        assert_eq!(published.subscribers, Some(subscribers));
        let heard = workers.each_mut().map(|worker| {
            let pushed = tokio::task::block_in_place(|| worker.read_patiently());
            pushed.expect("a request comes").texts().pop()
        });
        assert_eq!(heard[0], heard[1]);
        let frame = celeriac_inspector::wire::message::Frame::Envelope(
            heard[0].clone().expect("it has a payload").into(),
        );
        assert_eq!(body(&frame).as_bytes(), request.body);
    }
}
