//! What is asked of workers, and what belongs together. `hello` and `election` cannot be asked: the one changes workers,
//! the other can crash them.

use super::Node;
use super::look::Answer;
use crate::wire::pidbox::{
    self, AnswerError, Control, Destination, Inspect, Method, Reply, Request,
};

/// A command that the inspector sends on its own account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Question {
    /// `ping`: the only one that is ever broadcast.
    Ping,
    /// `enable_events`, only when told to.
    EnableEvents,
    /// `stats`.
    Stats,
    /// `active_queues`.
    ActiveQueues,
    /// `scheduled`.
    Scheduled,
    /// `reserved`.
    Reserved,
    /// `active`.
    Active,
    /// `registered`.
    Registered,
    /// `conf`.
    Conf,
    /// `query_task`, only of tasks that the aggregator names.
    QueryTask,
}

impl Question {
    /// Celery's name of the command.
    pub fn command(self) -> &'static str {
        match self.asks() {
            Ok(inspect) => inspect.name(),
            Err(control) => control.name(),
        }
    }

    fn asks(self) -> Result<Inspect, Control> {
        Ok(match self {
            Self::Ping => Inspect::Ping,
            Self::EnableEvents => return Err(Control::EnableEvents),
            Self::Stats => Inspect::Stats,
            Self::ActiveQueues => Inspect::ActiveQueues,
            Self::Scheduled => Inspect::Scheduled,
            Self::Reserved => Inspect::Reserved,
            Self::Active => Inspect::Active,
            Self::Registered => Inspect::Registered,
            Self::Conf => Inspect::Conf,
            Self::QueryTask => Inspect::QueryTask,
        })
    }

    /// The request that asks this of `destination`; of everybody when it is empty.
    pub fn request(self, destination: &[Node]) -> Request {
        let names = destination.iter().map(ToString::to_string).collect();
        let destination = Destination::nodes(names).unwrap_or_else(Destination::everyone);
        let method = self.asks().map_or_else(Method::from, Method::from);
        Request::new(method, destination)
    }

    /// What a worker's reply says.
    pub fn read(self, reply: &Reply) -> Answer {
        let answer = match self {
            Self::Ping => reply.ping().map(|()| Answer::Pong),
            Self::EnableEvents => done(reply),
            Self::Stats => reply.stats().map(|stats| Answer::Stats(Box::new(stats))),
            Self::ActiveQueues => reply.active_queues().map(Answer::Queues),
            Self::Scheduled => reply.scheduled().map(Answer::Tasks),
            Self::Reserved => reply.reserved().map(Answer::Tasks),
            Self::Active => reply.active().map(Answer::Tasks),
            Self::Registered => reply
                .registered()
                .map(|tasks| Answer::Registered(tasks.into_iter().map(|task| task.name).collect())),
            Self::Conf => reply.conf().map(Answer::Configuration),
            Self::QueryTask => reply.query_task().map(Answer::Queried),
        };
        answer.unwrap_or_else(|error| match error {
            AnswerError::Worker(text) => Answer::Error(text),
            shape @ AnswerError::Shape(_) => Answer::Error(shape.to_string()),
        })
    }
}

/// The answer to a command that changes something: its words do not matter, only an error does.
fn done(reply: &Reply) -> Result<Answer, AnswerError> {
    match reply.answer() {
        pidbox::Answer::Error(text) => Err(AnswerError::Worker(text)),
        pidbox::Answer::Ok(_) | pidbox::Answer::Data(_) => Ok(Answer::Done),
    }
}

/// Questions that belong together: their answers are worth most when they are of one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Switch task events on.
    Events,
    /// What the worker holds. Asked in the order in which a task moves (scheduled, reserved, active), so that a task on
    /// its way is seen at least once.
    Tasks,
    /// What the worker is and consumes.
    Identity,
    /// What does not change while it lives.
    Make,
}

impl Part {
    /// All parts, most urgent first.
    pub const ALL: [Self; 4] = [Self::Events, Self::Identity, Self::Tasks, Self::Make];

    /// Its questions, in the order in which they are asked.
    pub fn questions(self) -> &'static [Question] {
        match self {
            Self::Events => &[Question::EnableEvents],
            Self::Tasks => &[Question::Scheduled, Question::Reserved, Question::Active],
            Self::Identity => &[Question::Stats, Question::ActiveQueues],
            Self::Make => &[Question::Registered, Question::Conf],
        }
    }
}

/// A set of parts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Parts(u8);

impl Parts {
    /// No part.
    pub const NONE: Self = Self(0);
    /// A first look: seven questions.
    pub const FIRST: Self = Self(0b1110);
    /// A look of the periodic round: five questions.
    pub const ROUND: Self = Self(0b0110);
    /// What repairs a gap in the events.
    pub const REPAIR: Self = Self(0b0010);
    /// Queues and identity, after a worker came on line again.
    pub const IDENTITY: Self = Self(0b0100);
    /// Switch task events on.
    pub const EVENTS: Self = Self(0b0001);

    fn bit(part: Part) -> u8 {
        match part {
            Part::Events => 0b0001,
            Part::Tasks => 0b0010,
            Part::Identity => 0b0100,
            Part::Make => 0b1000,
        }
    }

    /// The part that `question` belongs to; none for one that is asked by itself.
    pub fn of(question: Question) -> Self {
        let part = Part::ALL
            .into_iter()
            .find(|part| part.questions().contains(&question));
        part.map_or(Self::NONE, Self::from)
    }

    /// Whether `part` is in it.
    pub fn has(self, part: Part) -> bool {
        self.0 & Self::bit(part) != 0
    }

    /// This set and `other`.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// This set without `other`.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether nothing is in it.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The questions of its parts, in order.
    pub fn questions(self) -> Vec<Question> {
        let parts = Part::ALL.into_iter().filter(|part| self.has(*part));
        parts
            .flat_map(|part| part.questions().iter().copied())
            .collect()
    }
}

impl From<Part> for Parts {
    fn from(part: Part) -> Self {
        Self(Self::bit(part))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_named_sets_ask_what_they_say() {
        let commands = |parts: Parts| {
            parts
                .questions()
                .into_iter()
                .map(Question::command)
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(
            commands(Parts::FIRST),
            "stats active_queues scheduled reserved active registered conf"
        );
        assert_eq!(
            commands(Parts::ROUND),
            "stats active_queues scheduled reserved active"
        );
        assert_eq!(commands(Parts::REPAIR), "scheduled reserved active");
        assert_eq!(commands(Parts::IDENTITY), "stats active_queues");
        assert_eq!(commands(Parts::EVENTS), "enable_events");
        assert_eq!(
            commands(Parts::ROUND.without(Parts::REPAIR)),
            "stats active_queues"
        );
        assert_eq!(Parts::of(Question::ActiveQueues), Parts::IDENTITY);
        assert_eq!(Parts::of(Question::Ping), Parts::NONE);
    }
}
