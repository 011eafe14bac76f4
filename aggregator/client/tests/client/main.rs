//! The client library and the binary against an aggregator that is made of fixed answers, over real sockets.

mod cli;
mod control;
mod fake;
mod paging;
mod plugin;
mod top;
mod tty;
mod unary;
mod watch;
