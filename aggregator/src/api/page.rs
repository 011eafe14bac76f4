//! Pages: sizes, opaque tokens, and the errors that name the field (AIP-158, AIP-193).

use std::hash::Hash;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// Size of a page when none is asked for.
const DEFAULT: usize = 50;
/// Largest page.
const MAX: usize = 1_000;

/// The page size to use: 0 is the default, more than the maximum is lowered.
///
/// # Errors
/// A negative one.
pub fn size(asked: i32) -> Result<usize, Status> {
    match usize::try_from(asked) {
        Ok(0) => Ok(DEFAULT),
        Ok(size) => Ok(size.min(MAX)),
        Err(_) => Err(invalid(
            "page_size",
            format!("must not be negative, is {asked}"),
        )),
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
pub fn token(fingerprint: u64, after: &[&[u8]]) -> String {
    let mut parts = vec![format!("{fingerprint:016x}")];
    parts.extend(after.iter().map(|part| hex(part)));
    parts.join(".")
}

/// Reads a token back: its parts, or `None` when there is no token.
///
/// # Errors
/// It is none of ours, or goes with other arguments.
pub fn read_token(token: &str, fingerprint: u64) -> Result<Option<Vec<Vec<u8>>>, Status> {
    if token.is_empty() {
        return Ok(None);
    }
    let refuse = |why: &str| invalid("page_token", why);
    let mut parts = token.split('.');
    let own = parts
        .next()
        .and_then(|part| u64::from_str_radix(part, 16).ok());
    match own {
        None => return Err(refuse("is not a token that this server gave")),
        Some(own) if own != fingerprint => {
            return Err(refuse(
                "goes with other arguments; send the same ones, or no token",
            ));
        }
        Some(_) => {}
    }
    let parts: Option<Vec<Vec<u8>>> = parts.map(unhex).collect();
    parts
        .map(Some)
        .ok_or_else(|| refuse("is not a token that this server gave"))
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let byte = |at: usize| u8::from_str_radix(text.get(at..at + 2)?, 16).ok();
    (0..text.len()).step_by(2).map(byte).collect()
}

/// One page of things that have a name, in order of (app, name): those after `after`, and the token for the next.
pub fn by_name<T>(
    sorted: impl Iterator<Item = (String, String, T)>,
    after: Option<Vec<Vec<u8>>>,
    size: usize,
    fingerprint: u64,
) -> (Vec<T>, String) {
    let after = after.filter(|parts| parts.len() == 2);
    let beyond = |app: &str, name: &str| match &after {
        Some(parts) => {
            (app.as_bytes(), name.as_bytes()) > (parts[0].as_slice(), parts[1].as_slice())
        }
        None => true,
    };
    let mut rest = sorted.filter(|(app, name, _)| beyond(app, name));
    let mut last = (String::new(), String::new());
    let mut page = Vec::new();
    for (app, name, thing) in rest.by_ref().take(size) {
        last = (app, name);
        page.push(thing);
    }
    let next = rest
        .next()
        .map(|_| token(fingerprint, &[last.0.as_bytes(), last.1.as_bytes()]));
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
        let token = token(fingerprint, &[b"shop", "celery@wörk er".as_bytes()]);
        let parts = read_token(&token, fingerprint).unwrap().unwrap();
        assert_eq!(
            parts,
            [b"shop".to_vec(), "celery@wörk er".as_bytes().to_vec()]
        );
        assert!(
            read_token(&token, fingerprint + 1)
                .unwrap_err()
                .message()
                .contains("other arguments")
        );
        for bad in ["x", "zz.zz", &format!("{fingerprint:016x}.abc")] {
            assert_eq!(
                read_token(bad, fingerprint).unwrap_err().code(),
                Code::InvalidArgument
            );
        }
    }

    #[test]
    fn pages_follow_one_another_without_loss() {
        let names = ["a", "b", "c", "d", "e"];
        let all = || {
            names
                .iter()
                .map(|n| ("shop".to_owned(), (*n).to_owned(), *n))
        };
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
