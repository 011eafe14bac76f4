use std::sync::OnceLock;

use hashbrown::HashSet;
use parking_lot::Mutex;
use proptest::prelude::*;

use super::super::{ListQuery, Page};
use super::*;
use crate::query::{Order, OrderField, Position, Query};

/// A database, and the tasks in it with their apps.
type Shared = (Mutex<Database>, Vec<(Symbol, Task)>);

/// Tasks of two apps: three full blocks and a part of one. Some were replaced, some are unfinished.
fn shared() -> &'static Shared {
    static SHARED: OnceLock<Shared> = OnceLock::new();
    SHARED.get_or_init(|| {
        let mut database = database();
        let app = |number: u64| {
            if number.is_multiple_of(4) {
                "shop/web"
            } else {
                "default"
            }
        };
        for batch in (0..TASKS).collect::<Vec<u64>>().chunks(500) {
            let mut commit = database.writer.begin().unwrap();
            for number in batch {
                commit.put_task(app(*number), &varied(*number)).unwrap();
            }
            commit.commit().unwrap();
        }
        let mut tasks: Vec<_> = (0..TASKS)
            .map(|number| (Symbol::from(app(number)), varied(number)))
            .collect();
        for number in (0..TASKS).step_by(331) {
            let at = usize::try_from(number).unwrap();
            tasks[at].1.last_seen += 77_000_000;
            tasks[at].1.state = TaskState::Custom("PROGRESS".into());
            database.put(app(number), std::slice::from_ref(&tasks[at].1));
        }
        (Mutex::new(database), tasks)
    })
}

/// Tasks that share values, lack some, and were not seen in order.
fn varied(number: u64) -> Task {
    let mut task = if number.is_multiple_of(13) {
        unfinished(number)
    } else {
        finished(number)
    };
    task.first_seen =
        START + i64::try_from(number * 2_654_435_761 % 5_000 / 2).unwrap() * 1_000_000;
    if number.is_multiple_of(17) {
        task.name = None;
        task.worker = None;
        task.root_id = None;
        task.started = None;
    }
    if number.is_multiple_of(23) {
        task.id = TaskId::from(format!("my-task-{number}").as_str());
        task.lost = true;
    }
    if number.is_multiple_of(29) {
        task.outcome_unknown = true;
        task.queue = Some("Straße".into());
    }
    task
}

const TASKS: u64 = 6_200;

/// All pages to the end.
fn pages(reader: &Reader, list: ListQuery<'_>) -> Vec<Page> {
    let mut pages: Vec<Page> = Vec::new();
    let mut after: Option<Position> = None;
    loop {
        let page = reader
            .list(&ListQuery {
                after: after.as_ref(),
                ..list
            })
            .unwrap();
        if let (Some(before), Some(next)) = (&after, &page.next) {
            assert!(
                list.order.compare(before, next).is_lt(),
                "{before:?} then {next:?}"
            );
        }
        after.clone_from(&page.next);
        let is_last = page.next.is_none();
        pages.push(page);
        if is_last {
            return pages;
        }
    }
}

fn listed(pages: &[Page]) -> Vec<(Symbol, TaskId)> {
    let tasks = pages.iter().flat_map(|page| &page.tasks);
    tasks
        .map(|(app, task)| (app.clone(), task.id.clone()))
        .collect()
}

/// What a list must give, by looking at every task.
fn expected(
    tasks: &[(Symbol, Task)],
    query: &Query,
    order: Order,
    apps: Option<&[Symbol]>,
) -> Vec<(Symbol, TaskId)> {
    let mut found: Vec<Position> = tasks
        .iter()
        .filter(|(app, task)| query.matches(task) && apps.is_none_or(|apps| apps.contains(app)))
        .map(|(app, task)| order.position(app, task))
        .collect();
    found.sort_by(|left, right| order.compare(left, right));
    found
        .into_iter()
        .map(|position| (position.app, position.id))
        .collect()
}

const ORDERS: [OrderField; 7] = [
    OrderField::FirstSeen,
    OrderField::LastSeen,
    OrderField::FinishSeen,
    OrderField::Runtime,
    OrderField::Name,
    OrderField::State,
    OrderField::Worker,
];

#[test]
fn every_order_gives_every_task_once() {
    let (database, tasks) = shared();
    let reader = database.lock().reader.clone();
    let query = Query::everything();
    for field in ORDERS {
        for descending in [false, true] {
            let order = Order { field, descending };
            let list = ListQuery {
                order,
                limit: 1_000,
                time_max: PATIENT,
                ..ListQuery::new(&query)
            };
            let pages = pages(&reader, list);
            let expect = expected(tasks, &query, order, None);
            assert!(listed(&pages) == expect, "{field:?} {descending}");
            assert_eq!(pages[0].total, TASKS);
        }
    }
}

