//! Every RPC and every command of the contract, and who may: a row for each, a role in every column.

use std::collections::{BTreeMap, BTreeSet};

use celeriac_proto::v1;
use celeriac_proto::v1::execute_command_request::Command;
use celeriac_tests::turn;
use prost::Message as _;
use prost_types::FileDescriptorSet;
use tonic::Code;

use crate::bed::{PEOPLE, TokenBed};
use crate::invented::{TASK, WORKER, attach, hello};
use crate::raw::call;

/// Who may; all others of [`PEOPLE`], and who has no token, may not. Each call names the app `shop`, but for those that are
/// about all apps.
const ROWS: [(&str, &str); 38] = [
    (
        "ControlService/ExecuteCommand add_consumer",
        "tuner operator",
    ),
    ("ControlService/ExecuteCommand autoscale", "tuner operator"),
    (
        "ControlService/ExecuteCommand cancel_consumer",
        "tuner operator",
    ),
    ("ControlService/ExecuteCommand custom", "operator"),
    (
        "ControlService/ExecuteCommand disable_events",
        "tuner operator",
    ),
    (
        "ControlService/ExecuteCommand enable_events",
        "tuner operator",
    ),
    ("ControlService/ExecuteCommand heartbeat", "tuner operator"),
    ("ControlService/ExecuteCommand inspect", "tuner operator"),
    ("ControlService/ExecuteCommand ping", "tuner operator"),
    ("ControlService/ExecuteCommand pool_grow", "tuner operator"),
    ("ControlService/ExecuteCommand pool_restart", "operator"),
    (
        "ControlService/ExecuteCommand pool_shrink",
        "tuner operator",
    ),
    ("ControlService/ExecuteCommand rate_limit", "tuner operator"),
    ("ControlService/ExecuteCommand revoke", "operator"),
    (
        "ControlService/ExecuteCommand revoke_by_stamped_headers",
        "operator",
    ),
    ("ControlService/ExecuteCommand shutdown", "operator"),
    ("ControlService/ExecuteCommand time_limit", "tuner operator"),
    ("ControlService/GetCommand", READS),
    ("ControlService/ListCommands", READS),
    ("ControlService/ListCommands all", READS_ANY),
    ("DemandService/GetDemand", READS),
    ("DemandService/WatchDemand", READS),
    ("IngestService/Attach", "inspector"),
    ("InspectionService/GetApp", READS),
    ("InspectionService/GetQueue", READS),
    ("InspectionService/GetTask", READS),
    ("InspectionService/GetTaskName", READS),
    ("InspectionService/GetWorker", READS),
    ("InspectionService/GetWorkflow", READS),
    ("InspectionService/ListApps", READS_ANY),
    ("InspectionService/ListGaps", READS),
    ("InspectionService/ListQueues", READS),
    ("InspectionService/ListTaskNames", READS),
    ("InspectionService/ListTasks", READS),
    ("InspectionService/ListWorkers", READS),
    ("WatchService/Watch", READS),
    ("WatchService/Watch all", READS_ANY),
    ("WatchService/Watch worker", READS),
];

const READS: &str = "viewer reader tuner operator overseer";
const READS_ANY: &str = "viewer reader tuner operator overseer bank-viewer";

