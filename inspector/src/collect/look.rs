//! Looks at workers: the answers to the questions of one look, put together to a snapshot of each worker. It asks nothing.

use ahash::{HashMap, HashMapExt};

use super::Node;
use super::observation::{Snapshot, TaskList};
use super::question::Question;
use crate::wire::pidbox::{ConsumedQueue, Stats, TaskRequest};

/// What a worker answered to a question.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// To `ping`.
    Pong,
    /// To `enable_events`.
    Done,
    /// To `stats`.
    Stats(Box<Stats>),
    /// To `active_queues`.
    Queues(Vec<ConsumedQueue>),
    /// To `active`, `reserved` or `scheduled`.
    Tasks(Vec<TaskRequest>),
    /// To `registered`.
    Registered(Vec<String>),
    /// To `conf`, a JSON object.
    Configuration(String),
    /// It could not, or the answer could not be read, in its or our words.
    Error(String),
}

/// Looks under way.
#[derive(Debug, Default)]
pub struct Looks {
    open: HashMap<u64, Look>,
    /// Which look a request belongs to, by the request's number.
    requests: HashMap<u64, u64>,
}

#[derive(Debug)]
struct Look {
    drafts: HashMap<Node, Draft>,
}

#[derive(Debug)]
struct Draft {
    snapshot: Snapshot,
    /// Questions of the look that are neither answered nor given up.
    missing: usize,
    answered: bool,
}

/// A worker's part in a look is over.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// What was put together. Nothing when there is nothing to tell.
    pub snapshot: Option<Snapshot>,
    /// Which worker.
    pub node: Node,
    /// Whether it answered anything.
    pub answered: bool,
}

impl Looks {
    /// No looks.
    pub fn new() -> Self {
        Self { open: HashMap::new(), requests: HashMap::new() }
    }

    /// A request of a look is being published; the first one begins the look.
    pub fn on_asked(
        &mut self,
        look: u64,
        questions: usize,
        number: u64,
        nodes: &[Node],
        asked_micros: i64,
    ) {
        self.requests.insert(number, look);
        self.open.entry(look).or_insert_with(|| {
            let draft = |node: &Node| Draft {
                snapshot: Snapshot {
                    hostname: node.to_string(),
                    asked_micros,
                    received_micros: asked_micros,
                    ..Snapshot::default()
                },
                missing: questions,
                answered: false,
            };
            Look { drafts: nodes.iter().map(|node| (node.clone(), draft(node))).collect() }
        });
    }

    /// A worker answered request `number`. Gives the snapshot when it was the last of its answers.
    pub fn on_answer(
        &mut self,
        number: u64,
        node: &str,
        question: Question,
        received_micros: i64,
        answer: Answer,
    ) -> Option<Seen> {
        let look = *self.requests.get(&number)?;
        let draft = self.open.get_mut(&look)?.drafts.get_mut(node)?;
        draft.answered = true;
        draft.snapshot.received_micros = draft.snapshot.received_micros.max(received_micros);
        fill(&mut draft.snapshot, question, answer);
        self.settle(look, node)
    }

    /// A request is over and `silent` did not answer it. Gives the snapshots that wait for nothing more.
    pub fn on_ended(&mut self, number: u64, question: Question, silent: &[Node]) -> Vec<Seen> {
        let Some(look) = self.requests.remove(&number) else { return Vec::new() };
        let mut seen = Vec::new();
        for node in silent {
            if let Some(draft) =
                self.open.get_mut(&look).and_then(|look| look.drafts.get_mut(node))
            {
                draft.snapshot.unanswered.push(question.command());
            }
            seen.extend(self.settle(look, node));
        }
        seen
    }

    /// The rest of a look will not be asked. Gives what its workers have answered so far.
    pub fn abandon(&mut self, look: u64) -> Vec<Seen> {
        let Some(look) = self.open.remove(&look) else { return Vec::new() };
        // Nobody is to blame for what was not asked.
        let answered = look.drafts.into_iter().filter(|(_, draft)| draft.answered);
        answered.map(|(node, draft)| draft.seen(node)).collect()
    }

    fn settle(&mut self, look: u64, node: &str) -> Option<Seen> {
        let open = self.open.get_mut(&look)?;
        let draft = open.drafts.get_mut(node)?;
        draft.missing = draft.missing.saturating_sub(1);
        if draft.missing > 0 {
            return None;
        }
        let (node, draft) = open.drafts.remove_entry(node)?;
        if open.drafts.is_empty() {
            self.open.remove(&look);
        }
        Some(draft.seen(node))
    }
}

impl Draft {
    fn seen(self, node: Node) -> Seen {
        let told = self.snapshot.tells_anything();
        Seen { snapshot: told.then_some(self.snapshot), node, answered: self.answered }
    }
}

impl Snapshot {
    /// Whether any part of it is filled in.
    fn tells_anything(&self) -> bool {
        self.pong
            || self.stats.is_some()
            || self.queues.is_some()
            || self.active.is_some()
            || self.reserved.is_some()
            || self.scheduled.is_some()
            || self.registered.is_some()
            || self.configuration_json.is_some()
            || !self.unanswered.is_empty()
            || !self.errors.is_empty()
    }
}

