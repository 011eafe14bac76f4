//! RabbitMQ 4 that refuses what is deprecated, and what only it has.

use celeriac_inspector::transport::Transport;
use celeriac_inspector::transport::amqp::Keeping;
use serde_json::json;

use super::{Four, Rabbit};
use crate::backend::{Backend, live, message, ping};
use crate::cases::contract;
use crate::kept::keeping;

contract!(Rabbit<Four>);
keeping!(Four);

/// A virtual host says what a queue is that says nothing of it, and a queue of quorum is neither exclusive nor of single
/// messages.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queues_of_our_own_are_classic_where_others_are_quorum_by_default() {
    let rabbit = Rabbit::<Four>::start().await;
    let path = format!("/api/vhosts/{}", rabbit.host.name());
    let quorum = json!({"default_queue_type": "quorum"});
    rabbit
        .host
        .node()
        .api()
        .put(&path, &quorum)
        .expect("it may be changed");
    for keeping in [Keeping::Instance("shop".to_owned()), Keeping::Ephemeral] {
        let transport = rabbit.transport_of("guest", &keeping);
        let (mut incoming, _stop) = live(&transport).await;
        rabbit.send_event("task.sent", "[1]").await;
        assert_eq!(message(&mut incoming).await, "[1]");
        let request = ping(transport.reply_queue());
        transport
            .publish_control(&request)
            .await
            .expect("it has a queue for replies");
    }
}
