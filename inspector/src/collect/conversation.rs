//! Control requests that are waiting for replies, as values: who was asked what, who answered, who did not in time.
//! It publishes nothing and reads no clock.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use ahash::{HashSet, HashSetExt};

use super::Node;
use super::question::Question;

/// How many requests may wait for replies at once. A look is at most eight requests, so this is far above what a budget
/// ever allows; it bounds what a broker that swallows requests can make the inspector hold.
pub const OUTSTANDING_MAX: usize = 1_000;

/// Requests that wait for replies.
///
/// Tickets are `<prefix>.<number>`, counted up from 1: a reply whose number was given out but no longer waits is late, one
/// with another prefix is somebody else's, and neither needs any memory.
#[derive(Debug)]
pub struct Conversations {
    prefix: String,
    issued: u64,
    open: BTreeMap<u64, Conversation>,
    deadlines: BTreeSet<(Instant, u64)>,
    counts: Counts,
}

#[derive(Debug)]
struct Conversation {
    question: Question,
    destination: Vec<Node>,
    answered: HashSet<Node>,
    /// Answers that could not be read, and why the last of them could not.
    unread: (usize, &'static str),
    /// How many answers complete a broadcast, once the broker has said how many workers it reached.
    reached: Option<usize>,
    deadline: Instant,
}

/// A request to be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// Its number in this inspector's life.
    pub number: u64,
    /// What replies must carry in their header `ticket`.
    pub ticket: String,
    /// What is asked.
    pub question: Question,
    /// Who is asked; everybody when empty.
    pub destination: Vec<Node>,
}

/// What a reply turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// An answer to a waiting request.
    Answer {
        /// The request's number.
        number: u64,
        /// What was asked.
        question: Question,
        /// The request is over with this answer: everybody asked has answered.
        ended: Option<Ended>,
    },
    /// The request is over already.
    Late,
    /// The worker has answered this request before.
    Double,
    /// Not a ticket of this inspector, or of a worker that was not asked.
    Foreign,
}

/// A request that waits no longer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Its number.
    pub number: u64,
    /// What was asked.
    pub question: Question,
    /// Those named in the destination that did not answer in time. The answers are partial when there are any.
    pub silent: Vec<Node>,
    /// Why the answers of all the silent ones could not be read; `None` when any of them is silent indeed.
    pub unread: Option<&'static str>,
}

/// What came in, counted since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Answers that were waited for.
    pub answers: u64,
    /// Replies after the deadline.
    pub late: u64,
    /// Second replies of one worker to one request.
    pub double: u64,
    /// Replies to somebody else's tickets, or of workers that were not asked.
    pub foreign: u64,
}

/// [`OUTSTANDING_MAX`] requests are waiting already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{OUTSTANDING_MAX} control requests are waiting for replies already")]
pub struct TooMany;

impl Conversations {
    /// No requests yet; `prefix` begins every ticket and must be unique to this value.
    pub fn new(prefix: impl Into<String>) -> Self {
        Self {
            prefix: prefix.into(),
            issued: 0,
            open: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            counts: Counts::default(),
        }
    }

    /// Begins a request to `destination` (everybody when empty) whose replies are waited for until `now + wait`.
    ///
    /// # Errors
    /// [`TooMany`] when the bound of waiting requests is reached; nothing has changed then.
    pub fn ask(
        &mut self,
        now: Instant,
        question: Question,
        destination: Vec<Node>,
        wait: Duration,
    ) -> Result<Outgoing, TooMany> {
        if self.open.len() >= OUTSTANDING_MAX {
            return Err(TooMany);
        }
        self.issued += 1;
        let number = self.issued;
        let deadline = now + wait;
        self.deadlines.insert((deadline, number));
        self.open.insert(
            number,
            Conversation {
                question,
                destination: destination.clone(),
                answered: HashSet::new(),
                unread: (0, ""),
                reached: None,
                deadline,
            },
        );
        let ticket = format!("{}.{number}", self.prefix);
        Ok(Outgoing {
            number,
            ticket,
            question,
            destination,
        })
    }

    /// The request went out and reached this many workers. Ends a broadcast whose answers are all in.
    pub fn on_published(&mut self, number: u64, subscribers: Option<u64>) -> Option<Ended> {
        let conversation = self.open.get_mut(&number)?;
        conversation.reached =
            subscribers.map(|count| usize::try_from(count).unwrap_or(usize::MAX));
        let complete = conversation.complete();
        complete.then(|| self.end(number)).flatten()
    }

    /// The request did not go out: nobody is to blame for not answering.
    pub fn abandon(&mut self, number: u64) {
        self.end(number);
    }

