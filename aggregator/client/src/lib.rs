//! A typed client of the aggregator (`celeriac.v1`). It renders nothing, caches nothing and decides nothing.
//!
//! [`Client`] makes unary reads with a deadline and repeats those that the aggregator could not take;
//! [`Client::pages`] walks a list; [`Client::watch`] follows changes over disconnects; [`Client::execute_command`] sends
//! one command to workers and asks again under the same request id when the connection breaks.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use celeriac_client::{Client, v1::ListWorkersRequest};
//!
//! let client = Client::connect("127.0.0.1:5555".parse()?)?;
//! for worker in client.list_workers(ListWorkersRequest::default()).await?.workers {
//!     println!("{}", worker.name);
//! }
//! # Ok(())
//! # }
//! ```

mod address;
mod client;
mod control;
mod credentials;
mod demand;
mod error;
mod pages;
mod watch;

pub use address::{Address, AddressError, DEFAULT_PORT};
pub use celeriac_proto::v1;
pub use client::{Builder, Client, SetupError};
pub use credentials::TokenError;
pub use demand::DemandStream;
pub use error::{Error, Refusal, Violation};
pub use pages::{List, Page, Pages};
pub use tonic::Code;
pub use watch::{Update, Watch};
