//! The envelope that we send.

use base64_simd::STANDARD;
use serde::Serialize;

use crate::wire::pidbox::ControlMessage;

/// Kombu's envelope around a control request, as it is published on Redis.
///
/// `delivery_tag` must be new for each message: kombu's Sentinel workers drop a tag they have seen.
pub fn encode_envelope(
    message: &ControlMessage,
    exchange: &str,
    routing_key: &str,
    delivery_tag: &str,
) -> Vec<u8> {
    let envelope = SentEnvelope {
        body: STANDARD.encode_to_string(&message.body),
        content_encoding: message.content_encoding,
        content_type: message.content_type,
        headers: SentHeaders {
            clock: 0,
            expires: message.expires,
        },
        properties: SentProperties {
            delivery_mode: 2,
            delivery_info: DeliveryInfo {
                exchange,
                routing_key,
            },
            priority: 0,
            body_encoding: "base64",
            delivery_tag,
        },
    };
    serde_json::to_vec(&envelope).expect("strings and numbers always serialize")
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct SentEnvelope<'a> {
    body: String,
    content_encoding: &'a str,
    content_type: &'a str,
    headers: SentHeaders,
    properties: SentProperties<'a>,
}

#[derive(Serialize)]
struct SentHeaders {
    /// 0 leaves the worker's Lamport clock as it is.
    clock: u64,
    expires: f64,
}

#[derive(Serialize)]
struct SentProperties<'a> {
    delivery_mode: u8,
    delivery_info: DeliveryInfo<'a>,
    priority: u8,
    body_encoding: &'a str,
    delivery_tag: &'a str,
}

#[derive(Serialize)]
struct DeliveryInfo<'a> {
    exchange: &'a str,
    routing_key: &'a str,
}
