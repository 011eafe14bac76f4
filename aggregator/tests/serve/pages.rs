//! HTTP on the same port, health, reflection, and who may ask.

use celeriac_proto::v1;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::bench::{Server, encoded, worker};

#[tokio::test(flavor = "multi_thread")]
async fn pages_health_and_reflection_share_the_port() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let host = server.address.to_string();
    assert_eq!(server.http("/livez", &host).await.0, "HTTP/1.1 200 OK");
    assert_eq!(server.http("/readyz", &host).await.0, "HTTP/1.1 200 OK");
    assert_eq!(
        server.http("/nothing", &host).await.0,
        "HTTP/1.1 404 Not Found"
    );

    let endpoint = format!("http://{}", server.address);
    let channel = tonic::transport::Endpoint::from_shared(endpoint)
        .unwrap()
        .connect()
        .await
        .unwrap();
    let mut health = tonic_health::pb::health_client::HealthClient::new(channel.clone());
    for service in ["", "celeriac.v1.IngestService"] {
        let request = tonic_health::pb::HealthCheckRequest {
            service: service.to_owned(),
        };
        let answer = health.check(request).await.unwrap().into_inner();
        assert_eq!(
            answer.status(),
            tonic_health::ServingStatus::Serving.into(),
            "{service}"
        );
    }

    let request = tonic_reflection::pb::v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut reflection =
        tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient::new(channel);
    let answers = reflection
        .server_reflection_info(tokio_stream::iter([request]))
        .await
        .unwrap();
    let answer = answers.into_inner().message().await.unwrap().unwrap();
    let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else {
        panic!("a list of services");
    };
    let names: Vec<String> = list
        .service
        .into_iter()
        .map(|service| service.name)
        .collect();
    for service in [
        "IngestService",
        "InspectionService",
        "WatchService",
        "ControlService",
        "DemandService",
    ] {
        assert!(
            names.contains(&format!("celeriac.v1.{service}")),
            "{names:?}"
        );
    }
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_names_another_host_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let answer = server.http("/metrics", "evil.example").await;
    assert_eq!(answer.0, "HTTP/1.1 421 Misdirected Request");
    assert!(!answer.1.contains("flower_"));
    server.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_carry_the_names_and_labels_of_flower_and_celery_exporter() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).await;
    let mut inspector = server.attach("a", 1).await;
    let mut w1 = worker();
    let mut events = vec![w1.heartbeat()];
    events.extend(w1.does("t1", "shop.pay"));
    events.push(w1.receives("t2", "shop.pay"));
    events.push(v1::Event {
        exception: Some("ValueError('no')".to_owned()),
        ..w1.event("task-failed", Some("t2"))
    });
    let depths = v1::Depths {
        read_micros: 1_795_347_000_000_000,
        queues: vec![v1::QueueDepth {
            name: "mail".to_owned(),
            ready: 4,
            ..Default::default()
        }],
        unacked_total: Some(2),
    };
    let batch = v1::Batch {
        sequence: 1,
        events: encoded(&events),
        depths: Some(depths),
        ..Default::default()
    };
    inspector.send_batch(batch).await;
    inspector.acknowledged(1).await;
    let (_, page) = server.http("/metrics", &server.address.to_string()).await;
    for line in [
        "flower_events_total{worker=\"celery@w1\",type=\"task-succeeded\",task=\"shop.pay\"} 1",
        "flower_events_total{worker=\"celery@w1\",type=\"task-received\",task=\"shop.pay\"} 2",
        "flower_task_runtime_seconds_bucket{le=\"0.1\",worker=\"celery@w1\",task=\"shop.pay\"} 0",
        "flower_task_runtime_seconds_bucket{le=\"+Inf\",worker=\"celery@w1\",task=\"shop.pay\"} 1",
        "flower_task_runtime_seconds_count{worker=\"celery@w1\",task=\"shop.pay\"} 1",
        "flower_worker_online{worker=\"celery@w1\"} 1.0",
        "flower_worker_number_of_currently_executing_tasks{worker=\"celery@w1\"} 0.0",
        "celery_task_succeeded_total{name=\"shop.pay\",hostname=\"w1\",queue_name=\"celery\"} 1",
        "celery_task_failed_total{name=\"shop.pay\",hostname=\"w1\",exception=\"ValueError\",queue_name=\"celery\"} 1",
        "celery_worker_up{hostname=\"w1\"} 1.0",
        "celery_queue_length{queue_name=\"mail\"} 4.0",
    ] {
        assert!(page.contains(line), "{line}\nis not in\n{page}");
    }
    for name in [
        "flower_task_prefetch_time_seconds{",
        "flower_worker_prefetched_tasks{",
    ] {
        assert!(page.contains(name), "{name}");
    }
    server.end().await;
}
