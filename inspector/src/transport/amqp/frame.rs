//! From lapin's deliveries to frames.

use lapin::message::Delivery;
use lapin::protocol::BasicProperties;
use lapin::types::AMQPValue;

use crate::wire::message::Frame;

/// The message as the rest of the inspector takes it.
pub(super) fn frame(delivery: Delivery) -> Frame {
    let properties = &delivery.properties;
    let text = |value: &Option<lapin::types::ShortString>| {
        value.as_ref().map_or_else(String::new, ToString::to_string)
    };
    Frame::Properties {
        content_type: text(properties.content_type()),
        content_encoding: text(properties.content_encoding()),
        compression: header(properties, "compression"),
        ticket: header(properties, "ticket"),
        hostname: header(properties, "hostname"),
        routing_key: Some(delivery.routing_key.to_string()),
        body: delivery.data,
    }
}

/// A header that is text.
fn header(properties: &BasicProperties, name: &str) -> Option<String> {
    let headers = properties.headers().as_ref()?;
    match headers.inner().get(name)? {
        AMQPValue::LongString(text) => Some(text.to_string()),
        AMQPValue::ShortString(text) => Some(text.to_string()),
        _ => None,
    }
}
