use super::*;
use crate::crd::status::Truth;

/// An object's status over time, each second, as the writer sees it: what was written is read when the watch has told.
struct Scene {
    memory: Memory,
    status: Said,
    writes: Vec<(i64, String)>,
}

impl Scene {
    fn new() -> Self {
        Self {
            memory: Memory::default(),
            status: Said::default(),
            writes: Vec::new(),
        }
    }

    fn second(&mut self, second: i64, figures: Option<&Figures>, fact: Fact) {
        let now = Timestamp::from_second(1_000_000 + second).expect("it is a time");
        let due = self
            .memory
            .look(now, self.status.clone(), figures, vec![fact]);
        if let Some(due) = due {
            self.memory.wrote(now, due.said.clone());
            let backlog = due.said.shown.backlog;
            let backlog = backlog.map_or_else(|| "-".to_owned(), |count| count.to_string());
            let words = format!("{} {backlog}", due.said.facts[0].reason);
            self.writes.push((second, words));
            self.status = due.said;
        }
    }

    fn seconds(&mut self, from: i64, to: i64, backlog: impl Fn(i64) -> u64) {
        for second in from..to {
            self.second(second, Some(&figures(backlog(second))), live());
        }
    }

    fn writes(&self) -> Vec<(i64, &str)> {
        let writes = self.writes.iter();
        writes.map(|(at, words)| (*at, words.as_str())).collect()
    }
}

fn figures(backlog: u64) -> Figures {
    Figures {
        backlog: Some(backlog),
        ..Figures::default()
    }
}

fn live() -> Fact {
    Fact::new("Observed", Truth::True, "Live", "")
}

fn gone() -> Fact {
    Fact::new("Observed", Truth::False, "Gone", "")
}

#[test]
fn what_stays_is_written_once() {
    let mut scene = Scene::new();
    scene.seconds(0, 600, |_| 70);
    assert_eq!(scene.writes(), [(0, "Live 70")]);
}

#[test]
fn what_changes_is_written_every_half_minute_and_the_last_counts() {
    let mut scene = Scene::new();
    scene.seconds(0, 70, |second| {
        10 + u64::try_from(second).expect("it is positive")
    });
    let expected = [(0, "Live 10"), (30, "Live 40"), (60, "Live 70")];
    assert_eq!(scene.writes(), expected);
    // What came since is written when the half minute is over.
    scene.seconds(70, 120, |_| 80);
    assert_eq!(scene.writes().last(), Some(&(90, "Live 80")));
}

#[test]
fn the_first_message_and_a_condition_are_written_at_once() {
    let mut scene = Scene::new();
    scene.seconds(0, 3, |_| 0);
    scene.seconds(3, 5, |_| 4);
    scene.second(5, None, gone());
    scene.second(6, Some(&figures(4)), live());
    let expected = [
        (0, "Live 0"),
        (3, "Live 4"),
        // The numbers stay while they are not known.
        (5, "Gone 4"),
        (6, "Live 4"),
    ];
    assert_eq!(scene.writes(), expected);
}

#[test]
fn a_queue_that_is_empty_between_two_messages_is_no_news_and_one_that_stays_empty_is() {
    let mut scene = Scene::new();
    scene.seconds(0, 60, |second| u64::from(second % 7 == 0));
    assert_eq!(scene.writes(), [(0, "Live 1")]);
    scene.seconds(60, 100, |_| 0);
    // It was last seen to have one at 56.
    assert_eq!(scene.writes(), [(0, "Live 1"), (67, "Live 0")]);
}

#[test]
fn what_somebody_else_wrote_is_put_right() {
    let mut scene = Scene::new();
    scene.seconds(0, 40, |_| 7);
    scene.status.shown.backlog = Some(99);
    scene.seconds(40, 45, |_| 7);
    assert_eq!(scene.writes(), [(0, "Live 7"), (40, "Live 7")]);
}

#[test]
fn a_write_that_was_refused_is_not_repeated_at_once() {
    let mut memory = Memory::default();
    let at = |second| Timestamp::from_second(second).expect("it is a time");
    let mut look = |second| {
        let due = memory.look(at(second), Said::default(), Some(&figures(3)), vec![live()]);
        if due.is_some() {
            memory.not_written(at(second));
        }
        due.is_some()
    };
    let tries: Vec<i64> = (0..65).filter(|second| look(*second)).collect();
    assert_eq!(tries, [0, 30, 60]);
}

#[test]
fn of_many_the_urgent_go_first_then_those_that_wait_longest() {
    let due = |urgent: bool, since: i64| Due {
        said: Said::default(),
        urgent,
        since: Timestamp::from_second(since).expect("it is a time"),
    };
    let all = vec![
        ("a", due(false, 5)),
        ("b", due(false, 1)),
        ("c", due(true, 9)),
        ("d", due(true, 8)),
    ];
    let picked: Vec<&str> = pick(all, 3).into_iter().map(|(name, _)| name).collect();
    assert_eq!(picked, ["d", "c", "b"]);
}
