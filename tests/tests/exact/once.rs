//! What happened once is counted once, also when it is told again after other events.

use serde_json::json;

use crate::lives::{id, receive};
use crate::stream::{Sent, fold};

#[test]
fn a_task_revoked_in_the_queue_is_counted_once() {
    let event = |event_type: &str, clock: u32| Sent {
        event: json!({
            "hostname": "celery@w0", "utcoffset": 0, "pid": 100, "clock": clock, "type": event_type, "uuid": id(0),
            "timestamp": 1_795_000_000 + clock, "name": "shop.task", "retries": 0, "terminated": false, "expired": false,
        }),
        received: 0,
        life: 1,
    };
    let revoked = event("task-revoked", 1);
    let stream = receive(vec![revoked.clone(), event("task-received", 2), revoked]);
    let app = fold(&stream);
    let counted: Vec<_> = app
        .task_names()
        .map(|name| (name.received, name.revoked))
        .collect();
    assert_eq!(counted, [(1, 1)]);
}
