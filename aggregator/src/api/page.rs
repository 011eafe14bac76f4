//! Pages: sizes, opaque tokens, and the errors that name the field (AIP-158, AIP-193).

use std::hash::{BuildHasher as _, Hash};

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// Size of a page when none is asked for.
const DEFAULT: usize = 50;
/// Largest page.
const MAX: usize = 1_000;

/// The page size to use: 0 is the default, more than the maximum is lowered, a negative one is an error.
pub fn size(asked: i32) -> Result<usize, Status> {
    match usize::try_from(asked) {
        Ok(0) => Ok(DEFAULT),
        Ok(size) => Ok(size.min(MAX)),
        Err(_) => Err(invalid("page_size", format!("must not be negative, is {asked}"))),
    }
}

/// An `INVALID_ARGUMENT` that names the field.
pub fn invalid(field: &str, description: impl Into<String>) -> Status {
    let description = description.into();
    let message = format!("{field}: {description}");
    let details = ErrorDetails::with_bad_request_violation(field, description);
    Status::with_error_details(Code::InvalidArgument, message, details)
}

/// A `NOT_FOUND` with what there is.
pub fn not_found(what: &str, name: &str, known: impl IntoIterator<Item = String>) -> Status {
    let mut known: Vec<String> = known.into_iter().take(20).collect();
    known.sort();
    let hint = match known.len() {
        0 => format!("there is no {what} at all yet"),
        _ => format!("there are: {}", known.join(", ")),
    };
    Status::not_found(format!("no {what} {name:?}; {hint}"))
}

/// A fingerprint of the arguments a token goes with. It guards against mistakes, not against attack: a token gives no
/// rights.
pub fn fingerprint(arguments: impl Hash) -> u64 {
    ahash::RandomState::with_seeds(0x5ca1_ab1e, 0xce1e, 0x41ac, 0x70c3).hash_one(arguments)
}

/// Makes a token of the place after which the next page begins.
pub fn token(fingerprint: u64, after: &[&str]) -> String {
    let mut parts = vec![format!("{fingerprint:016x}")];
    parts.extend(after.iter().map(|part| hex(part.as_bytes())));
    parts.join(".")
}

/// Reads a token back: its parts, or `None` when there is no token.
pub fn read_token(token: &str, fingerprint: u64) -> Result<Option<Vec<String>>, Status> {
    if token.is_empty() {
        return Ok(None);
    }
    let refuse = |why: &str| invalid("page_token", why);
    let mut parts = token.split('.');
    let own = parts.next().and_then(|part| u64::from_str_radix(part, 16).ok());
    match own {
        None => return Err(refuse("is not a token that this server gave")),
        Some(own) if own != fingerprint => {
            return Err(refuse("goes with other arguments; send the same ones, or no token"));
        }
        Some(_) => {}
    }
    let parts: Option<Vec<String>> = parts.map(unhex).collect();
    parts.map(Some).ok_or_else(|| refuse("is not a token that this server gave"))
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Option<String> {
    let byte = |at: usize| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
    let bytes: Option<Vec<u8>> = (0..text.len()).step_by(2).map(byte).collect();
    String::from_utf8(bytes?).ok()
}

/// One page of things that have a name, in order of (app, name): those after `after`, and the token for the next.
pub fn by_name<T>(
    sorted: impl Iterator<Item = (String, String, T)>,
    after: Option<Vec<String>>,
    size: usize,
    fingerprint: u64,
) -> (Vec<T>, String) {
    let after = after.filter(|parts| parts.len() == 2);
    let beyond = |app: &str, name: &str| match &after {
        Some(parts) => (app, name) > (parts[0].as_str(), parts[1].as_str()),
        None => true,
    };
    let mut rest = sorted.filter(|(app, name, _)| beyond(app, name));
    let mut last = (String::new(), String::new());
    let mut page = Vec::new();
    for (app, name, thing) in rest.by_ref().take(size) {
        last = (app, name);
        page.push(thing);
    }
    let next = rest.next().map(|_| token(fingerprint, &[&last.0, &last.1]));
    (page, next.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_kept_within_bounds() {
        assert_eq!(size(0).unwrap(), 50);
        assert_eq!(size(7).unwrap(), 7);
        assert_eq!(size(i32::MAX).unwrap(), 1_000);
        assert_eq!(size(-1).unwrap_err().code(), Code::InvalidArgument);
    }

    #[test]
    fn a_token_goes_with_its_arguments_only() {
        let fingerprint = super::fingerprint(("shop", "state = FAILURE"));
        let token = token(fingerprint, &["shop", "celery@wörk er"]);
        let parts = read_token(&token, fingerprint).unwrap().unwrap();
        assert_eq!(parts, ["shop", "celery@wörk er"]);
        assert!(read_token(&token, fingerprint + 1).unwrap_err().message().contains("other arguments"));
        for bad in ["x", "zz.zz", &format!("{fingerprint:016x}.abc"), &format!("{fingerprint:016x}.ff")] {
            assert_eq!(read_token(bad, fingerprint).unwrap_err().code(), Code::InvalidArgument);
        }
    }

    #[test]
    fn pages_follow_one_another_without_loss() {
        let names = ["a", "b", "c", "d", "e"];
        let all = || names.iter().map(|n| ("shop".to_owned(), (*n).to_owned(), *n));
        let mut seen = Vec::new();
        let mut token = String::new();
        loop {
            let after = read_token(&token, 1).unwrap();
            let (page, next) = by_name(all(), after, 2, 1);
            assert!(page.len() <= 2);
            seen.extend(page);
            if next.is_empty() {
                break;
            }
            token = next;
        }
        assert_eq!(seen, names);
    }
}