#[tokio::test]
async fn every_rpc_is_for_those_who_have_its_right_and_nobody_else() {
    let _turn = turn().await;
    let bed = TokenBed::start(&["--allow-command", "flush"]).await;
    attach(bed.of("inspector").await, "shop")
        .await
        .expect("it may");
    attach(bed.of("bank-inspector").await, "bank")
        .await
        .expect("it may");
    let mut people = BTreeMap::new();
    for (name, _) in PEOPLE {
        people.insert(name, bed.of(name).await);
    }
    let unknown = bed.with(Some("celeriac_unknown")).await;
    let nobody = bed.of("nobody").await;
    let mut wrong = Vec::new();
    for (row, allowed) in ROWS {
        let method = row.split(' ').next().unwrap_or_default();
        let message = message(row);
        let allowed: BTreeSet<&str> = allowed.split(' ').collect();
        for (name, known) in &people {
            let answer = call(known, method, &message).await;
            let expected = allowed.contains(name);
            let fits = match answer.as_ref().map_err(tonic::Status::code) {
                Ok(_) => expected,
                Err(Code::PermissionDenied) => !expected,
                // No command was given yet, no queue seen.
                Err(Code::NotFound) => expected && is_single(method),
                Err(_) => false,
            };
            if !fits {
                wrong.push(format!("{row}: {name}: {answer:?}"));
            }
        }
        let refusals = [
            call(&unknown, method, &message),
            call(&nobody, method, &message),
        ];
        for refusal in futures_util::future::join_all(refusals).await {
            let status = refusal.expect_err(row);
            assert_eq!(status.code(), Code::Unauthenticated, "{row}: {status}");
            assert!(!status.message().contains("unknown"), "{status}");
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn is_single(method: &str) -> bool {
    matches!(
        method,
        "ControlService/GetCommand" | "InspectionService/GetQueue"
    )
}

#[test]
fn no_rpc_and_no_command_is_without_a_row() {
    let set = FileDescriptorSet::decode(celeriac_proto::FILE_DESCRIPTOR_SET)
        .expect("the contract describes itself");
    let mut wanted = BTreeSet::new();
    for file in &set.file {
        for service in &file.service {
            for method in &service.method {
                wanted.insert(format!("{}/{}", service.name(), method.name()));
            }
        }
    }
    let request = set
        .file
        .iter()
        .flat_map(|file| &file.message_type)
        .find(|message| message.name() == "ExecuteCommandRequest")
        .expect("the contract has it");
    let execute = "ControlService/ExecuteCommand";
    assert!(wanted.remove(execute), "{wanted:?}");
    let commands = request
        .field
        .iter()
        .filter(|field| field.oneof_index == Some(0));
    wanted.extend(commands.map(|field| format!("{execute} {}", field.name())));
    let rows: BTreeSet<String> = ROWS
        .iter()
        .map(|(row, _)| {
            row.trim_end_matches(" all")
                .trim_end_matches(" worker")
                .to_owned()
        })
        .collect();
    assert_eq!(rows, wanted);
}

/// The request of a row, about the app `shop`.
fn message(row: &str) -> Vec<u8> {
    let app = if row.ends_with(" all") {
        String::new()
    } else {
        "shop".to_owned()
    };
    let name = String::new();
    if row == "WatchService/Watch worker" {
        let worker = WORKER.to_owned();
        let request = v1::WatchRequest {
            app,
            worker,
            ..Default::default()
        };
        return request.encode_to_vec();
    }
    match row.split(' ').next().unwrap_or_default() {
        "ControlService/ExecuteCommand" => command(row.rsplit(' ').next().unwrap_or_default()),
        "ControlService/GetCommand" => v1::GetCommandRequest {
            app,
            request_id: TASK.to_owned(),
        }
        .encode_to_vec(),
        "InspectionService/GetTask" => v1::GetTaskRequest {
            app,
            id: TASK.to_owned(),
            view: v1::TaskView::Full.into(),
        }
        .encode_to_vec(),
        "InspectionService/GetWorkflow" => v1::GetWorkflowRequest {
            app,
            root_id: TASK.to_owned(),
            ..Default::default()
        }
        .encode_to_vec(),
        "InspectionService/GetWorker" => {
            let name = WORKER.to_owned();
            v1::GetWorkerRequest { app, name }.encode_to_vec()
        }
        "InspectionService/GetTaskName" => {
            let name = "shop.task".to_owned();
            v1::GetTaskNameRequest { app, name }.encode_to_vec()
        }
        "DemandService/GetDemand" | "DemandService/WatchDemand" => v1::GetDemandRequest {
            app,
            queues: vec!["celery".to_owned()],
            ..Default::default()
        }
        .encode_to_vec(),
        "InspectionService/ListApps" => v1::ListAppsRequest::default().encode_to_vec(),
        "IngestService/Attach" => v1::AttachRequest {
            message: Some(v1::attach_request::Message::Hello(v1::Hello {
                instance: "another".to_owned(),
                ..hello("shop")
            })),
        }
        .encode_to_vec(),
        // All others have the app as their first field, and are content without the rest.
        _ => v1::GetQueueRequest { app, name }.encode_to_vec(),
    }
}

fn command(name: &str) -> Vec<u8> {
    let text = || "celery".to_owned();
    let command = match name {
        "ping" => Command::Ping(v1::PingCommand {}),
        "inspect" => Command::Inspect(v1::InspectCommand {
            name: "active".to_owned(),
            arguments_json: String::new(),
        }),
        "revoke" => Command::Revoke(v1::RevokeCommand {
            task_ids: vec![TASK.to_owned()],
            ..Default::default()
        }),
        "revoke_by_stamped_headers" => {
            Command::RevokeByStampedHeaders(v1::RevokeByStampedHeadersCommand {
                headers: [("user".to_owned(), "x".to_owned())].into(),
                ..Default::default()
            })
        }
        "shutdown" => Command::Shutdown(v1::ShutdownCommand {}),
        "pool_grow" => Command::PoolGrow(v1::PoolGrowCommand { count: 1 }),
        "pool_shrink" => Command::PoolShrink(v1::PoolShrinkCommand { count: 1 }),
        "pool_restart" => Command::PoolRestart(v1::PoolRestartCommand::default()),
        "autoscale" => Command::Autoscale(v1::AutoscaleCommand { max: 2, min: 1 }),
        "add_consumer" => Command::AddConsumer(v1::AddConsumerCommand {
            queue: text(),
            ..Default::default()
        }),
        "cancel_consumer" => Command::CancelConsumer(v1::CancelConsumerCommand {
            queue: text(),
            drain: false,
        }),
        "rate_limit" => Command::RateLimit(v1::RateLimitCommand {
            task_name: text(),
            rate_limit: "10/m".to_owned(),
        }),
        "time_limit" => Command::TimeLimit(v1::TimeLimitCommand {
            task_name: text(),
            ..Default::default()
        }),
        "enable_events" => Command::EnableEvents(v1::EnableEventsCommand {}),
        "disable_events" => Command::DisableEvents(v1::DisableEventsCommand {}),
        "heartbeat" => Command::Heartbeat(v1::HeartbeatCommand {}),
        "custom" => Command::Custom(v1::CustomCommand {
            name: "flush".to_owned(),
            arguments_json: String::new(),
        }),
        other => panic!("no request for the command {other}"),
    };
    let request = v1::ExecuteCommandRequest {
        app: "shop".to_owned(),
        all_workers: true,
        validate_only: true,
        command: Some(command),
        ..Default::default()
    };
    request.encode_to_vec()
}
