//! Looks at workers: the answers to the questions of one look, put together to a snapshot of each worker. It asks nothing.

use std::sync::Arc;

use ahash::{HashMap, HashMapExt};

use super::Node;
use super::observation::{Queried, Snapshot, TASKS_MAX};
use super::plan::Request;
use super::question::{Parts, Question};
use crate::wire::pidbox::{ConsumedQueue, HeldTasks, QueriedTask, Stats, TaskRequest};

/// Names in one answer that are kept at most: queues, registered tasks, totals.
const NAMES_MAX: usize = 4_096;

/// Text kept of one answer at most: the settings, or the arguments of all its tasks. With it a snapshot stays below 4 MiB,
/// what a gRPC server accepts unless told otherwise.
const TEXT_BYTES_MAX: usize = 256 * 1024;

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
    Tasks(HeldTasks),
    /// To `query_task`.
    Queried(Vec<QueriedTask>),
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
    asked_micros: i64,
    questions: usize,
    /// The tasks that `query_task` is about.
    tasks: Arc<[String]>,
    /// Everybody was asked, so a worker becomes part of it with its first answer.
    broadcast: bool,
    drafts: HashMap<Node, Draft>,
}

#[derive(Debug)]
struct Draft {
    snapshot: Snapshot,
    /// Questions of the look that are neither answered nor given up.
    missing: usize,
    answered: bool,
    unanswered: Parts,
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
    /// The parts of the look in which it left a question unanswered.
    pub unanswered: Parts,
}

impl Looks {
    /// No looks.
    pub fn new() -> Self {
        Self {
            open: HashMap::new(),
            requests: HashMap::new(),
        }
    }