    /// A reply came.
    pub fn on_reply(&mut self, ticket: &str, hostname: &str) -> Heard {
        let heard = self.hear(ticket, hostname);
        match heard {
            Heard::Answer { .. } => self.counts.answers += 1,
            Heard::Late => self.counts.late += 1,
            Heard::Double => self.counts.double += 1,
            Heard::Foreign => self.counts.foreign += 1,
        }
        heard
    }

    fn hear(&mut self, ticket: &str, hostname: &str) -> Heard {
        let Some(number) = self.number(ticket) else {
            return Heard::Foreign;
        };
        let Some(conversation) = self.open.get_mut(&number) else {
            return Heard::Late;
        };
        let named = conversation
            .destination
            .iter()
            .find(|node| ***node == *hostname);
        let node = match named {
            Some(node) => node.clone(),
            None if conversation.destination.is_empty() => Node::from(hostname),
            None => return Heard::Foreign,
        };
        if !conversation.answered.insert(node) {
            return Heard::Double;
        }
        let question = conversation.question;
        let complete = conversation.complete();
        let ended = complete.then(|| self.end(number)).flatten();
        Heard::Answer {
            number,
            question,
            ended,
        }
    }

    /// A reply came that could not be read; whose it is, is told by who else answers.
    pub fn on_unread(&mut self, ticket: &str, reason: &'static str) -> Option<Ended> {
        let number = self.number(ticket)?;
        let conversation = self.open.get_mut(&number)?;
        conversation.unread = (conversation.unread.0 + 1, reason);
        let complete = conversation.complete();
        complete.then(|| self.end(number)).flatten()
    }

    /// When [`Conversations::on_deadline`] is to be called next.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Ends what has waited long enough.
    pub fn on_deadline(&mut self, now: Instant) -> Vec<Ended> {
        let mut ended = Vec::new();
        while let Some(&(deadline, number)) = self.deadlines.first() {
            if deadline > now {
                break;
            }
            ended.extend(self.end(number));
        }
        ended
    }

    /// Replies that may still come in time.
    pub fn awaited(&self) -> usize {
        self.open.values().map(Conversation::awaited).sum()
    }

    /// Whether any request waits.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// What came in so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    fn number(&self, ticket: &str) -> Option<u64> {
        let number = ticket
            .strip_prefix(self.prefix.as_str())?
            .strip_prefix('.')?;
        let number: u64 = number.parse().ok()?;
        (1..=self.issued).contains(&number).then_some(number)
    }

    fn end(&mut self, number: u64) -> Option<Ended> {
        let conversation = self.open.remove(&number)?;
        self.deadlines.remove(&(conversation.deadline, number));
        let silent: Vec<Node> = conversation
            .destination
            .into_iter()
            .filter(|node| !conversation.answered.contains(node))
            .collect();
        let (unread, reason) = conversation.unread;
        Some(Ended {
            unread: (unread > 0 && unread >= silent.len()).then_some(reason),
            number,
            question: conversation.question,
            silent,
        })
    }
}

impl Conversation {
    fn complete(&self) -> bool {
        let heard = self.answered.len() + self.unread.0;
        if self.destination.is_empty() {
            self.reached.is_some_and(|reached| heard >= reached)
        } else {
            heard >= self.destination.len()
        }
    }

