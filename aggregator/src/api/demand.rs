//! `DemandService`: not in this version; says so.

use celeriac_proto::v1;
use celeriac_proto::v1::demand_service_server::DemandService;
use tokio_stream::Empty;
use tonic::{Request, Response, Status};

/// The service.
#[derive(Clone)]
pub struct Demand;

#[tonic::async_trait]
impl DemandService for Demand {
    type WatchDemandStream = Empty<Result<v1::WatchDemandResponse, Status>>;

    async fn get_demand(
        &self,
        _: Request<v1::GetDemandRequest>,
    ) -> Result<Response<v1::GetDemandResponse>, Status> {
        Err(Status::unimplemented("demand is not in this version"))
    }

    async fn watch_demand(
        &self,
        _: Request<v1::WatchDemandRequest>,
    ) -> Result<Response<Self::WatchDemandStream>, Status> {
        Err(Status::unimplemented("demand is not in this version"))
    }
}
