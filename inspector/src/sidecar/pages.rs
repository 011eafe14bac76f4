//! The pages: `/livez`, `/readyz` and `/metrics` by [`Vitals`], and `/drain`.

use std::hint::black_box;
use std::time::Instant;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use celeriac_process::health::Vitals;

use super::shared::{Outcome, Phase, Shared};
use super::ward::Life;

/// The header with the pool's token.
pub const TOKEN_HEADER: &str = "x-celeriac-drain-token";

impl Vitals for Shared {
    fn unready(&self) -> Option<&'static str> {
        self.ward().ready(Instant::now()).reason()
    }

    fn failed(&self) -> Option<String> {
        match self.ward().life(Instant::now()) {
            Life::Alive(_) => None,
            stalled @ Life::Stalled { .. } => Some(stalled.to_string()),
        }
    }

    fn text(&self) -> Result<String, std::fmt::Error> {
        self.metrics().text(Instant::now(), &self.ward())
    }
}

/// `/drain`, by GET since that is what a kubelet's hook can.
pub(super) fn drain_page() -> Router<Shared> {
    Router::new().route("/drain", get(drain).post(drain))
}

/// Has the worker drained, and answers when that is over: 200 when it holds nothing, 504 at the deadline, 502 when it
/// could not be asked for a minute. Any number may
/// ask; there is one drain, and who asks again is told how it ended.
async fn drain(State(shared): State<Shared>, headers: HeaderMap) -> Response {
    let Some(token) = shared.drain_token() else {
        let words = "there is no drain here: the sidecar was given no --drain-token-file\n";
        return (StatusCode::FORBIDDEN, words).into_response();
    };
    let given = headers.get(TOKEN_HEADER).map(HeaderValue::as_bytes);
    if !given.is_some_and(|given| is_same(given, token.as_bytes())) {
        let words = format!("the pool's token is needed in the header {TOKEN_HEADER}\n");
        return (StatusCode::UNAUTHORIZED, words).into_response();
    }
    let mut phases = shared.want_drain();
    let ended = phases
        .wait_for(|phase| matches!(phase, Phase::Over(_) | Phase::Ending))
        .await;
    match ended.map(|phase| phase.clone()) {
        Ok(Phase::Over(outcome)) => answer(&outcome),
        _ => (StatusCode::SERVICE_UNAVAILABLE, "the sidecar is stopping\n").into_response(),
    }
}

fn answer(outcome: &Outcome) -> Response {
    let status = match outcome {
        Outcome::Drained | Outcome::NeverSeen => StatusCode::OK,
        Outcome::Unreached { .. } => StatusCode::BAD_GATEWAY,
        Outcome::Deadline { .. } => StatusCode::GATEWAY_TIMEOUT,
    };
    (status, format!("{outcome}\n")).into_response()
}

/// Compares without telling by the time how much of it is the same; the length is no secret.
fn is_same(given: &[u8], token: &[u8]) -> bool {
    let differs = given.iter().zip(token).fold(0, |differs, (one, other)| {
        black_box(differs | (one ^ other))
    });
    given.len() == token.len() && differs == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_token_is_the_token() {
        assert!(is_same(b"abc", b"abc"));
        for other in ["abd", "ab", "abcd", "", "xbc"] {
            assert!(!is_same(other.as_bytes(), b"abc"), "{other}");
        }
    }
}