/// Tasks that came in one message have one time: blocks end and begin with the same.
#[test]
fn tasks_of_one_time_on_both_sides_of_a_block_are_all_there() {
    let mut database = database();
    let tasks: Vec<_> = (0..6_200)
        .map(|number| {
            let mut task = finished(number);
            task.first_seen = START + i64::try_from(number / 100).unwrap();
            (Symbol::from("default"), task)
        })
        .collect();
    let rows: Vec<_> = tasks.iter().map(|(_, task)| task.clone()).collect();
    database.put("default", &rows);
    let query = Query::everything();
    for (limit, descending) in [(50, true), (50, false), (77, true), (1_000, false)] {
        let order = Order {
            field: OrderField::FirstSeen,
            descending,
        };
        let list = ListQuery {
            order,
            limit,
            time_max: PATIENT,
            ..ListQuery::new(&query)
        };
        let pages = pages(&database.reader, list);
        assert!(
            listed(&pages) == expected(&tasks, &query, order, None),
            "{limit} a page, {descending}"
        );
        // The first page passes over blocks that cannot have any of it.
        assert!(pages[0].scanned < 3_000, "{} rows", pages[0].scanned);
    }
}

/// No time at all: each page stops where it first may, and still the list is the same and comes to its end.
#[test]
fn lists_that_run_out_of_time_lose_nothing() {
    let (database, tasks) = shared();
    let reader = database.lock().reader.clone();
    for filter in ["", "state = FAILURE", "result:77"] {
        let query = Query::new(filter, "").unwrap();
        for order_by in [
            "first_seen desc",
            "last_seen asc",
            "finish_seen desc",
            "finish_seen asc",
        ] {
            let order = Order::parse(order_by).unwrap();
            let list = ListQuery {
                order,
                limit: 700,
                time_max: Duration::ZERO,
                ..ListQuery::new(&query)
            };
            let expect = expected(tasks, &query, order, None);
            assert!(
                listed(&pages(&reader, list)) == expect,
                "{filter:?} by {order_by}"
            );
        }
    }
}

#[test]
fn a_long_search_returns_short_pages_and_goes_on() {
    let (database, tasks) = shared();
    let reader = database.lock().reader.clone();
    let query = Query::new("", "kwargs:id=5001 OR kwargs:id=3").unwrap();
    let list = ListQuery {
        decoded_max: 900,
        time_max: PATIENT,
        ..ListQuery::new(&query)
    };
    let pages = pages(&reader, list);
    assert!(pages.len() >= 6, "{} pages", pages.len());
    assert!(pages.iter().all(|page| page.scanned > 0));
    assert_eq!(
        listed(&pages),
        expected(tasks, &query, Order::default(), None)
    );
}

#[test]
fn what_memory_holds_is_left_out() {
    let (database, tasks) = shared();
    let reader = database.lock().reader.clone();
    let query = Query::new("state = SUCCESS", "").unwrap();
    let in_memory: HashSet<TaskId> = tasks
        .iter()
        .map(|(_, task)| task.id.clone())
        .step_by(3)
        .collect();
    let exclude = |_: &Symbol, id: &TaskId| in_memory.contains(id);
    let list = ListQuery {
        exclude: &exclude,
        limit: 333,
        time_max: PATIENT,
        ..ListQuery::new(&query)
    };
    let mut expect = expected(tasks, &query, Order::default(), None);
    expect.retain(|(_, id)| !in_memory.contains(id));
    assert!(listed(&pages(&reader, list)) == expect);
}

#[test]
fn a_task_is_listed_by_its_id_at_once() {
    let (database, tasks) = shared();
    let reader = database.lock().reader.clone();
    for number in [0_usize, 23, 331, 4_000, 6_199] {
        let (app, task) = &tasks[number];
        let query = Query::new(&format!("id = \"{}\"", task.id), "").unwrap();
        let page = reader.list(&ListQuery::new(&query)).unwrap();
        assert_eq!(page.tasks, [(app.clone(), task.clone())]);
        assert_eq!((page.next, page.scanned), (None, 1));
        assert_eq!(reader.get(app, &task.id).unwrap().as_ref(), Some(task));
    }
}

