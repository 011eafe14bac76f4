//! Which result backend belongs to which app.

use std::path::PathBuf;

use super::{ConfigError, broker_file};
use crate::wire::url::{BrokerUrl, Protocol};

/// A result backend.
#[derive(Debug, Clone, PartialEq)]
pub struct ResultBackend {
    /// Where it is.
    pub url: BrokerUrl,
    /// Its `global_keyprefix`.
    pub prefix: String,
}

/// The result backends, by app.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ResultBackends {
    /// Those that were named, and the one that was not.
    named: Vec<(Option<String>, ResultBackend)>,
}

impl ResultBackends {
    /// Checks what was typed.
    ///
    /// # Errors
    /// When a URL or an option cannot be used; no error holds a password.
    pub(super) fn new(
        mut texts: Vec<String>,
        file: Option<PathBuf>,
        options: &[String],
    ) -> Result<Self, ConfigError> {
        if let Some(path) = file {
            let text = broker_file(path)?;
            let lines = text.lines().map(str::trim);
            let told = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
            texts.extend(told.map(str::to_owned));
        }
        let mut prefix = String::new();
        for option in options {
            let value = option.strip_prefix("global_keyprefix=");
            let refused = || ConfigError::ResultBackendOption {
                option: option.clone(),
            };
            value.ok_or_else(refused)?.clone_into(&mut prefix);
        }
        let named = texts.iter().map(|text| {
            let (name, url) = divide(text);
            let url = BrokerUrl::parse(url).map_err(ConfigError::ResultBackend)?;
            if url.protocol() != Protocol::Redis {
                return Err(ConfigError::ResultBackendKind {
                    endpoint: url.endpoint(),
                });
            }
            let prefix = prefix.clone();
            Ok((name.map(str::to_owned), ResultBackend { url, prefix }))
        });
        Ok(Self {
            named: named.collect::<Result<_, _>>()?,
        })
    }

    /// That of an app: the one of its name, else the one without a name.
    pub fn of(&self, app: &str) -> Option<&ResultBackend> {
        let find = |name: Option<&str>| {
            self.named
                .iter()
                .find(|(known, _)| known.as_deref() == name)
        };
        let found = find(Some(app)).or_else(|| find(None));
        found.map(|(_, backend)| backend)
    }
}

/// Divides `NAME=URL`; what stands before a `=` is a name when it ends before any `:`, as in `--broker`.
fn divide(text: &str) -> (Option<&str>, &str) {
    match text.split_once('=') {
        Some((name, url)) if !name.is_empty() && !name.contains(':') => (Some(name), url),
        _ => (None, text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backends(texts: &[&str], options: &[&str]) -> Result<ResultBackends, ConfigError> {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        let options: Vec<String> = owned(options);
        ResultBackends::new(owned(texts), None, &options)
    }

    #[test]
    fn each_app_has_its_own_or_the_one_without_a_name() {
        let known = backends(
            &[
                "shop=redis://:secret@a/1",
                "rediss://b/2?ssl_cert_reqs=none",
            ],
            &[],
        )
        .unwrap();
        let of = |app| known.of(app).map(|backend| backend.url.endpoint());
        assert_eq!(of("shop").as_deref(), Some("redis://a:6379/1"));
        assert_eq!(of("other").as_deref(), Some("rediss://b:6379/2"));
        assert_eq!(
            backends(&["shop=redis://a"], &[]).unwrap().of("other"),
            None
        );
    }

    #[test]
    fn other_backends_and_options_are_refused_without_their_secrets() {
        let refused = |texts: &[&str], options: &[&str]| {
            let error = backends(texts, options).unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
            error
        };
        let error = refused(&["amqp://u:secret@h//"], &[]);
        assert!(
            error.contains("amqp://h") && error.contains("redis://"),
            "{error}"
        );
        let error = refused(&["redis://h"], &["visibility_timeout=3"]);
        assert!(error.contains("global_keyprefix"), "{error}");
        let known = backends(&["redis://h"], &["global_keyprefix=shop"]).unwrap();
        assert_eq!(
            known.of("x").map(|backend| backend.prefix.as_str()),
            Some("shop")
        );
    }
}
