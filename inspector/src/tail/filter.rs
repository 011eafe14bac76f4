//! Which events are printed.

use crate::wire::event::Event;

/// Patterns in which `*` stands for anything; an event passes when one of each kind fits. No patterns let all pass.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Event types.
    pub types: Vec<String>,
    /// Task names.
    pub tasks: Vec<String>,
    /// Senders: node names.
    pub workers: Vec<String>,
}

impl Filter {
    /// Whether `event` passes. `name` is its task's name, where that is known.
    pub fn passes(&self, event: &Event<'_>, name: Option<&str>) -> bool {
        fits(&self.types, Some(&event.event_type))
            && fits(&self.workers, Some(&event.hostname))
            && fits(&self.tasks, name)
    }
}

fn fits(patterns: &[String], text: Option<&str>) -> bool {
    patterns.is_empty()
        || text.is_some_and(|text| patterns.iter().any(|pattern| matches(pattern, text)))
}

/// Whether `text` fits `pattern`.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else {
        return rest.is_empty();
    };
    for part in parts {
        let Some(place) = rest.find(part) else {
            return false;
        };
        rest = &rest[place + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_anything() {
        for (pattern, text, expected) in [
            ("task-failed", "task-failed", true),
            ("task-failed", "task-failed-twice", false),
            ("worker-*", "worker-heartbeat", true),
            ("worker-*", "task-sent", false),
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("a*a", "a", false),
            ("*.mail.*", "shop.mail.send", true),
            ("celery@mail-*", "celery@mail-ü", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} on {text}");
        }
    }

    #[test]
    fn one_pattern_of_each_kind_must_fit() {
        let filter = Filter {
            types: vec!["task-*".into()],
            tasks: vec!["shop.*".into(), "mail.*".into()],
            workers: vec![],
        };
        let event = Event {
            event_type: "task-started".into(),
            ..Event::default()
        };
        assert!(filter.passes(&event, Some("mail.send")));
        assert!(!filter.passes(&event, Some("bank.pay")));
        assert!(
            !filter.passes(&event, None),
            "a task without a known name is none of them"
        );
        assert!(Filter::default().passes(&event, None));
    }
}
