//! What holds of any filter: it matches what it means, and what is shown reads back.

use proptest::prelude::*;

use super::super::{Order, Query, WorkerFilter};
use crate::state::{Symbol, Task, TaskId, TaskState};

/// A filter and what it means, each written down on its own.
#[derive(Debug, Clone)]
enum Meaning {
    Leaf(usize),
    Not(Box<Meaning>),
    And(Box<Meaning>, Box<Meaning>),
    Or(Box<Meaning>, Box<Meaning>),
}

type Leaf = (&'static str, fn(&Task) -> bool);

const LEAVES: &[Leaf] = &[
    ("state = FAILURE", |task| task.state == TaskState::Failure),
    ("state != SUCCESS", |task| task.state != TaskState::Success),
    ("name = \"a*c\"", |task| {
        task.name
            .as_deref()
            .is_some_and(|name| name.len() > 1 && name.starts_with('a') && name.ends_with('c'))
    }),
    ("name:B", |task| {
        task.name
            .as_deref()
            .is_some_and(|name| name.to_lowercase().contains('b'))
    }),
    ("name < b", |task| {
        task.name.as_deref().is_some_and(|name| name < "b")
    }),
    ("name:*", |task| {
        task.name.as_deref().is_some_and(|name| !name.is_empty())
    }),
    ("retries >= 2", |task| {
        task.retries.is_some_and(|retries| retries >= 2)
    }),
    ("retries != 1", |task| task.retries != Some(1)),
    ("runtime < 1.5s", |task| {
        task.runtime.is_some_and(|runtime| runtime < 1.5)
    }),
    ("runtime:*", |task| task.runtime.is_some()),
    ("lost = true", |task| task.lost),
    ("first_seen <= 1970-01-01T00:00:00.000002Z", |task| {
        task.first_seen <= 2
    }),
    ("started_time > 1970-01-01T00:00:01Z", |task| {
        task.started.is_some_and(|time| time > 1.0)
    }),
    ("ab", |task| {
        let texts = [
            task.name.as_deref(),
            task.payload.args.as_deref(),
            Some(task.state.as_str()),
        ];
        let id = task.id.to_string();
        let mut texts = texts.into_iter().flatten().chain([id.as_str()]);
        texts.any(|text| text.to_lowercase().contains("ab"))
    }),
];

impl Meaning {
    fn text(&self) -> String {
        match self {
            Self::Leaf(leaf) => LEAVES[*leaf].0.to_owned(),
            Self::Not(inner) => format!("NOT ({})", inner.text()),
            Self::And(left, right) => format!("({}) AND ({})", left.text(), right.text()),
            Self::Or(left, right) => format!("({}) OR ({})", left.text(), right.text()),
        }
    }

    fn holds(&self, task: &Task) -> bool {
        match self {
            Self::Leaf(leaf) => LEAVES[*leaf].1(task),
            Self::Not(inner) => !inner.holds(task),
            Self::And(left, right) => left.holds(task) && right.holds(task),
            Self::Or(left, right) => left.holds(task) || right.holds(task),
        }
    }
}

fn meanings() -> impl Strategy<Value = Meaning> {
    let leaf = (0..LEAVES.len()).prop_map(Meaning::Leaf);
    leaf.prop_recursive(5, 24, 2, |inner| {
        prop_oneof![
            inner.clone().prop_map(|it| Meaning::Not(Box::new(it))),
            (inner.clone(), inner.clone())
                .prop_map(|(left, right)| Meaning::And(Box::new(left), Box::new(right))),
            (inner.clone(), inner)
                .prop_map(|(left, right)| Meaning::Or(Box::new(left), Box::new(right))),
        ]
    })
}

prop_compose! {
    fn tasks()(
        id in "[abB]{1,3}",
        name in proptest::option::of("[abcAB]{0,3}"),
        state in 0..4_usize,
        retries in proptest::option::of(0..4_i64),
        runtime in proptest::option::of(prop_oneof![Just(0.5), Just(1.5), Just(f64::INFINITY)]),
        lost in any::<bool>(),
        first_seen in 0..5_i64,
        started in proptest::option::of(0.0..2.0),
        args in proptest::option::of("[abAB]{0,4}"),
    ) -> Task {
        let mut task = Task::new(TaskId::from(id.as_str()), first_seen);
        task.name = name.map(Symbol::from);
        task.state = [TaskState::Pending, TaskState::Success, TaskState::Failure, TaskState::Custom("ABLE".into())]
            [state].clone();
        task.retries = retries;
        task.runtime = runtime;
        task.lost = lost;
        task.started = started;
        task.payload.args = args.map(String::into_boxed_str);
        task
    }
}

proptest! {
    #[test]
    fn a_filter_matches_what_it_means(meaning in meanings(), tasks in prop::collection::vec(tasks(), 1..20)) {
        let query = Query::new(&meaning.text(), "").unwrap();
        for task in &tasks {
            prop_assert_eq!(query.matches(task), meaning.holds(task), "{} of {:?}", meaning.text(), task);
        }
    }

    #[test]
    fn what_is_shown_reads_back(meaning in meanings()) {
        let query = Query::new(&meaning.text(), "").unwrap();
        prop_assert_eq!(Query::new(&query.expression().to_string(), "").unwrap(), query);
    }

    /// Text that looks like a filter: most of it is none.
    #[test]
    fn reading_never_panics_and_what_reads_is_shown_right(
        text in r#"([ ()*:=<>!"'\\.-]|AND|OR|NOT|name|state|kwargs|runtime|SUCCESS|1\.5|ß|İ|Σ){0,16}"#
    ) {
        if let Ok(query) = Query::new(&text, "") {
            let shown = query.expression().to_string();
            prop_assert_eq!(Query::new(&shown, ""), Ok(query), "{} shown as {}", text, shown);
        }
        if let Ok(query) = Query::new("", &text) {
            let shown = query.expression().to_string();
            prop_assert_eq!(Query::new(&shown, ""), Ok(query), "{} shown as {}", text, shown);
        }
    }

    #[test]
    fn reading_any_text_never_panics(text in "\\PC{0,64}") {
        let _ = Query::new(&text, "");
        let _ = Query::new("", &text);
        let _ = Order::parse(&text);
        let _ = WorkerFilter::new(&text);
    }
}
