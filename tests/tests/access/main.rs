//! The aggregator open to others: TLS, and who may do what.

mod apart;
mod arguments;
mod bed;
mod flower;
mod invented;
mod kubernetes;
mod payload;
mod raw;
mod table;
mod tls;
mod withdrawn;
