//! The gRPC edge: protobuf outside, the fold's types inside. It keeps no state of its own.

use celeriac_proto::v1::control_service_server::ControlServiceServer;
use celeriac_proto::v1::demand_service_server::DemandServiceServer;
use celeriac_proto::v1::ingest_service_server::IngestServiceServer;
use celeriac_proto::v1::inspection_service_server::InspectionServiceServer;
use celeriac_proto::v1::watch_service_server::WatchServiceServer;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::service::Routes;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::HealthService;

use crate::access::Sight;
use crate::engine::EngineHandle;
use crate::engine::board::BoardReader;
use crate::history;

pub mod control;
pub mod convert;
pub mod demand;
pub mod ingest;
pub mod inspection;
pub mod page;
pub mod time;
pub mod watch;

pub use ingest::Ingest;
pub use inspection::Inspection;
pub use watch::Watch;

/// What every read needs.
#[derive(Clone)]
pub struct Reads {
    /// What is in memory.
    pub board: BoardReader,
    /// What is on disk.
    pub history: history::Reader,
}

/// The name of the app a single read is about: the one given, or the only one that is seen. No error names another.
fn app_name(
    board: &crate::engine::board::Board,
    sight: &Sight,
    asked: &str,
) -> Result<String, Status> {
    let seen = board.apps.keys().filter(|name| sight.sees(name));
    let names = || seen.clone().map(ToString::to_string);
    match (asked, names().count()) {
        ("", 1) => Ok(names().next().unwrap_or_default()),
        ("", 0) => Err(page::not_found("app", asked, names())),
        ("", _) => {
            let known: Vec<String> = names().take(20).collect();
            Err(page::invalid(
                "app",
                format!("there are several, name one of: {}", known.join(", ")),
            ))
        }
        (name, _) if sight.sees(name) && board.apps.contains_key(name) => Ok(name.to_owned()),
        (name, _) => Err(page::not_found("app", name, names())),
    }
}

/// Names of the services, for health.
pub const SERVICES: [&str; 6] = [
    "",
    "celeriac.v1.IngestService",
    "celeriac.v1.InspectionService",
    "celeriac.v1.WatchService",
    "celeriac.v1.ControlService",
    "celeriac.v1.DemandService",
];

/// A batch holds at most 1,000 events or about a MiB, and an event a few texts of 64 KiB: 32 MiB is never reached.
const BATCH_BYTES_MAX: usize = 32 << 20;

/// The services, ready to be put on a port.
pub fn routes(
    reads: Reads,
    engine: EngineHandle,
    health: HealthServer<HealthService>,
    allowed: control::Allowed,
    stop: CancellationToken,
) -> Routes {
    let ingest = Ingest::new(engine.clone(), stop.clone());
    let demand = demand::Demand::new(reads.clone(), engine.clone(), stop.clone());
    let control = control::Control::new(reads.clone(), engine, allowed, stop.clone());
    let mut routes = Routes::builder();
    routes
        .add_service(IngestServiceServer::new(ingest).max_decoding_message_size(BATCH_BYTES_MAX))
        .add_service(InspectionServiceServer::new(Inspection::new(reads.clone())))
        .add_service(DemandServiceServer::new(demand))
        .add_service(WatchServiceServer::new(Watch::new(reads, stop)))
        .add_service(ControlServiceServer::new(control))
        .add_service(health);
    match (reflection().build_v1(), reflection().build_v1alpha()) {
        (Ok(v1), Ok(v1alpha)) => {
            routes.add_service(v1).add_service(v1alpha);
        }
        (Err(error), _) | (_, Err(error)) => {
            // The descriptors are compiled in; a test reads them back. Everything else works without reflection.
            tracing::error!(%error, "reflection is off");
        }
    }
    routes.routes()
}

fn reflection() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(celeriac_proto::FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}