const CONDITIONS: &[&str] = &[
    "state = FAILURE",
    "state != SUCCESS",
    "state = (PROGRESS OR REVOKED)",
    "name = proj.tasks.kind7",
    "name = \"*3\"",
    "name:KIND1",
    "name < proj.tasks.kind2",
    "name:*",
    "worker:worker-1",
    "worker != celery@worker-3",
    "queue = celery",
    "queue:strasse",
    "queue:STRA*E",
    "queue:*",
    "client:web",
    "retries > 1",
    "retries != 0",
    "runtime >= 5.5",
    "runtime < 1s",
    "NOT runtime:*",
    "finished = false",
    "lost = true",
    "outcome_unknown = true",
    "first_seen > 2023-11-14T22:30:00Z",
    "last_seen <= 2023-11-14T22:13:22Z",
    "finish_seen:*",
    "sent_time < 2023-11-14T22:13:21Z",
    "started_time:*",
    "received_time >= 2023-11-14T22:13:24.5Z",
    "id:my-task",
    "id != my-task-23",
    "id = my-task-46",
    "id = MY-TASK-46",
    "id:9e37",
    "root_id:*",
    "root_id = my-root",
    "root_id:9e37",
    "parent_id:*",
    "args:77",
    "kwargs.id:77",
    "exception:*",
    "traceback:nothing",
    "someone",
    "revoked",
    "worker-7",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]
    /// The columns and the tasks themselves say the same.
    #[test]
    fn a_list_gives_what_the_query_matches(
        conditions in prop::collection::vec((prop::sample::select(CONDITIONS), any::<bool>(), any::<bool>()), 1..5),
        field in prop::sample::select(&ORDERS[..]),
        descending: bool,
        one_app: bool,
        limit in 1..3_000_usize,
    ) {
        let mut filter = String::new();
        for (index, (condition, negated, or)) in conditions.iter().enumerate() {
            if index > 0 {
                filter.push_str(if *or { " OR " } else { " AND " });
            }
            filter.push_str(if *negated { "NOT (" } else { "(" });
            filter.push_str(condition);
            filter.push(')');
        }
        let (database, tasks) = shared();
        let reader = database.lock().reader.clone();
        let query = Query::new(&filter, "").unwrap();
        let order = Order { field, descending };
        let apps = one_app.then(|| [Symbol::from("shop/web")]);
        let apps = apps.as_ref().map(<[Symbol; 1]>::as_slice);
        let list = ListQuery { order, apps, limit, time_max: PATIENT, decoded_max: u64::MAX, ..ListQuery::new(&query) };
        let page = reader.list(&list).unwrap();
        let mut expect = expected(tasks, &query, order, apps);
        prop_assert_eq!(page.next.is_none() || expect.len() >= limit, true, "{}", filter);
        expect.truncate(limit);
        prop_assert!(listed(std::slice::from_ref(&page)) == expect, "{}", filter);
    }
}

/// Every workflow by its root: hashes in a column, told apart by the rows.
#[test]
fn a_workflow_is_found_by_its_root() {
    let (database, tasks) = shared();
    let reader = database.lock().reader.clone();
    let query = Query::new(&format!("root_id = {}", id(3_005)), "").unwrap();
    let list = ListQuery {
        time_max: PATIENT,
        ..ListQuery::new(&query)
    };
    let found = listed(&pages(&reader, list));
    assert_eq!(found, expected(tasks, &query, Order::default(), None));
    assert!(found.len() >= 4, "{found:?}");
    // Beside other conditions an id is looked for in the blocks.
    for (asked, least) in [(id(3_005).to_string(), 4), ("my-task-46".to_owned(), 1)] {
        let query = Query::new(&format!("root_id = {asked} OR id = {asked}"), "").unwrap();
        let list = ListQuery {
            time_max: PATIENT,
            ..ListQuery::new(&query)
        };
        let found = listed(&pages(&reader, list));
        assert_eq!(found, expected(tasks, &query, Order::default(), None));
        assert!(found.len() >= least, "{found:?}");
    }
}

/// While pages are read, tasks are added, replaced and deleted.
#[test]
fn pages_are_stable_while_tasks_come_and_go() {
    for (field, descending) in [
        (OrderField::FirstSeen, true),
        (OrderField::Name, false),
        (OrderField::Runtime, true),
    ] {
        let order = Order { field, descending };
        let mut database = database();
        database.put("default", &(0..3_000).map(finished).collect::<Vec<_>>());
        let query = Query::everything();
        let mut seen: Vec<TaskId> = Vec::new();
        let mut after: Option<Position> = None;
        let mut next = 3_000;
        loop {
            let list = ListQuery {
                order,
                after: after.as_ref(),
                limit: 170,
                time_max: PATIENT,
                ..ListQuery::new(&query)
            };
            let page = database.reader.list(&list).unwrap();
            seen.extend(page.tasks.iter().map(|(_, task)| task.id.clone()));
            after = page.next;
            if after.is_none() {
                break;
            }
            if next < 6_000 {
                database.put(
                    "default",
                    &(next..next + 400).map(finished).collect::<Vec<_>>(),
                );
                // Written again as they are: a new row, the same place.
                database.put(
                    "default",
                    &(next / 2..next / 2 + 50).map(finished).collect::<Vec<_>>(),
                );
                next += 400;
            }
            let keep = (next - 200).to_string().parse().unwrap();
            while database.writer.sweep(&keep, START, 1_000).unwrap() {}
        }
        let distinct: HashSet<&TaskId> = seen.iter().collect();
        assert_eq!(distinct.len(), seen.len(), "{field:?}: nothing twice");
        let list = ListQuery {
            limit: 10_000,
            time_max: PATIENT,
            ..ListQuery::new(&query)
        };
        let kept: HashSet<_> = database
            .reader
            .list(&list)
            .unwrap()
            .tasks
            .into_iter()
            .map(|(_, task)| task.id)
            .collect();
        let throughout = (0..3_000).map(id).filter(|id| kept.contains(id));
        let missed: Vec<_> = throughout.filter(|id| !distinct.contains(id)).collect();
        assert!(kept.len() > 2_500, "most are still there");
        assert_eq!(missed, [], "{field:?}: nothing lost");
    }
}