/// Puts an answer where it belongs.
pub fn fill(snapshot: &mut Snapshot, question: Question, answer: Answer) {
    match answer {
        Answer::Pong => snapshot.pong = true,
        Answer::Done => {}
        Answer::Stats(stats) => snapshot.stats = Some(*stats),
        Answer::Queues(queues) => snapshot.queues = Some(queues),
        Answer::Tasks(tasks) => {
            let list = Some(TaskList::from(tasks));
            match question {
                Question::Reserved => snapshot.reserved = list,
                Question::Scheduled => snapshot.scheduled = list,
                _ => snapshot.active = list,
            }
        }
        Answer::Registered(names) => snapshot.registered = Some(names),
        Answer::Configuration(json) => snapshot.configuration_json = Some(json),
        Answer::Error(text) => {
            snapshot.errors.insert(question.command(), text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(names: &[&str]) -> Vec<Node> {
        names.iter().map(|name| Node::from(*name)).collect()
    }

    /// A look of two questions (`stats` is request 1, `active` request 2) at two workers, begun at 5.
    fn look() -> Looks {
        let mut looks = Looks::new();
        looks.on_asked(7, 2, 1, &nodes(&["celery@w1", "celery@w2"]), 5);
        looks.on_asked(7, 2, 2, &nodes(&["celery@w1", "celery@w2"]), 6);
        looks
    }

    #[test]
    fn a_snapshot_is_complete_with_the_last_answer_of_its_worker() {
        let mut looks = look();
        let stats = Answer::Stats(Box::default());
        assert_eq!(looks.on_answer(1, "celery@w1", Question::Stats, 8, stats), None);
        let active = Answer::Tasks(vec![]);
        let seen = looks
            .on_answer(2, "celery@w1", Question::Active, 9, active)
            .expect("both questions are answered");
        assert!(seen.answered);
        let snapshot = seen.snapshot.expect("it holds answers");
        assert_eq!((snapshot.asked_micros, snapshot.received_micros), (5, 9));
        assert!(snapshot.stats.is_some() && snapshot.active.is_some());
        assert!(snapshot.reserved.is_none(), "what was not asked is absent");
        assert_eq!(snapshot.unanswered, Vec::<&str>::new());
    }

    #[test]
    fn what_was_not_answered_in_time_is_named() {
        let mut looks = look();
        looks.on_answer(2, "celery@w2", Question::Active, 9, Answer::Tasks(vec![]));
        assert_eq!(looks.on_ended(2, Question::Active, &nodes(&["celery@w1"])), vec![]);
        let both = nodes(&["celery@w1", "celery@w2"]);
        let seen = looks.on_ended(1, Question::Stats, &both);
        let told: Vec<_> = seen
            .into_iter()
            .map(|seen| (seen.node.to_string(), seen.answered, seen.snapshot.unwrap().unanswered))
            .collect();
        assert_eq!(
            told,
            [
                ("celery@w1".to_owned(), false, vec!["active", "stats"]),
                ("celery@w2".to_owned(), true, vec!["stats"]),
            ]
        );
        assert!(looks.open.is_empty() && looks.requests.is_empty());
    }

    #[test]
    fn an_error_is_an_answer() {
        let mut looks = Looks::new();
        looks.on_asked(1, 1, 1, &nodes(&["celery@w1"]), 5);
        let error = Answer::Error("KeyError('conf')".into());
        let seen = looks.on_answer(1, "celery@w1", Question::Conf, 9, error).expect("complete");
        assert!(seen.answered);
        let errors = seen.snapshot.expect("it holds an error").errors;
        assert_eq!(errors.get("conf").map(String::as_str), Some("KeyError('conf')"));
    }

    #[test]
    fn an_abandoned_look_blames_nobody_and_keeps_what_was_answered() {
        let mut looks = Looks::new();
        looks.on_asked(7, 2, 1, &nodes(&["celery@w1", "celery@w2"]), 5);
        looks.on_answer(1, "celery@w1", Question::Stats, 8, Answer::Stats(Box::default()));
        let seen = looks.abandon(7);
        assert_eq!(seen.len(), 1);
        assert_eq!(seen[0].snapshot.as_ref().unwrap().unanswered, Vec::<&str>::new());
        assert_eq!(looks.on_ended(1, Question::Stats, &nodes(&["celery@w2"])), vec![]);
    }

    #[test]
    fn an_empty_snapshot_is_not_told() {
        let mut looks = Looks::new();
        looks.on_asked(1, 1, 1, &nodes(&["celery@w1"]), 5);
        let seen = looks.on_answer(1, "celery@w1", Question::EnableEvents, 9, Answer::Done);
        assert_eq!(seen.map(|seen| (seen.answered, seen.snapshot)), Some((true, None)));
    }

    #[test]
    fn long_task_lists_are_cut_and_say_so() {
        let list = TaskList::from(vec![TaskRequest::default(); 1_200]);
        assert_eq!((list.tasks.len(), list.total, list.is_cut()), (1_000, 1_200, true));
    }
}
