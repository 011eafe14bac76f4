//! What could not be read: counted by reason, with one sample of each. Reads nothing itself.

/// Longest sample, characters.
pub const SAMPLE_CHARACTERS_MAX: usize = 256;

/// Nodes that are named for one reason at most: enough to see which app it is.
pub const NODES_MAX: usize = 20;

/// Messages or events that could not be read for one reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// Why. One of a fixed set of texts.
    pub reason: &'static str,
    /// How many.
    pub count: u64,
    /// The beginning of the latest one, escaped; none for what is never read.
    pub sample: Option<String>,
    /// Nodes whose events were among them, in order of first sight, at most [`NODES_MAX`].
    pub senders: Vec<String>,
    /// Workers whose answers were among them, likewise.
    pub repliers: Vec<String>,
}

/// All that could not be read. Bounded, because the reasons are texts of this program.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rejections {
    entries: Vec<Rejection>,
}

impl Rejections {
    /// Counts `count` more; `sample` replaces the one before.
    pub fn add(&mut self, reason: &'static str, count: u64, sample: Option<String>) {
        match self.entries.iter_mut().find(|entry| entry.reason == reason) {
            Some(entry) => {
                entry.count += count;
                if sample.is_some() {
                    entry.sample = sample;
                }
            }
            None => self.entries.push(Rejection {
                reason,
                count,
                sample,
                senders: Vec::new(),
                repliers: Vec::new(),
            }),
        }
    }

    /// Names who sent an event that was counted under `reason`.
    pub fn sent_by(&mut self, reason: &str, node: &str) {
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.reason == reason) {
            name(&mut entry.senders, node);
        }
    }

    /// Names who gave an answer that was counted under `reason`.
    pub fn answered_by(&mut self, reason: &str, node: &str) {
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.reason == reason) {
            name(&mut entry.repliers, node);
        }
    }

    /// Each reason once, in order of first sight.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Rejection> {
        self.entries.iter()
    }

    /// How many of all reasons.
    pub fn total(&self) -> u64 {
        self.entries.iter().map(|entry| entry.count).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

fn name(nodes: &mut Vec<String>, node: &str) {
    if nodes.len() < NODES_MAX && !nodes.iter().any(|known| known == node) {
        nodes.push(node.to_owned());
    }
}

/// The beginning of what could not be read, fit to be shown: at most [`SAMPLE_CHARACTERS_MAX`] characters, those that
/// could upset a terminal escaped.
pub fn sample(bytes: &[u8]) -> String {
    let head = &bytes[..bytes.len().min(4 * SAMPLE_CHARACTERS_MAX)];
    let mut sample = String::new();
    let mut characters = 0;
    for character in String::from_utf8_lossy(head).chars() {
        // Quotes need no escape here.
        let (escaped, length) = match character {
            '"' | '\'' => (None, 1),
            other => {
                let escaped = other.escape_debug();
                let length = escaped.clone().count();
                (Some(escaped), length)
            }
        };
        characters += length;
        if characters > SAMPLE_CHARACTERS_MAX {
            break;
        }
        match escaped {
            Some(escaped) => sample.extend(escaped),
            None => sample.push(character),
        }
    }
    sample
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_short_and_holds_no_control_characters() {
        assert_eq!(sample(b"{\"a\": \"\x1b[2J\n\"}"), r#"{"a": "\u{1b}[2J\n"}"#);
        assert_eq!(sample(&[b'x'; 5000]).chars().count(), 256);
        assert_eq!(sample(&[0; 5000]).chars().count(), 256);
        assert!(sample(&[0xff; 5000]).chars().count() <= 256);
        // A bidirectional override turns the rest of a line around in a terminal.
        assert_eq!(sample("a\u{202e}b".as_bytes()), "a\\u{202e}b");
    }

    #[test]
    fn reasons_are_counted_and_the_latest_sample_kept() {
        let mut rejections = Rejections::default();
        rejections.add("not JSON", 1, Some("a".into()));
        rejections.add("larger than 16 MiB", 1, None);
        rejections.add("not JSON", 2, Some("b".into()));
        let seen: Vec<_> = rejections
            .iter()
            .map(|entry| (entry.reason, entry.count, entry.sample.as_deref()))
            .collect();
        assert_eq!(
            seen,
            [("not JSON", 3, Some("b")), ("larger than 16 MiB", 1, None)]
        );
        assert_eq!(rejections.total(), 4);
    }

    #[test]
    fn who_sent_them_is_named_once_and_not_without_end() {
        let mut rejections = Rejections::default();
        rejections.add("not JSON", 1, None);
        rejections.sent_by("unheard of", "celery@w0");
        for number in (0..30).chain(0..30) {
            rejections.sent_by("not JSON", &format!("celery@w{number}"));
        }
        rejections.answered_by("not JSON", "celery@deaf");
        let entry = rejections.iter().next().expect("one reason");
        assert_eq!(entry.senders.len(), NODES_MAX);
        assert_eq!(entry.senders[1], "celery@w1");
        assert_eq!(entry.repliers, ["celery@deaf"]);
    }
}
