//! Remote control ("pidbox"): requests and replies, every inspect command typed. Follows `kombu/pidbox.py` and
//! `celery/worker/control.py`.

/// A control request ready for a transport: serialized body and the headers kombu gives it.
#[derive(Debug, Clone, PartialEq)]
pub struct ControlMessage {
    /// Serialized request.
    pub body: Vec<u8>,
    /// Such as `application/json`.
    pub content_type: &'static str,
    /// Such as `utf-8`.
    pub content_encoding: &'static str,
    /// Header `expires`, seconds since the Unix epoch; nobody enforces it.
    pub expires: f64,
}
