use serde_json::{Value, json};

use super::super::*;
use super::recording;
use crate::wire::content::Serializer;

#[test]
fn requests_are_written_as_celerys_own_client_writes_them() {
    let mut methods = Vec::new();
    for file in ["redis-pidbox.jsonl", "amqp-pidbox.jsonl"] {
        for wire in recording(file).0 {
            let name = wire["method"].as_str().expect("text");
            if wire["pattern"] == "celery@w*" {
                continue; // patterns are not sent: nodes are named
            }
            let method: Method = match (Inspect::of(name), Control::of(name)) {
                (Some(inspect), _) => inspect.into(),
                (_, Some(control)) => control.into(),
                _ => match CustomMethod::new(name) {
                    Ok(custom) => custom.into(),
                    Err(refused) => {
                        assert_eq!((name, refused), ("hello", NotSendable::Harmful));
                        continue;
                    }
                },
            };
            let destination: Option<Vec<String>> =
                serde_json::from_value(wire["destination"].clone()).expect("nodes or null");
            let destination = match destination {
                Some(nodes) => Destination::nodes(nodes).expect("at least one"),
                None => Destination::everyone(),
            };
            assert_eq!(method.is_answered(), name != "shutdown");
            let mut request = Request::new(method, destination)
                .arguments(wire["arguments"].as_object().expect("an object").clone());
            if let Some(ticket) = wire["ticket"].as_str() {
                request = request.reply_to("Q", ticket);
            }
            let ours: Value =
                serde_json::from_slice(&request.encode(Serializer::Json, 1.5).body).expect("JSON");
            // Ours come by the default exchange; Celery's client names its own.
            let mut expect = wire.clone();
            if wire.get("reply_to").is_some() {
                expect["reply_to"] = json!({"exchange": "", "routing_key": "Q"});
            }
            assert_eq!(ours, expect);
            methods.push(name.to_owned());
        }
    }
    methods.sort();
    methods.dedup();
    // `nosuch` among them, which an app could have.
    assert_eq!(methods.len(), Inspect::ALL.len() + Control::ALL.len() + 1);
}

#[test]
fn a_request_has_kombus_field_order_and_exact_arguments() {
    let nodes = Destination::nodes(vec!["celery@w1".into()]).expect("one");
    let message = Request::new(Inspect::QueryTask, nodes)
        .argument("ids", vec!["a", "b"])
        .reply_to("q.reply.celery.pidbox", "t1")
        .encode(Serializer::Json, 1_795_347_644.5);
    assert_eq!(
        String::from_utf8(message.body).expect("text"),
        r#"{"method":"query_task","arguments":{"ids":["a","b"]},"destination":["celery@w1"],"pattern":null,"matcher":null,"ticket":"t1","reply_to":{"exchange":"","routing_key":"q.reply.celery.pidbox"}}"#
    );
    assert_eq!(
        (message.content_type, message.content_encoding),
        ("application/json", "utf-8")
    );
}

#[test]
fn harmful_and_builtin_names_are_no_custom_commands_and_no_nodes_is_not_everyone() {
    let refused = |name: &str| CustomMethod::new(name).expect_err("refused");
    assert_eq!(refused("hello"), NotSendable::Harmful);
    assert_eq!(refused("election"), NotSendable::Harmful);
    assert_eq!(refused("shutdown"), NotSendable::Builtin);
    assert_eq!(refused("dump_conf"), NotSendable::Builtin);
    assert_eq!(refused(""), NotSendable::Name);
    assert_eq!(refused("a b"), NotSendable::Name);
    assert!(CustomMethod::new("my_command").is_ok());
    for name in ["hello", "election"] {
        assert_eq!((Inspect::of(name), Control::of(name)), (None, None));
    }
    assert_eq!(Destination::nodes(vec![]), None);
}
