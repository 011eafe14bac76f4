//! Answers that are believed for a while, bounded in number.

use std::hash::Hash;
use std::time::Instant;

use hashbrown::HashMap;

/// Values by key, each until its time. When it is full, what is out of date goes, and then everything: asking again is
/// cheap, and only who tries many tokens fills it.
#[derive(Debug)]
pub(super) struct Cache<K, V> {
    entries: HashMap<K, (Instant, V), ahash::RandomState>,
    most: usize,
}

impl<K: Hash + Eq, V: Clone> Cache<K, V> {
    pub(super) fn new(most: usize) -> Self {
        Self {
            entries: HashMap::default(),
            most,
        }
    }

    pub(super) fn get(&self, key: &K, now: Instant) -> Option<V> {
        let (until, value) = self.entries.get(key)?;
        (now < *until).then(|| value.clone())
    }

    pub(super) fn put(&mut self, key: K, value: V, until: Instant) {
        if self.entries.len() >= self.most {
            let now = Instant::now();
            self.entries.retain(|_, (until, _)| now < *until);
        }
        if self.entries.len() >= self.most {
            self.entries.clear();
        }
        self.entries.insert(key, (until, value));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn answers_are_believed_until_their_time_and_are_never_too_many() {
        let now = Instant::now();
        let later = now + Duration::from_mins(1);
        let mut cache = Cache::new(2);
        cache.put(1, "a", later);
        assert_eq!(cache.get(&1, now), Some("a"));
        assert_eq!(cache.get(&1, later), None);
        cache.put(2, "out of date", now);
        cache.put(3, "c", later);
        assert_eq!(
            (cache.get(&1, now), cache.get(&3, now)),
            (Some("a"), Some("c"))
        );
        cache.put(4, "d", later);
        assert_eq!((cache.get(&1, now), cache.get(&4, now)), (None, Some("d")));
        assert!(cache.entries.len() <= 2);
    }
}
