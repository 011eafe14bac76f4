//! The body of a worker's answer, read as an answer to each command.
#![no_main]

use celeriac_inspector::wire::message::Opened;
use celeriac_inspector::wire::pidbox::{Control, Inspect, Method, Reply, SHOWN_BYTES_MAX};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    let Ok(reply) = Reply::read(&Opened { body, ticket: None }) else {
        return;
    };
    for method in [
        Method::Inspect(Inspect::Conf),
        Method::Control(Control::RateLimit),
    ] {
        let (shown, _) = reply.shown(&method);
        // Quotes and escapes around what was cut.
        assert!(shown.len() <= 6 * SHOWN_BYTES_MAX + 2);
    }
    let _ = reply.answer();
    let _ = reply.ping();
    let _ = reply.stats();
    let _ = reply.active();
    let _ = reply.reserved();
    let _ = reply.scheduled();
    let _ = reply.query_task();
    let _ = reply.revoked();
    let _ = reply.registered();
    let _ = reply.active_queues();
    let _ = reply.conf();
    let _ = reply.clock();
    let _ = reply.report();
});
