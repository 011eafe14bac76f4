//! The gRPC edge: protobuf outside, the fold's types inside. It keeps no state of its own.

use celeriac_proto::v1;
use tonic::Status;

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

/// The name of the app a single read is about: the one given, or the only one there is.
fn app_name(board: &crate::engine::board::Board, asked: &str) -> Result<String, Status> {
    let names = || board.apps.keys().map(ToString::to_string);
    match (asked, board.apps.len()) {
        ("", 1) => Ok(names().next().unwrap_or_default()),
        ("", 0) => Err(page::not_found("app", asked, names())),
        ("", _) => {
            let known: Vec<String> = names().take(20).collect();
            Err(page::invalid("app", format!("there are several, name one of: {}", known.join(", "))))
        }
        (name, _) if board.apps.contains_key(name) => Ok(name.to_owned()),
        (name, _) => Err(page::not_found("app", name, names())),
    }
}

/// The services, ready to be put on a port.
pub fn routes(reads: Reads, engine: EngineHandle, stop: tokio_util::sync::CancellationToken) -> tonic::service::Routes {
    use v1::control_service_server::ControlServiceServer;
    use v1::demand_service_server::DemandServiceServer;
    use v1::ingest_service_server::IngestServiceServer;
    use v1::inspection_service_server::InspectionServiceServer;
    use v1::watch_service_server::WatchServiceServer;
    /// A batch holds at most 1,000 events or about a MiB, and an event a few texts of 64 KiB: 32 MiB is never reached.
    const BATCH_BYTES_MAX: usize = 32 << 20;
    let ingest = Ingest::new(engine, stop.clone());
    let mut routes = tonic::service::Routes::builder();
    routes
        .add_service(IngestServiceServer::new(ingest).max_decoding_message_size(BATCH_BYTES_MAX))
        .add_service(InspectionServiceServer::new(Inspection::new(reads.clone())))
        .add_service(WatchServiceServer::new(Watch::new(reads, stop)))
        .add_service(ControlServiceServer::new(control::Control))
        .add_service(DemandServiceServer::new(demand::Demand));
    routes.clone().routes()
}
