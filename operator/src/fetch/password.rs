//! The password of a Redis that the operator runs, as far as anybody else may know of it.

use std::fmt::Write as _;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use percent_encoding::percent_decode;
use ring::digest::{SHA256, digest};

use crate::build::broker::{FINGERPRINT_KEY, PASSWORD_KEY, URL_KEY};
use crate::error::Error;

/// Bytes of a fingerprint: what is told apart are the few passwords of one server.
const FINGERPRINT_BYTES: usize = 8;

/// What is known of a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Password {
    /// Tells it from others; `None` where the Secret has nothing that keeps it from being guessed by this.
    pub fingerprint: Option<String>,
    /// The URL in the Secret has it too.
    pub is_in_url: bool,
    /// When the Secret was changed last, in whole seconds, by the API server's clock; `None` where that was not kept.
    pub changed: Option<Timestamp>,
}

/// Reads the password in a Secret.
///
/// # Errors
/// When password or URL are missing, or the API server does not say.
pub async fn password(client: &Client, namespace: &str, secret: &str) -> Result<Password, Error> {
    let found = super::secret(client, namespace, secret).await?;
    let found = found.unwrap_or_default();
    known(&found).map_err(|key| Error::SecretMissing {
        name: secret.to_owned(),
        key: key.to_owned(),
    })
}

/// What a Secret tells; else the key that it lacks.
fn known(secret: &Secret) -> Result<Password, &'static str> {
    let line = |key: &'static str| {
        let value = &secret.data.as_ref()?.get(key)?.0;
        // The server reads lines too.
        let line = value.split(|&byte| byte == b'\n').next()?;
        (!line.is_empty()).then_some(line)
    };
    let password = line(PASSWORD_KEY).ok_or(PASSWORD_KEY)?;
    let url = line(URL_KEY).ok_or(URL_KEY)?;
    Ok(Password {
        fingerprint: line(FINGERPRINT_KEY).map(|key| fingerprint(key, password)),
        is_in_url: password_of(url).is_some_and(|in_url| in_url == password),
        changed: changed(secret),
    })
}

/// As `build/redis.sh` makes it.
fn fingerprint(key: &[u8], password: &[u8]) -> String {
    let digest = digest(&SHA256, &[key, b"\n", password].concat());
    let bytes = digest.as_ref().iter().take(FINGERPRINT_BYTES);
    bytes.fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The password in a URL.
fn password_of(url: &[u8]) -> Option<Vec<u8>> {
    let url = std::str::from_utf8(url).ok()?;
    let (_, rest) = url.split_once("://")?;
    let place = rest.split(['/', '?', '#']).next()?;
    let (user, _) = place.rsplit_once('@')?;
    let (_, password) = user.split_once(':')?;
    Some(percent_decode(password.as_bytes()).collect())
}

fn changed(secret: &Secret) -> Option<Timestamp> {
    let writers = secret.metadata.managed_fields.as_ref()?.iter();
    let data = writers.filter(|writer| {
        let fields = writer.fields_v1.as_ref();
        fields.is_some_and(|fields| fields.0.get("f:data").is_some())
    });
    data.filter_map(|writer| Some(writer.time.as_ref()?.0))
        .max()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn secret(password: &str, url: &str, key: &str) -> Secret {
        let field = |at: &str, field: &str| json!({"time": at, "fieldsV1": {field: {}}});
        let mut secret: Secret = serde_json::from_value(json!({
            "metadata": {"managedFields": [
                field("2026-01-01T00:00:01Z", "f:data"), field("2026-01-01T00:00:02Z", "f:data"),
                field("2026-01-01T00:00:03Z", "f:metadata"),
            ]},
        }))
        .expect("it is a Secret");
        let data = [
            (PASSWORD_KEY, password),
            (URL_KEY, url),
            (FINGERPRINT_KEY, key),
        ];
        let data = data.map(|(key, value)| {
            let value = k8s_openapi::ByteString(value.as_bytes().to_vec());
            (key.to_owned(), value)
        });
        secret.data = Some(data.into());
        secret
    }

    #[test]
    fn a_password_is_told_from_others_and_from_that_in_the_url() {
        let url = "redis://:p%40ss@shop-broker.live.svc:6379/0";
        let one = known(&secret("p@ss\n", url, "key")).expect("nothing is missing");
        assert!(one.is_in_url);
        // printf '%s\n%s' key p@ss | sha256sum | cut -c 1-16
        assert_eq!(one.fingerprint.as_deref(), Some(FINGERPRINT));
        let at = one.changed.expect("it was kept").to_string();
        assert_eq!(at, "2026-01-01T00:00:02Z");

        let other = known(&secret("pass", url, "key")).expect("nothing is missing");
        assert!(!other.is_in_url && other.fingerprint != one.fingerprint);
        let keyless = known(&secret("pass", url, "")).expect("it can do without");
        assert_eq!(keyless.fingerprint, None);
        assert_eq!(known(&secret("", url, "key")), Err(PASSWORD_KEY));
        assert_eq!(known(&secret("pass", "", "key")), Err(URL_KEY));
    }

    const FINGERPRINT: &str = "f9a2c5bccdce7c50";
}