    /// A request of a look is being published; the first one begins the look.
    pub fn on_asked(&mut self, request: &Request, number: u64, asked_micros: i64) {
        let (questions, nodes) = (request.questions_in_look, &request.destination);
        self.requests.insert(number, request.look);
        self.open.entry(request.look).or_insert_with(|| {
            let draft = |node: &Node| (node.clone(), Draft::new(node, questions, asked_micros));
            Look {
                asked_micros,
                questions,
                tasks: Arc::clone(&request.tasks),
                broadcast: nodes.is_empty(),
                drafts: nodes.iter().map(draft).collect(),
            }
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
        let open = self.open.get_mut(&look)?;
        if open.broadcast {
            let draft = Draft::new(node, open.questions, open.asked_micros);
            open.drafts.entry(Node::from(node)).or_insert(draft);
        }
        let draft = open.drafts.get_mut(node)?;
        draft.answered = true;
        draft.snapshot.received_micros = draft.snapshot.received_micros.max(received_micros);
        fill(&mut draft.snapshot, question, answer, &open.tasks);
        self.settle(look, node)
    }

    /// A request is over and `silent` did not answer it. Gives the snapshots that wait for nothing more.
    pub fn on_ended(&mut self, number: u64, question: Question, silent: &[Node]) -> Vec<Seen> {
        let Some(look) = self.requests.remove(&number) else {
            return Vec::new();
        };
        let mut seen = Vec::new();
        for node in silent {
            if let Some(draft) = self
                .open
                .get_mut(&look)
                .and_then(|look| look.drafts.get_mut(node))
            {
                draft.snapshot.unanswered.push(question.command());
                draft.unanswered = draft.unanswered.with(Parts::of(question));
            }
            seen.extend(self.settle(look, node));
        }
        if self
            .open
            .get(&look)
            .is_some_and(|open| open.broadcast && open.drafts.is_empty())
        {
            self.open.remove(&look);
        }
        seen
    }

    /// The rest of a look will not be asked. Gives what its workers have answered so far.
    pub fn abandon(&mut self, look: u64) -> Vec<Seen> {
        let Some(look) = self.open.remove(&look) else {
            return Vec::new();
        };
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
        // A broadcast may have more answers to come.
        if open.drafts.is_empty() && !open.broadcast {
            self.open.remove(&look);
        }
        Some(draft.seen(node))
    }
}

impl Draft {
    fn new(node: &str, missing: usize, asked_micros: i64) -> Self {
        let snapshot = Snapshot {
            hostname: node.to_owned(),
            asked_micros,
            received_micros: asked_micros,
            ..Snapshot::default()
        };
        Self {
            snapshot,
            missing,
            answered: false,
            unanswered: Parts::NONE,
        }
    }

    fn seen(self, node: Node) -> Seen {
        let told = self.snapshot.tells_anything();
        Seen {
            snapshot: told.then_some(self.snapshot),
            node,
            answered: self.answered,
            unanswered: self.unanswered,
        }
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
            || self.queried.is_some()
            || self.registered.is_some()
            || self.configuration_json.is_some()
            || !self.unanswered.is_empty()
            || !self.errors.is_empty()
    }
}

/// Puts an answer where it belongs.
fn fill(snapshot: &mut Snapshot, question: Question, answer: Answer, asked: &Arc<[String]>) {
    match answer {
        Answer::Pong => snapshot.pong = true,
        Answer::Done => {}
        Answer::Stats(mut stats) => {
            stats.totals.truncate(NAMES_MAX);
            snapshot.stats = Some(*stats);
        }
        Answer::Queues(mut queues) => {
            queues.truncate(NAMES_MAX);
            snapshot.queues = Some(queues);
        }
        Answer::Tasks(mut held) => {
            bound(&mut held);
            match question {
                Question::Reserved => snapshot.reserved = Some(held),
                Question::Scheduled => snapshot.scheduled = Some(held),
                _ => snapshot.active = Some(held),
            }
        }
        Answer::Queried(mut found) => {
            // Nobody else's tasks, and none twice.
            found.truncate(asked.len());
            bound_texts(found.iter_mut().map(|task| &mut task.request));
            let tasks = Arc::clone(asked);
            snapshot.queried = Some(Queried { tasks, found });
        }
        Answer::Registered(mut names) => {
            names.truncate(NAMES_MAX);
            snapshot.registered = Some(names);
        }
        Answer::Configuration(json) if json.len() > TEXT_BYTES_MAX => {
            let size = format!(
                "the settings are {} bytes long and were left out",
                json.len()
            );
            snapshot.errors.insert(question.command(), size);
        }
        Answer::Configuration(json) => snapshot.configuration_json = Some(json),
        Answer::Error(text) => {
            snapshot.errors.insert(question.command(), text);
        }
    }
}

/// Cuts a list of tasks: ids are what repairs a gap, so arguments go first.
fn bound(held: &mut HeldTasks) {
    held.tasks.truncate(TASKS_MAX);
    bound_texts(held.tasks.iter_mut());
}

fn bound_texts<'a>(tasks: impl Iterator<Item = &'a mut TaskRequest>) {
    let mut bytes = 0;
    for task in tasks {
        for (field, text) in [("args", &mut task.args), ("kwargs", &mut task.kwargs)] {
            let size = text.as_ref().map_or(0, String::len);
            if bytes + size <= TEXT_BYTES_MAX {
                bytes += size;
                continue;
            }
            *text = None;
            if !task.truncated.iter().any(|(name, _)| name == field) {
                task.truncated.push((field.to_owned(), size as u64));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::pidbox::TaskRequest;

    fn nodes(names: &[&str]) -> Vec<Node> {
        names.iter().map(|name| Node::from(*name)).collect()
    }

    /// A request of look `look`, which has so many questions.
    fn request(look: u64, questions: usize, names: &[&str]) -> Request {
        Request {
            look,
            questions_in_look: questions,
            question: Question::Ping,
            tasks: Arc::default(),
            destination: nodes(names),
            charged: 0,
        }
    }

    /// A look of two questions (`stats` is request 1, `active` request 2) at two workers, begun at 5.
    fn look() -> Looks {
        let mut looks = Looks::new();
        looks.on_asked(&request(7, 2, &["celery@w1", "celery@w2"]), 1, 5);
        looks.on_asked(&request(7, 2, &["celery@w1", "celery@w2"]), 2, 6);
        looks
    }

    #[test]
    fn a_snapshot_is_complete_with_the_last_answer_of_its_worker() {
        let mut looks = look();
        let stats = Answer::Stats(Box::default());
        assert_eq!(
            looks.on_answer(1, "celery@w1", Question::Stats, 8, stats),
            None
        );
        let active = Answer::Tasks(HeldTasks::default());
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
        looks.on_answer(
            2,
            "celery@w2",
            Question::Active,
            9,
            Answer::Tasks(HeldTasks::default()),
        );
        assert_eq!(
            looks.on_ended(2, Question::Active, &nodes(&["celery@w1"])),
            vec![]
        );
        let both = nodes(&["celery@w1", "celery@w2"]);
        let seen = looks.on_ended(1, Question::Stats, &both);
        let told: Vec<_> = seen
            .into_iter()
            .map(|seen| {
                (
                    seen.node.to_string(),
                    seen.answered,
                    seen.snapshot.unwrap().unanswered,
                )
            })
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
    fn a_broadcast_tells_of_each_worker_that_answers() {
        let mut looks = Looks::new();
        looks.on_asked(&request(1, 1, &[]), 1, 5);
        for (name, micros) in [("celery@w1", 7), ("celery@w2", 8)] {
            let seen = looks.on_answer(1, name, Question::Ping, micros, Answer::Pong);
            let snapshot = seen.and_then(|seen| seen.snapshot).expect("it answered");
            assert_eq!((snapshot.hostname.as_str(), snapshot.pong), (name, true));
            assert_eq!(
                (snapshot.asked_micros, snapshot.received_micros),
                (5, micros)
            );
        }
        assert_eq!(looks.on_ended(1, Question::Ping, &[]), vec![]);
        assert!(looks.open.is_empty() && looks.requests.is_empty());
    }

    #[test]
    fn an_error_is_an_answer() {
        let mut looks = Looks::new();
        looks.on_asked(&request(1, 1, &["celery@w1"]), 1, 5);
        let error = Answer::Error("KeyError('conf')".into());
        let seen = looks
            .on_answer(1, "celery@w1", Question::Conf, 9, error)
            .expect("complete");
        assert!(seen.answered);
        let errors = seen.snapshot.expect("it holds an error").errors;
        assert_eq!(
            errors.get("conf").map(String::as_str),
            Some("KeyError('conf')")
        );
    }

    #[test]
    fn an_abandoned_look_blames_nobody_and_keeps_what_was_answered() {
        let mut looks = Looks::new();
        looks.on_asked(&request(7, 2, &["celery@w1", "celery@w2"]), 1, 5);
        looks.on_answer(
            1,
            "celery@w1",
            Question::Stats,
            8,
            Answer::Stats(Box::default()),
        );
        let seen = looks.abandon(7);
        assert_eq!(seen.len(), 1);
        assert_eq!(
            seen[0].snapshot.as_ref().unwrap().unanswered,
            Vec::<&str>::new()
        );
        assert_eq!(
            looks.on_ended(1, Question::Stats, &nodes(&["celery@w2"])),
            vec![]
        );
    }

    #[test]
    fn an_empty_snapshot_is_not_told() {
        let mut looks = Looks::new();
        looks.on_asked(&request(1, 1, &["celery@w1"]), 1, 5);
        let seen = looks.on_answer(1, "celery@w1", Question::EnableEvents, 9, Answer::Done);
        assert_eq!(
            seen.map(|seen| (seen.answered, seen.snapshot)),
            Some((true, None))
        );
    }

    #[test]
    fn of_long_arguments_the_size_is_kept() {
        let long = || TaskRequest {
            args: Some("x".repeat(60_000)),
            ..TaskRequest::default()
        };
        let mut held = HeldTasks {
            tasks: (0..6).map(|_| long()).collect(),
            total: 6,
            unreadable: 0,
        };
        bound(&mut held);
        assert_eq!(
            held.tasks.iter().filter(|task| task.args.is_some()).count(),
            4
        );
        assert_eq!(held.tasks[5].truncated, [("args".to_owned(), 60_000)]);
    }

    #[test]
    fn long_task_lists_are_cut_and_say_so() {
        let tasks = vec![TaskRequest::default(); 1_200];
        let held = HeldTasks {
            total: 1_200,
            tasks,
            unreadable: 0,
        };
        let mut snapshot = Snapshot::default();
        let held = Answer::Tasks(held);
        fill(&mut snapshot, Question::Reserved, held, &Arc::default());
        assert!(snapshot.is_cut());
        let reserved = snapshot.reserved.expect("filled in");
        assert_eq!((reserved.tasks.len(), reserved.total), (1_000, 1_200));
    }
}
