mod properties;

use super::*;
use crate::state::{Symbol, Task, TaskState};

fn task(id: &str) -> Task {
    Task::new(TaskId::from(id), 1_700_000_000_000_000)
}

/// The three tasks that Flower 2.2.0's own search was run over for the expectations below.
fn flowers_tasks() -> [Task; 3] {
    let mut first = task("11111111-0000-4000-8000-000000000001");
    first.name = Some("proj.mail.send".into());
    first.state = TaskState::Failure;
    first.worker = Some("celery@w1".into());
    first.payload.args = Some("('Ann', 3)".into());
    first.payload.kwargs = Some("{'id': 3, 'to': 'Bob Ross'}".into());
    let mut second = task("22222222-0000-4000-8000-000000000002");
    second.name = Some("proj.images.resize".into());
    second.state = TaskState::Success;
    second.worker = Some("celery@w2".into());
    second.payload.args = Some("()".into());
    second.payload.kwargs = Some("{'id': 31, 'ok': True}".into());
    second.payload.result = Some("'two words'".into());
    let mut third = task("33333333-0000-4000-8000-000000000003");
    third.name = Some("proj.mail.read".into());
    third.state = TaskState::Retry;
    third.worker = Some("celery@w1".into());
    third.payload.args = Some("(\"x:y\",)".into());
    third.payload.kwargs = Some("{}".into());
    third.payload.result = Some(r#""say \"hi\"""#.into());
    [first, second, third]
}

fn matching(query: &Query, tasks: &[Task]) -> Vec<usize> {
    (1..)
        .zip(tasks)
        .filter(|(_, task)| query.matches(task))
        .map(|(number, _)| number)
        .collect()
}

#[track_caller]
fn check_search(search: &str, expect: Result<&[usize], &str>) {
    let found = Query::new("", search).map(|query| matching(&query, &flowers_tasks()));
    let found = found.as_deref().map_err(ToString::to_string);
    assert_eq!(found, expect.map_err(str::to_owned), "{search}");
}

/// What `TaskSearchEngine.matching_ids` of Flower 2.2.0 gives for each.
#[test]
fn search_finds_what_flower_finds() {
    check_search("", Ok(&[1, 2, 3]));
    check_search("  ", Ok(&[1, 2, 3]));
    check_search("mail", Ok(&[1, 3]));
    check_search("MAIL", Ok(&[1, 3]));
    check_search("name:mail", Ok(&[1, 3]));
    check_search("NAME:Mail state:failure", Ok(&[1]));
    check_search("state:FAIL", Ok(&[]));
    check_search("state:retry OR state:SUCCESS", Ok(&[2, 3]));
    check_search("mail AND state:FAILURE", Ok(&[1]));
    check_search("mail state:FAILURE OR resize", Ok(&[1, 2]));
    check_search("(mail OR resize) worker:@w2", Ok(&[2]));
    check_search("kwargs:id=3", Ok(&[1]));
    check_search("kwargs:id=31", Ok(&[2]));
    check_search("kwargs:ok=true", Ok(&[2]));
    check_search(r#"kwargs:"to=bob ross""#, Ok(&[1]));
    check_search(r#""two words""#, Ok(&[2]));
    check_search("two words", Ok(&[2]));
    check_search("args:x:y", Ok(&[3]));
    check_search(r#""say \\\"hi""#, Ok(&[3]));
    check_search("result:say", Ok(&[3]));
    check_search("unknown:field", Ok(&[]));
    check_search(r#"name:"mail""#, Ok(&[1, 3]));
    check_search(r#"nam"e:ma"il"#, Ok(&[1, 3]));
    check_search("m*il", Ok(&[]));
    check_search("mail and send", Ok(&[]));
    check_search("(((((mail)))))", Ok(&[1, 3]));
    check_search("name:-foo", Ok(&[]));
    check_search(r#"a\"b"#, Ok(&[]));
    check_search("kwargs:=", Ok(&[]));
    check_search(r#""NOT""#, Ok(&[]));
}

/// The texts of Flower 2.2.0's `QuerySyntaxError` for each.
#[test]
fn search_fails_in_flowers_words() {
    let short = |at: usize| {
        format!("Substring search terms must contain at least 3 characters at position {at}.")
    };
    check_search("ab", Err(&short(0)));
    check_search("result:hi", Err(&short(0)));
    check_search("é€ (", Err(&short(0)));
    check_search("(mail OR resize) worker:w2", Err(&short(17)));
    check_search(
        "name:",
        Err("Search qualifier requires a value at position 0."),
    );
    check_search(
        "kwargs: id=3",
        Err("Search qualifier requires a value at position 0."),
    );
    check_search("NOT mail", Err("NOT is not supported at position 0."));
    check_search(
        "-mail",
        Err("Negation with '-' is not supported at position 0."),
    );
    check_search(r#""abc"#, Err("Unterminated quoted phrase at position 0."));
    check_search(r#""""#, Err("Empty search term at position 0."));
    check_search("( )", Err("Empty group at position 0."));
    check_search("mail ()", Err("Empty group at position 5."));
    check_search("(mail", Err("Missing closing parenthesis at position 0."));
    check_search("mail)", Err("Unexpected ')' at position 4."));
    check_search("OR mail", Err("Expected a search term at position 0."));
    check_search("AND", Err("Expected a search term at position 0."));
    check_search("(", Err("Expected a search term at position 1."));
    check_search(
        "mail OR",
        Err("OR must be followed by a search term at position 5."),
    );
    check_search(
        "mail OR )",
        Err("OR must be followed by a search term at position 5."),
    );
    check_search(
        "mail AND",
        Err("AND must be followed by a search term at position 5."),
    );
    check_search(
        "mail AND OR x",
        Err("AND must be followed by a search term at position 5."),
    );
    check_search(
        "((((((mail))))))",
        Err("Query nesting exceeds 5 levels at position 5."),
    );
    check_search(&"x".repeat(2_049), Err("Query exceeds 2048 characters."));
    check_search(&"mail ".repeat(129), Err("Query exceeds 128 tokens."));
}

#[track_caller]
fn check_filter(filter: &str, expect: &[usize]) {
    let query = Query::new(filter, "").unwrap_or_else(|error| panic!("{filter}: {error}"));
    assert_eq!(matching(&query, &flowers_tasks()), expect, "{filter}");
}

/// One line per sentence of AIP-160 that has a meaning for tasks.
#[test]
fn filter_follows_aip_160() {
    check_filter("", &[1, 2, 3]);
    // Literals alone match anywhere; beside each other they are ANDed.
    check_filter("mail", &[1, 3]);
    check_filter("mail ross", &[1]);
    check_filter("\"two words\"", &[2]);
    // OR binds tighter than AND.
    check_filter("state = SUCCESS AND mail OR resize", &[2]);
    check_filter("state = RETRY OR state = FAILURE AND name:send", &[1]);
    check_filter("state = RETRY OR (state = FAILURE AND name:send)", &[1, 3]);
    // NOT and - are the same.
    check_filter("NOT mail", &[2]);
    check_filter("-mail", &[2]);
    check_filter("-(state = RETRY OR state = SUCCESS)", &[1]);
    // Comparisons; what is absent equals nothing.
    check_filter("worker = celery@w1", &[1, 3]);
    check_filter("worker != \"celery@w1\"", &[2]);
    check_filter("queue != \"celery\"", &[1, 2, 3]);
    check_filter("name > proj.images.resize", &[1, 3]);
    check_filter("name >= \"proj.mail.read\" name < \"proj.mail.send\"", &[3]);
    check_filter("retries = 0", &[]);
    check_filter("first_seen >= 2023-11-14T22:13:20Z", &[1, 2, 3]);
    check_filter("first_seen > \"2023-11-14T23:13:20+01:00\"", &[]);
    // Equality of strings takes wildcards and regards case.
    check_filter("name = \"*.send\"", &[1]);
    check_filter("name = proj.*.re*", &[2, 3]);
    check_filter("name = proj.Mail*", &[]);
    check_filter("name != *.send", &[2, 3]);
    check_filter(r#"name = "\*.send""#, &[]);
    // Has.
    check_filter("name:MAIL", &[1, 3]);
    check_filter("result:*", &[2, 3]);
    check_filter("-result:*", &[1]);
    check_filter("state:FAIL*", &[1]);
    check_filter("kwargs.id:3", &[1]);
    check_filter("kwargs.id = 31", &[2]);
    check_filter("kwargs.\"to\" != \"bob ross\"", &[2, 3]);
    // The right-hand side takes logical operators.
    check_filter("state = (FAILURE OR RETRY)", &[1, 3]);
    check_filter("name:(mail AND NOT send)", &[3]);
    check_filter("finished = false lost = false", &[1, 2, 3]);
}

#[track_caller]
fn check_error(filter: &str, expect: &str) {
    let error = Query::new(filter, "").expect_err(filter);
    assert_eq!(error.to_string(), expect);
    assert_eq!(error.part, Part::Filter);
}

#[test]
fn a_wrong_filter_says_what_is_wrong_and_what_would_be_right() {
    check_error(
        "mail taskname = x",
        "Unknown field \"taskname\" (known: id, name, state, worker, queue, client, root_id, parent_id, retries, \
         runtime, finished, lost, outcome_unknown, first_seen, last_seen, finish_seen, sent_time, received_time, \
         started_time, args, kwargs, result, exception, traceback) at position 5.",
    );
    check_error(
        "state = failure",
        "Field \"state\" cannot be \"failure\" (expected one of PENDING, RECEIVED, STARTED, SUCCESS, FAILURE, RETRY, \
         REVOKED, REJECTED or another word in upper case) at position 8.",
    );
    check_error(
        "runtime > long",
        "Field \"runtime\" cannot be \"long\" (expected a number of seconds) at position 10.",
    );
    check_error(
        "first_seen > -5m",
        "Field \"first_seen\" cannot be \"-5m\" (expected a time such as \"2026-01-31T10:00:00Z\") at position 13.",
    );
    check_error(
        "lost > true",
        "Field \"lost\" does not take > (it takes = != :) at position 7.",
    );
    check_error(
        "a = (b = c)",
        "Unknown field \"a\" (known: id, name, state, worker, queue, client, root_id, \
         parent_id, retries, runtime, finished, lost, outcome_unknown, first_seen, last_seen, finish_seen, sent_time, \
         received_time, started_time, args, kwargs, result, exception, traceback) at position 0.",
    );
    check_error(
        "name = (b = c)",
        "Expected a value, not a comparison at position 8.",
    );
    check_error("name = \"x", "Unterminated quoted text at position 7.");
    check_error("(mail", "Unexpected end at position 5.");
    check_error("mail)", "Unexpected ')' at position 4.");
    check_error("now()", "Unexpected '(' at position 3.");
    check_error("\"\"", "Empty search text at position 0.");
    check_error(&"x".repeat(2_049), "Filter exceeds 2048 characters.");
    let deep = format!("{}x{}", "(".repeat(33), ")".repeat(33));
    check_error(&deep, "Filter nesting exceeds 32 levels at position 32.");
}

#[test]
fn payload_is_needed_for_payload_fields_and_bare_words_only() {
    let needs = |filter, search| Query::new(filter, search).unwrap().needs_payload();
    assert!(!needs(
        "state = FAILURE AND name:mail OR -lost = true",
        "worker:celery"
    ));
    for filter in [
        "args:x",
        "kwargs.id:3",
        "NOT result:*",
        "exception = x",
        "traceback:y",
        "word",
    ] {
        assert!(needs(filter, ""), "{filter}");
    }
    assert!(needs("", "word"));
    assert!(needs("", "kwargs:id=3"));
}

#[test]
fn the_only_id_is_known() {
    let id = "11111111-0000-4000-8000-000000000001";
    let only = |filter: String| Query::new(&filter, "").unwrap().only_id();
    assert_eq!(only(format!("id = {id}")), Some(TaskId::from(id)));
    assert_eq!(
        only(format!("state = FAILURE id = \"{id}\"")),
        Some(TaskId::from(id))
    );
    assert_eq!(only(format!("state = FAILURE OR id = {id}")), None);
    assert_eq!(only(format!("id != {id}")), None);
}

#[test]
fn workers_are_filtered_by_the_same_language() {
    use crate::state::Worker;
    use crate::state::worker::{ConsumedQueue, EventsMode, Inspection};
    let queue = |name: &str| ConsumedQueue {
        name: name.into(),
        exchange: name.into(),
        exchange_type: "direct".into(),
        routing_key: name.into(),
        max_priority: None,
    };
    let mut worker = Worker::new("celery@w1".into(), 0);
    worker.active = Some(2);
    worker.processed = Some(650);
    worker.sw_ident = Some("py-celery".into());
    worker.sw_ver = Some("5.7.0".into());
    worker.events = EventsMode::On;
    worker.inspection = Some(Box::new(Inspection {
        pool_implementation: Some("celery.concurrency.prefork:TaskPool".into()),
        processes: vec![7, 8],
        queues: Some(vec![queue("celery"), queue("fast")]),
        ..Inspection::default()
    }));
    let check = |filter: &str, expect: bool| {
        assert_eq!(
            WorkerFilter::new(filter).unwrap().matches(&worker),
            expect,
            "{filter}"
        );
    };
    check("status = ONLINE AND events = ON", true);
    check("queue:fast", true);
    check("queue = celery queue = fast", true);
    check("queue != slow", true);
    check("pool = prefork slots >= 2 active < 3 processed = 650", true);
    check("software = \"py-celery 5.7*\"", true);
    check("W1", true);
    check("status = OFFLINE", false);
    let error = WorkerFilter::new("status = ALIVE").unwrap_err();
    assert_eq!(
        error.to_string(),
        "Field \"status\" cannot be \"ALIVE\" (expected one of ONLINE, OFFLINE, SILENT) at position 9."
    );
}

#[test]
fn orders_are_read_and_what_is_absent_comes_last() {
    assert_eq!(
        Order::parse(""),
        Ok(Order {
            field: OrderField::FirstSeen,
            descending: true
        })
    );
    assert_eq!(
        Order::parse("runtime"),
        Ok(Order {
            field: OrderField::Runtime,
            descending: false
        })
    );
    assert_eq!(
        Order::parse(" name  desc "),
        Ok(Order {
            field: OrderField::Name,
            descending: true
        })
    );
    assert_eq!(
        Order::parse("name, state").unwrap_err().to_string(),
        "Unknown field \"name,\" (known: first_seen, last_seen, finish_seen, runtime, name, state, worker) at position 0."
    );
    assert_eq!(
        Order::parse("name down").unwrap_err().to_string(),
        "Expected one field and then desc, asc or nothing at position 0."
    );
    let app = Symbol::from("default");
    for (order_by, expect) in [("runtime asc", [1, 0, 2]), ("runtime desc", [0, 1, 2])] {
        let order = Order::parse(order_by).unwrap();
        let mut tasks = flowers_tasks();
        tasks[0].runtime = Some(3.5);
        tasks[1].runtime = Some(0.5);
        let mut places = [0, 1, 2];
        let at = |index: usize| order.position(&app, &tasks[index]);
        places.sort_by(|left, right| order.compare(&at(*left), &at(*right)));
        assert_eq!(places, expect, "{order_by}");
    }
}
