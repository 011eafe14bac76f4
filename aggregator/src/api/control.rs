//! `ControlService`: not in this version; says so.

use celeriac_proto::v1;
use celeriac_proto::v1::control_service_server::ControlService;
use tonic::{Request, Response, Status};

/// The service.
#[derive(Clone)]
pub struct Control;

fn later<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented(
        "control of workers is not in this version",
    ))
}

#[tonic::async_trait]
impl ControlService for Control {
    async fn execute_command(
        &self,
        _: Request<v1::ExecuteCommandRequest>,
    ) -> Result<Response<v1::ExecuteCommandResponse>, Status> {
        later()
    }

    async fn get_command(
        &self,
        _: Request<v1::GetCommandRequest>,
    ) -> Result<Response<v1::GetCommandResponse>, Status> {
        later()
    }

    async fn list_commands(
        &self,
        _: Request<v1::ListCommandsRequest>,
    ) -> Result<Response<v1::ListCommandsResponse>, Status> {
        later()
    }
}
