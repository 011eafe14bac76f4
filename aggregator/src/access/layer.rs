//! Every request gets its caller here, or its refusal, before anything else looks at it.

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tonic::{Code, Status};

use super::Access;

/// What anybody may ask: whether the process lives and is ready, as kubelets do, who have no token. It tells nothing else.
const OPEN: [&str; 4] = ["/", "/livez", "/readyz", "/grpc.health.v1.Health/Check"];

/// Puts the caller into the request, and takes the token out of it.
pub async fn authenticate(
    State(access): State<Access>,
    mut request: Request,
    next: Next,
) -> Response {
    if OPEN.contains(&request.uri().path()) {
        return next.run(request).await;
    }
    let header = request.headers_mut().remove(AUTHORIZATION);
    let token = header
        .as_ref()
        .and_then(|value| value.to_str().ok())
        .and_then(bearer);
    match access.authenticate(token).await {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(status) => refuse(request.headers(), status),
    }
}

/// The token of a header's value; the scheme's name has no case (RFC 9110).
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// A refusal in the language of who asks.
fn refuse(headers: &HeaderMap, status: Status) -> Response {
    let content_type = headers
        .get(CONTENT_TYPE)
        .map(axum::http::HeaderValue::as_bytes);
    if content_type.is_some_and(|kind| kind.starts_with(b"application/grpc")) {
        return status.into_http();
    }
    page(&status)
}

/// A refusal as a page.
pub fn page(status: &Status) -> Response {
    let text = format!("{}\n", status.message());
    match status.code() {
        Code::Unauthenticated => {
            let challenge = [(WWW_AUTHENTICATE, "Bearer")];
            (StatusCode::UNAUTHORIZED, challenge, text).into_response()
        }
        Code::PermissionDenied => (StatusCode::FORBIDDEN, text).into_response(),
        _ => (StatusCode::SERVICE_UNAVAILABLE, text).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::bearer;

    #[test]
    fn only_bearer_tokens_are_tokens() {
        assert_eq!(bearer("Bearer abc"), Some("abc"));
        assert_eq!(bearer("bearer  abc "), Some("abc"));
        for none in ["abc", "Basic abc", "Bearer", "Bearer ", ""] {
            assert_eq!(bearer(none), None, "{none}");
        }
    }
}
