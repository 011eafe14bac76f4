//! The way to the aggregator, as the command line says it.

use celeriac_client::{Address, Builder, Client};

use crate::controllers::Context;

/// A client of the aggregator; `None` when none is named.
///
/// # Errors
/// Words, when its address is none.
pub fn client(context: &Context) -> Option<Result<Builder, String>> {
    let inspection = context.inspection.as_ref()?;
    let address = inspection.aggregator.parse::<Address>();
    let address = address.map_err(|error| format!("--aggregator: {error}"));
    Some(address.map(|address| {
        let mut builder = Client::builder(address);
        if let Some(pem) = &inspection.authority {
            builder = builder.ca_pem(pem.as_bytes());
        }
        if let Some(path) = &context.token_file {
            builder = builder.token_file(path);
        }
        builder
    }))
}
