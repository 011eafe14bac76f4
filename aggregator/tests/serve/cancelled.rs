//! What people had workers stop consuming is told with the demand, by the words of its proto comment, with an inspector that
//! the test plays.

use std::time::SystemTime;

use celeriac_proto::v1;
use celeriac_proto::v1::demand_service_client::DemandServiceClient;
use celeriac_proto::v1::execute_command_request::Command;

use crate::bench::{Inspector, Server, worker};
use crate::control::{published, soon, waits};

/// Commands, each under an id of its own and reported in a batch of its own.
struct Commands {
    inspector: Inspector,
    count: u64,
}

impl Commands {
    /// Has `celery@w1` told, and the inspector say that it was published, or was not.
    async fn tell(&mut self, server: &Server, command: Command, outcome: v1::CommandOutcome) {
        self.count += 1;
        let id = format!("00000000-0000-4000-8000-{:012}", self.count);
        let request = v1::ExecuteCommandRequest {
            request_id: id.clone(),
            destination: vec!["celery@w1".to_owned()],
            command: Some(command),
            ..v1::ExecuteCommandRequest::default()
        };
        let asked = server.execute(waits(0, request)).await;
        self.inspector.ordered().await;
        let mut report = published(&id);
        report.publication.as_mut().unwrap().outcome = outcome.into();
        self.inspector.report(self.count + 1, report).await;
        assert_eq!(soon(asked, |record| record.outcome()).await, outcome);
    }

    async fn cancel(&mut self, server: &Server, queue: &str, drain: bool) {
        let command = Command::CancelConsumer(v1::CancelConsumerCommand {
            queue: queue.to_owned(),
            drain,
        });
        self.tell(server, command, v1::CommandOutcome::Published)
            .await;
    }
}

impl Server {
    /// The queues that `celery@w1` was to stop consuming.
    async fn cancelled(&self) -> Vec<String> {
        let request = v1::GetDemandRequest {
            app: "shop".to_owned(),
            queues: vec!["mail".to_owned()],
            worker_prefix: "celery@w1".to_owned(),
        };
        let mut client = DemandServiceClient::new(self.channel().await);
        let answer = client.get_demand(request).await.unwrap().into_inner();
        let demand = answer.demand.unwrap();
        let [worker] = demand.workers.as_slice() else {
            panic!("there is one worker: {demand:?}");
        };
        let cancelled = worker.cancelled_queues.clone().expect("it is always set");
        assert!(cancelled.queues.iter().all(|queue| queue.time.is_some()));
        cancelled
            .queues
            .into_iter()
            .map(|queue| queue.name)
            .collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_cancelled_is_named_over_a_restart_and_until_it_is_added_or_the_worker_lives_anew()
 {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let mut commands = Commands {
        inspector: server.attach("a", 1).await.with_worker().await,
        count: 0,
    };
    assert_eq!(server.cancelled().await, [""; 0]);
    commands.cancel(&server, "mail", false).await;
    commands.cancel(&server, "news", false).await;
    assert_eq!(server.cancelled().await, ["mail", "news"]);

    // A drain's is not a person's, and what did not go out is nobody's.
    commands.cancel(&server, "drained", true).await;
    let refused = Command::CancelConsumer(v1::CancelConsumerCommand {
        queue: "refused".to_owned(),
        drain: false,
    });
    let outcome = v1::CommandOutcome::NotPublished;
    commands.tell(&server, refused, outcome).await;
    assert_eq!(server.cancelled().await, ["mail", "news"]);

    let add = Command::AddConsumer(v1::AddConsumerCommand {
        queue: "news".to_owned(),
        ..v1::AddConsumerCommand::default()
    });
    commands
        .tell(&server, add, v1::CommandOutcome::Published)
        .await;
    assert_eq!(server.cancelled().await, ["mail"]);

    drop(commands);
    server.end().await;
    let server = Server::start(folder.path()).await;
    assert_eq!(server.cancelled().await, ["mail"]);

    let mut inspector = server.attach("a", 2).await;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let online = v1::Event {
        pid: Some(8),
        received_micros: i64::try_from(now.unwrap().as_micros()).unwrap(),
        ..worker().event("worker-online", None)
    };
    inspector.send(1, vec![online]).await;
    inspector.acknowledged(1).await;
    assert_eq!(server.cancelled().await, [""; 0]);
    server.end().await;
}
