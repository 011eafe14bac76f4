//! Commands: recorded before anything else, answered from the record when they come again, as the contract says.

use celeriac_client::v1;
use celeriac_proto::v1::control_service_server::ControlService;
use tonic::{Request, Response, Status, async_trait};

use super::Service;

#[async_trait]
impl ControlService for Service {
    async fn execute_command(
        &self,
        request: Request<v1::ExecuteCommandRequest>,
    ) -> Result<Response<v1::ExecuteCommandResponse>, Status> {
        let request = request.into_inner();
        self.called(format!("execute {}", request.request_id))
            .await?;
        if request.destination.is_empty() && !request.all_workers {
            return Err(Status::invalid_argument("destination is empty"));
        }
        let known = self.record(&request.request_id);
        if let Some(record) = known {
            return if record.request.as_ref() == Some(&request) {
                Ok(Response::new(v1::ExecuteCommandResponse {
                    record: Some(record),
                }))
            } else {
                Err(Status::already_exists(
                    "another command has this request_id",
                ))
            };
        }
        let (record, delay) = {
            let mut script = self.script();
            let outcome = match script.outcome {
                _ if request.validate_only => v1::CommandOutcome::Validated,
                v1::CommandOutcome::Unspecified => v1::CommandOutcome::Published,
                outcome => outcome,
            };
            let answers = if outcome == v1::CommandOutcome::Published {
                script.answers.clone()
            } else {
                Vec::new()
            };
            let record = v1::CommandRecord {
                request: Some(request.clone()),
                recorded_time: Some(prost_types::Timestamp {
                    seconds: 1,
                    nanos: 0,
                }),
                published_time: (outcome == v1::CommandOutcome::Published).then_some(
                    prost_types::Timestamp {
                        seconds: 1,
                        nanos: 500_000_000,
                    },
                ),
                outcome: outcome.into(),
                answers,
                message_json: r#"{"method":"fake","arguments":{}}"#.to_owned(),
                ..Default::default()
            };
            if !request.validate_only {
                script.records.push(record.clone());
            }
            (record, script.answer_delay)
        };
        tokio::time::sleep(delay).await;
        Ok(Response::new(v1::ExecuteCommandResponse {
            record: Some(record),
        }))
    }

    async fn get_command(
        &self,
        request: Request<v1::GetCommandRequest>,
    ) -> Result<Response<v1::GetCommandResponse>, Status> {
        let id = request.into_inner().request_id;
        self.called(format!("get_command {id}")).await?;
        match self.record(&id) {
            Some(record) => Ok(Response::new(v1::GetCommandResponse {
                record: Some(record),
            })),
            None => Err(Status::not_found(format!(
                "no command has request id {id:?}"
            ))),
        }
    }

    async fn list_commands(
        &self,
        request: Request<v1::ListCommandsRequest>,
    ) -> Result<Response<v1::ListCommandsResponse>, Status> {
        let request = request.into_inner();
        self.called(format!("list_commands {}", request.page_size))
            .await?;
        let (mut records, next_page_token) = self.page(
            |script| &script.records,
            request.page_size,
            &request.page_token,
        )?;
        records.reverse();
        Ok(Response::new(v1::ListCommandsResponse {
            records,
            next_page_token,
        }))
    }
}

impl Service {
    fn record(&self, id: &str) -> Option<v1::CommandRecord> {
        let script = self.script();
        let has = |record: &&v1::CommandRecord| {
            record
                .request
                .as_ref()
                .is_some_and(|request| request.request_id == id)
        };
        script.records.iter().find(has).cloned()
    }
}
