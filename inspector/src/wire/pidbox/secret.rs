//! A second line of defence for secrets in workers' answers. Celery masks its own settings (`celery/app/utils.py`); an app's,
//! and URLs in unusual places, may slip through.

use serde_json::Value;

/// What stands in a secret's place; Celery's own mask.
pub const MASK: &str = "********";

/// Parts of names that Celery hides (`HIDDEN_SETTINGS`), and a few more.
const HIDDEN: [&str; 10] = [
    "api",
    "token",
    "key",
    "secret",
    "pass",
    "profanities_list",
    "signature",
    "database",
    "credential",
    "private",
];

/// Ends of names that look hidden and are not: they name queues, bindings and keys on the broker.
const SHOWN: [&str; 5] = [
    "routing_key",
    "global_keyprefix",
    "unacked_key",
    "unacked_index_key",
    "unacked_mutex_key",
];

/// Whether the name of a setting is that of a secret.
pub(super) fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    !SHOWN.iter().any(|end| name.ends_with(end)) && HIDDEN.iter().any(|part| name.contains(part))
}

/// Masks, in place, every value under a secret's name, and every password in a URL.
pub(super) fn mask(value: &mut Value) {
    match value {
        Value::String(text) => {
            if let Some(masked) = mask_urls(text) {
                *text = masked;
            }
        }
        // Recursion is bounded: the value came from a parser that refuses deep nesting.
        Value::Array(items) => items.iter_mut().for_each(mask),
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::String(_) | Value::Number(_) | Value::Array(_) if is_secret(name) => {
                        *value = MASK.into();
                    }
                    _ => mask(value),
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The text with every password of a URL in it masked; nothing when there is none.
pub(super) fn mask_urls(text: &str) -> Option<String> {
    let mut masked = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (head, tail) = rest.split_at(at + 3);
        masked.push_str(head);
        rest = mask_authority(tail, &mut masked);
        rest = mask_query(rest, &mut masked);
    }
    masked.push_str(rest);
    (masked != text).then_some(masked)
}

/// Copies the authority of a URL without its password; gives what follows it.
fn mask_authority<'a>(tail: &'a str, masked: &mut String) -> &'a str {
    let blank =
        |character: char| character.is_whitespace() || matches!(character, '"' | '\'' | '<' | '>');
    let word = &tail[..tail.find(blank).unwrap_or(tail.len())];
    // A password may hold unescaped `/` and `?`, by mistake: the last `@` before the next URL counts.
    let url = &word[..word.find("://").unwrap_or(word.len())];
    let Some(at) = url.rfind('@') else {
        let length = tail
            .find(|character: char| blank(character) || matches!(character, '/' | '?' | '#'))
            .unwrap_or(tail.len());
        masked.push_str(&tail[..length]);
        return &tail[length..];
    };
    match url[..at].split_once(':') {
        Some((user, password)) if !password.is_empty() => {
            masked.push_str(user);
            masked.push(':');
            masked.push_str(MASK);
        }
        _ => masked.push_str(&url[..at]),
    }
    &tail[at..]
}

/// Copies the rest of a URL, up to the next one or a blank, without the values of secret query parameters.
fn mask_query<'a>(tail: &'a str, masked: &mut String) -> &'a str {
    let is_end = |character: char| {
        character.is_whitespace() || matches!(character, '&' | ';' | '"' | '\'' | '#')
    };
    // Files and modes of TLS are no secrets.
    let is_hidden = |name: &str| !name.to_ascii_lowercase().starts_with("ssl_") && is_secret(name);
    let mut rest = tail;
    while let Some(at) = rest.find(|character| character == '?' || is_end(character)) {
        if rest[..at].contains("://") || !matches!(rest.as_bytes()[at], b'?' | b'&') {
            break;
        }
        let (head, parameter) = rest.split_at(at + 1);
        masked.push_str(head);
        rest = parameter;
        let end = rest.find(is_end).unwrap_or(rest.len());
        match rest[..end].split_once('=') {
            Some((name, _)) if is_hidden(name) => {
                masked.push_str(name);
                masked.push('=');
                masked.push_str(MASK);
            }
            _ => masked.push_str(&rest[..end]),
        }
        rest = &rest[end..];
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: &str) {
        assert_eq!(mask_urls(text).unwrap_or_else(|| text.to_owned()), expect);
    }

    #[test]
    fn passwords_in_urls_are_masked_wherever_they_stand() {
        check("redis://redis:6379/1", "redis://redis:6379/1");
        check("redis://:pw@redis:6379/1", "redis://:********@redis:6379/1");
        check("amqp://u:p%40w@h//", "amqp://u:********@h//");
        check("amqp://u:p/w?x@h/v", "amqp://u:********@h/v");
        check("user@host, a://b@c", "user@host, a://b@c");
        check(
            "amqp://u:a@h;amqp://u:b@i//",
            "amqp://u:********@h;amqp://u:********@i//",
        );
        check(
            "results:redis://:a@h/1 and 'db+postgresql://u:b@h/x'\n",
            "results:redis://:********@h/1 and 'db+postgresql://u:********@h/x'\n",
        );
        check(
            "redis://h/0?ssl_keyfile=/k&password=abc&db=1",
            "redis://h/0?ssl_keyfile=/k&password=********&db=1",
        );
        check("sqs://AKIA:se/cr+et@", "sqs://AKIA:********@");
    }

    #[test]
    fn values_under_secret_names_are_masked_at_any_depth() {
        let mut value = serde_json::json!({
            "my_app_api_token": "t", "pin_secret": 1234, "redis_passwords": ["a"],
            "task_routes": {"a": {"routing_key": "a.b", "queue": "q"}},
            "broker_transport_options": {"sentinel_kwargs": {"password": "p"}, "global_keyprefix": "x:"},
            "broker_api_enabled": true, "security_key": null, "x": ["redis://:pw@h"],
        });
        mask(&mut value);
        assert_eq!(
            value,
            serde_json::json!({
                "my_app_api_token": MASK, "pin_secret": MASK, "redis_passwords": MASK,
                "task_routes": {"a": {"routing_key": "a.b", "queue": "q"}},
                "broker_transport_options": {"sentinel_kwargs": {"password": MASK}, "global_keyprefix": "x:"},
                "broker_api_enabled": true, "security_key": null, "x": ["redis://:********@h"],
            })
        );
    }

    #[test]
    fn names_that_celery_hides_are_hidden() {
        for name in ["AWS_SECRET_ACCESS_KEY", "Password", "database_url", "API"] {
            assert!(is_secret(name), "{name}");
        }
        for name in ["broker_url", "task_routes", "routing_key", "include"] {
            assert!(!is_secret(name), "{name}");
        }
    }
}