    fn awaited(&self) -> usize {
        let expected = if self.destination.is_empty() {
            self.reached.unwrap_or(1)
        } else {
            self.destination.len()
        };
        expected.saturating_sub(self.answered.len() + self.unread.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: Duration = Duration::from_secs(10);

    fn nodes(names: &[&str]) -> Vec<Node> {
        names.iter().map(|name| Node::from(*name)).collect()
    }

    fn asked(names: &[&str]) -> (Conversations, Outgoing, Instant) {
        let now = Instant::now();
        let mut conversations = Conversations::new("a1b2");
        let outgoing = conversations
            .ask(now, Question::Stats, nodes(names), WAIT)
            .expect("the first request has room");
        (conversations, outgoing, now)
    }

    #[test]
    fn answers_that_cannot_be_read_are_those_of_who_did_not_answer_otherwise() {
        let (mut conversations, _, _) = asked(&["celery@w1", "celery@w2"]);
        conversations.on_reply("a1b2.1", "celery@w2");
        assert_eq!(conversations.on_unread("another.1", "pickled"), None);
        let ended = Ended {
            number: 1,
            question: Question::Stats,
            silent: nodes(&["celery@w1"]),
            unread: Some("pickled"),
        };
        assert_eq!(conversations.on_unread("a1b2.1", "pickled"), Some(ended));

        // With another one silent nobody can tell whose it is.
        let (mut conversations, _, now) = asked(&["celery@w1", "celery@w2"]);
        assert_eq!(conversations.on_unread("a1b2.1", "pickled"), None);
        assert_eq!(conversations.awaited(), 1);
        let [ended] = &conversations.on_deadline(now + WAIT)[..] else {
            panic!("one request waited");
        };
        assert_eq!((ended.silent.len(), ended.unread), (2, None));
    }

    #[test]
    fn a_request_ends_when_everybody_named_has_answered() {
        let (mut conversations, outgoing, _) = asked(&["celery@w1", "celery@w2"]);
        assert_eq!(outgoing.ticket, "a1b2.1");
        assert_eq!(conversations.awaited(), 2);
        let first = conversations.on_reply("a1b2.1", "celery@w2");
        assert_eq!(
            first,
            Heard::Answer {
                number: 1,
                question: Question::Stats,
                ended: None
            }
        );
        let ended = Ended {
            number: 1,
            question: Question::Stats,
            silent: vec![],
            unread: None,
        };
        let second = conversations.on_reply("a1b2.1", "celery@w1");
        assert_eq!(
            second,
            Heard::Answer {
                number: 1,
                question: Question::Stats,
                ended: Some(ended)
            }
        );
        assert!(conversations.is_empty());
        assert_eq!(conversations.next_deadline(), None);
    }

    #[test]
    fn at_the_deadline_the_answers_are_partial_and_say_who_is_missing() {
        let (mut conversations, _, now) = asked(&["celery@w1", "celery@w2", "celery@w3"]);
        conversations.on_reply("a1b2.1", "celery@w2");
        assert_eq!(conversations.next_deadline(), Some(now + WAIT));
        assert_eq!(conversations.on_deadline(now + WAIT.mul_f64(0.999)), vec![]);
        let ended = conversations.on_deadline(now + WAIT);
        assert_eq!(
            ended,
            vec![Ended {
                number: 1,
                question: Question::Stats,
                silent: nodes(&["celery@w1", "celery@w3"]),
                unread: None,
            }]
        );
        assert!(conversations.is_empty());
    }

    #[test]
    fn late_double_and_foreign_replies_are_counted_and_change_nothing() {
        let (mut conversations, _, now) = asked(&["celery@w1", "celery@w2"]);
        conversations.on_reply("a1b2.1", "celery@w1");
        assert_eq!(conversations.on_reply("a1b2.1", "celery@w1"), Heard::Double);
        assert_eq!(
            conversations.on_reply("a1b2.1", "celery@w9"),
            Heard::Foreign
        );
        assert_eq!(
            conversations.on_reply("a1b2.2", "celery@w1"),
            Heard::Foreign
        );
        assert_eq!(
            conversations.on_reply("a1b2.0", "celery@w1"),
            Heard::Foreign
        );
        assert_eq!(conversations.on_reply("a1b2", "celery@w1"), Heard::Foreign);
        assert_eq!(
            conversations.on_reply("ffff.1", "celery@w1"),
            Heard::Foreign
        );
        conversations.on_deadline(now + WAIT);
        assert_eq!(conversations.on_reply("a1b2.1", "celery@w2"), Heard::Late);
        let counts = Counts {
            answers: 1,
            late: 1,
            double: 1,
            foreign: 5,
        };
        assert_eq!(conversations.counts(), counts);
    }

    #[test]
    fn a_broadcast_ends_when_as_many_have_answered_as_were_reached() {
        let (mut conversations, outgoing, _) = asked(&[]);
        conversations.on_reply("a1b2.1", "celery@w1");
        assert_eq!(conversations.on_published(outgoing.number, Some(2)), None);
        let Heard::Answer { ended, .. } = conversations.on_reply("a1b2.1", "celery@w2") else {
            panic!("the second answer is waited for");
        };
        assert_eq!(ended.map(|ended| ended.silent), Some(vec![]));
    }

    #[test]
    fn a_broadcast_that_reached_nobody_is_over_at_once() {
        let (mut conversations, outgoing, _) = asked(&[]);
        assert!(
            conversations
                .on_published(outgoing.number, Some(0))
                .is_some()
        );
        assert!(conversations.is_empty());
    }

    #[test]
    fn an_abandoned_request_blames_nobody() {
        let (mut conversations, outgoing, now) = asked(&["celery@w1"]);
        conversations.abandon(outgoing.number);
        assert_eq!(conversations.on_deadline(now + WAIT), vec![]);
    }

    #[test]
    fn waiting_requests_are_bounded() {
        let now = Instant::now();
        let mut conversations = Conversations::new("p");
        for _ in 0..OUTSTANDING_MAX {
            conversations
                .ask(now, Question::Active, vec![], WAIT)
                .expect("room");
        }
        assert_eq!(
            conversations.ask(now, Question::Active, vec![], WAIT),
            Err(TooMany)
        );
        assert_eq!(conversations.on_deadline(now + WAIT).len(), OUTSTANDING_MAX);
        assert!(
            conversations
                .ask(now, Question::Active, vec![], WAIT)
                .is_ok()
        );
    }
}
