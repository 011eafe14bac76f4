use super::*;
use crate::wire::pidbox::{Control, Destination, Inspect};

const WAIT: Duration = Duration::from_secs(5);

fn command(request_id: &str, method: impl Into<Method>, nodes: &[&str]) -> Command {
    let names = nodes.iter().map(ToString::to_string).collect();
    Command {
        request_id: request_id.to_owned(),
        method: method.into(),
        arguments: serde_json::Map::new(),
        destination: Destination::nodes(names).unwrap_or_else(Destination::everyone),
        wait: WAIT,
    }
}

fn answer(request_id: &str, method: impl Into<Method>) -> Heard {
    Heard::Answer {
        request_id: request_id.to_owned(),
        method: method.into(),
    }
}

#[test]
fn an_answer_that_comes_minutes_later_belongs_to_its_command() {
    let now = Instant::now();
    let mut commands = Commands::new("p".to_owned());
    let grow = command("r-1", Control::PoolGrow, &["celery@w1", "celery@solo"]);
    let ticket = commands.begin(now, &grow).expect("it is new");
    assert_eq!(ticket.ticket, "p.command.1");
    commands.on_published(now, ticket.number, Some(7));
    let mut reply = |at: u64, node: &str| {
        let at = now + Duration::from_secs(at);
        commands.forget(at);
        commands.on_reply(at, "p.command.1", node)
    };
    assert_eq!(
        reply(0, "celery@w1"),
        Some(answer("r-1", Control::PoolGrow))
    );
    assert_eq!(reply(1, "celery@w1"), Some(Heard::Double));
    assert_eq!(reply(1, "celery@w9"), Some(Heard::Foreign));
    assert_eq!(
        reply(2_400, "celery@solo"),
        Some(answer("r-1", Control::PoolGrow))
    );
    assert_eq!(reply(2_401, "celery@solo"), Some(Heard::Forgotten));
    assert_eq!(commands.poll_after(now), None, "everybody has answered");
}

#[test]
fn tickets_of_others_are_left_to_others() {
    let now = Instant::now();
    let mut commands = Commands::new("p".to_owned());
    let ping = command("r-1", Inspect::Ping, &[]);
    commands.begin(now, &ping).expect("it is new");
    for other in ["p.1", "q.command.1", "", "p.command1"] {
        assert_eq!(commands.on_reply(now, other, "celery@w1"), None, "{other}");
    }
    for strange in ["p.command.2", "p.command.0", "p.command.x"] {
        let heard = commands.on_reply(now, strange, "celery@w1");
        assert_eq!(heard, Some(Heard::Foreign), "{strange}");
    }
}

#[test]
fn one_request_id_is_begun_once() {
    let now = Instant::now();
    let mut commands = Commands::new("p".to_owned());
    let ping = command("r-1", Inspect::Ping, &["celery@w1"]);
    let ticket = commands.begin(now, &ping).expect("it is new");
    assert_eq!(commands.begin(now, &ping), None);
    commands.abandon(ticket.number);
    assert_eq!(
        commands.begin(now, &ping),
        None,
        "not after a failure either"
    );
    assert_eq!(commands.poll_after(now), None);
}

#[test]
fn replies_are_looked_for_quickly_at_first_and_seldom_later() {
    let now = Instant::now();
    let after = |seconds: f64| now + Duration::from_secs_f64(seconds);
    let mut commands = Commands::new("p".to_owned());
    assert_eq!(commands.poll_after(now), None);
    let ping = command("r-1", Inspect::Ping, &["celery@w1", "celery@w2"]);
    commands.begin(now, &ping).expect("it is new");
    assert_eq!(commands.poll_after(after(0.1)), Some(POLL_AT_ONCE));
    assert_eq!(commands.poll_after(after(0.6)), Some(POLL_SOON));
    commands.on_reply(after(0.6), "p.command.1", "celery@w1");
    assert_eq!(commands.poll_after(after(0.7)), Some(POLL_AT_ONCE));
    assert_eq!(commands.poll_after(after(5.1)), Some(POLL_LATE));
    assert_eq!(commands.poll_after(after(66.0)), Some(POLL_SELDOM));
    commands.forget(after(3_599.0));
    assert_eq!(commands.poll_after(after(3_599.0)), Some(POLL_SELDOM));
    commands.forget(after(3_600.0));
    assert_eq!(commands.poll_after(after(3_600.0)), None);
}

#[test]
fn a_broadcast_that_as_many_answered_as_it_reached_is_looked_after_seldom() {
    let now = Instant::now();
    let mut commands = Commands::new("p".to_owned());
    let ping = command("r-1", Inspect::Ping, &[]);
    let ticket = commands.begin(now, &ping).expect("it is new");
    commands.on_published(now, ticket.number, Some(2));
    for node in ["celery@w1", "celery@w2"] {
        assert_eq!(commands.poll_after(now), Some(POLL_AT_ONCE));
        commands.on_reply(now, "p.command.1", node);
    }
    assert_eq!(commands.poll_after(now), Some(POLL_SELDOM));
    // Somebody more than was counted.
    assert_eq!(
        commands.on_reply(now, "p.command.1", "celery@w3"),
        Some(answer("r-1", Inspect::Ping))
    );
}

#[test]
fn nobody_waits_for_the_answer_of_a_shutdown() {
    let now = Instant::now();
    let mut commands = Commands::new("p".to_owned());
    let shutdown = command("r-1", Control::Shutdown, &["celery@w1"]);
    assert!(commands.begin(now, &shutdown).is_some());
    assert_eq!(commands.poll_after(now), None);
}

#[test]
fn commands_are_bounded_and_the_newest_are_kept() {
    let now = Instant::now();
    let mut commands = Commands::new("p".to_owned());
    for number in 1..=OPEN_MAX + 1 {
        let ping = command(&number.to_string(), Inspect::Ping, &["celery@w1"]);
        commands.begin(now, &ping).expect("it is new");
    }
    let first = commands.on_reply(now, "p.command.1", "celery@w1");
    assert_eq!(first, Some(Heard::Forgotten));
    let second = commands.on_reply(now, "p.command.2", "celery@w1");
    assert_eq!(second, Some(answer("2", Inspect::Ping)));
}
