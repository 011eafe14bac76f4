//! Files that may be replaced while we run: certificates are renewed, tokens are added and taken away. What is new and
//! cannot be used changes nothing, and is said once.

use std::error::Error;
use std::time::Duration;

use celeriac_process::error_chain;
use tokio_util::sync::CancellationToken;

/// How often files are looked at. A token that was taken away works for this long; cert-manager renews weeks ahead.
pub const EVERY: Duration = Duration::from_secs(10);

/// The SHA-256 of what was read.
pub type Digest = [u8; 32];

/// The digest of these texts, each with its length, so that none can pass for a part of another.
pub fn digest(parts: &[&[u8]]) -> Digest {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let mut digest = Digest::default();
    digest.copy_from_slice(context.finish().as_ref());
    digest
}

/// Reads every [`EVERY`], until `stop`; gives to `take` what differs from what was known.
pub async fn follow<T, E>(
    what: &'static str,
    mut known: Digest,
    read: impl Fn() -> Result<(Digest, T), E> + Clone + Send + 'static,
    mut take: impl FnMut(T),
    stop: CancellationToken,
) where
    T: Send + 'static,
    E: Error + Send + 'static,
{
    let mut complained = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
        // On a thread that may block: the folder may be on a network.
        let Ok(result) = tokio::task::spawn_blocking(read.clone()).await else {
            continue;
        };
        match result {
            Ok((digest, value)) => {
                if digest != known {
                    known = digest;
                    take(value);
                    tracing::info!(what, "read again");
                }
                complained = None;
            }
            Err(error) => {
                let words = error_chain(&error);
                if complained.as_ref() != Some(&words) {
                    tracing::warn!(
                        what,
                        error = words,
                        "what is new cannot be used; the old stays in use"
                    );
                    complained = Some(words);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::digest;

    #[test]
    fn a_text_is_no_part_of_another() {
        assert_ne!(digest(&[b"ab", b"c"]), digest(&[b"a", b"bc"]));
        assert_eq!(digest(&[b"ab", b"c"]), digest(&[b"ab", b"c"]));
    }
}
