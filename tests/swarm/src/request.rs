//! Requests of remote control, as workers read them. A fleet gets each once for every worker, and reads it once.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

/// A request.
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) arguments: Value,
    pub(crate) ticket: Value,
    /// Exchange and routing key of the reply, when one is wanted.
    pub(crate) reply_to: Option<(String, String)>,
    /// `None` is everybody.
    destination: Option<HashSet<String>>,
}

impl Request {
    /// Reads the body of a message.
    pub(crate) fn of(mut body: Value) -> Option<Self> {
        if !body.is_object() {
            return None;
        }
        let reply_to = &body["reply_to"];
        let word = |field: &str| reply_to[field].as_str().map(str::to_owned);
        let reply_to = word("routing_key").map(|key| (word("exchange").unwrap_or_default(), key));
        let names = body["destination"].as_array();
        let names = names.filter(|names| !names.is_empty()).map(|names| {
            let names = names.iter().filter_map(Value::as_str);
            names.map(str::to_owned).collect()
        });
        Some(Self {
            reply_to,
            destination: names,
            method: body["method"].as_str()?.to_owned(),
            arguments: body["arguments"].take(),
            ticket: body["ticket"].take(),
        })
    }

    /// Whether a worker has to do something about it.
    pub(crate) fn is_for(&self, name: &str) -> bool {
        let destination = self.destination.as_ref();
        destination.is_none_or(|names| names.contains(name))
    }
}

/// What was read last: the others of the fleet get the same.
#[derive(Default)]
pub(crate) struct Reading(Mutex<Option<Read>>);

struct Read {
    raw: Vec<u8>,
    request: Option<Arc<Request>>,
}

impl Reading {
    /// The request in a message, taken out of it by `body`; `None` when it is none.
    pub(crate) fn read(
        &self,
        raw: &[u8],
        body: fn(&[u8]) -> Option<Value>,
    ) -> Option<Arc<Request>> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = last.as_ref().filter(|last| last.raw == raw) {
            return last.request.clone();
        }
        let request = body(raw).and_then(Request::of).map(Arc::new);
        let raw = raw.to_vec();
        last.insert(Read { raw, request }).request.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_request_is_for_whom_it_names_or_for_all() {
        let of = |destination: Value| {
            let body = json!({"method": "ping", "arguments": {}, "destination": destination, "ticket": "t", "reply_to": null});
            Request::of(body).expect("it is a request")
        };
        assert!(of(Value::Null).is_for("celery@a") && of(json!([])).is_for("celery@a"));
        let named = of(json!(["celery@a"]));
        assert!(named.is_for("celery@a") && !named.is_for("celery@b"));
        assert!(named.reply_to.is_none());
        let partial = Request::of(json!({"method": "ping"}));
        assert!(partial.is_some_and(|ping| ping.is_for("celery@a") && ping.ticket.is_null()));
        assert!(Request::of(json!({})).is_none() && Request::of(json!([])).is_none());
    }
}
