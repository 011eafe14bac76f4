use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::{ListQuery, Retention};
use super::*;
use crate::query::Query;

fn all(database: &Database) -> Vec<TaskId> {
    let query = Query::everything();
    let list = ListQuery {
        limit: 10_000,
        time_max: PATIENT,
        ..ListQuery::new(&query)
    };
    let page = database.reader.list(&list).unwrap();
    assert_eq!(page.next, None);
    page.tasks.into_iter().map(|(_, task)| task.id).collect()
}

fn sweep(database: &mut Database, retention: &str, now: i64, slice: usize) -> usize {
    let retention: Retention = retention.parse().unwrap();
    let mut slices = 1;
    while database.writer.sweep(&retention, now, slice).unwrap() {
        slices += 1;
        assert!(slices < 10_000, "retention never ends");
    }
    slices
}

#[test]
fn the_newest_stay() {
    let mut database = database();
    database.put("default", &(0..5_000).map(finished).collect::<Vec<_>>());
    assert!(
        sweep(&mut database, "1000", START, 300) > 10,
        "bounded slices"
    );
    let expect: Vec<_> = (4_000..5_000).rev().map(id).collect();
    assert_eq!(all(&database), expect);
    assert_eq!(database.writer.count(), 1_000);
    let mut database = database.reopened();
    assert_eq!(all(&database), expect);
    sweep(&mut database, "10", START, 300);
    assert_eq!(
        all(&database),
        (4_990..5_000).rev().map(id).collect::<Vec<_>>()
    );
    sweep(&mut database, "off", START, 300);
    assert_eq!(database.writer.count(), 10);
    // Rows that went before their block was full do not confuse it.
    let mut database = database.reopened();
    database.put("default", &(5_000..8_000).map(finished).collect::<Vec<_>>());
    assert_eq!(
        all(&database),
        (4_990..8_000).rev().map(id).collect::<Vec<_>>()
    );
    for number in [4_990, 4_999, 5_000, 7_999] {
        assert_eq!(
            database.writer.load_task("default", &id(number)).unwrap(),
            Some(finished(number))
        );
    }
    assert_eq!(
        database.writer.load_task("default", &id(4_989)).unwrap(),
        None
    );
}

#[test]
fn the_old_go() {
    let mut database = database();
    // One a millisecond; 3,000 are older than a second at 4 seconds.
    database.put("default", &(0..4_000).map(finished).collect::<Vec<_>>());
    let now = START + 4_000_000 + 50_000;
    sweep(&mut database, "1s", now, 700);
    assert_eq!(
        all(&database),
        (3_000..4_000).rev().map(id).collect::<Vec<_>>()
    );
    sweep(&mut database, "1s", now + 10_000_000, 700);
    assert_eq!(all(&database), []);
    assert_eq!(database.reader.count().unwrap(), 0);
    let mut database = database.reopened();
    database.put("default", &[finished(1)]);
    assert_eq!(all(&database), [id(1)]);
}

#[test]
fn unfinished_tasks_stay_whatever_their_age() {
    let mut database = database();
    let mut tasks: Vec<_> = (0..2_500).map(finished).collect();
    for number in [0, 1, 700, 2_200] {
        tasks[number] = unfinished(number as u64);
    }
    database.put("default", &tasks);
    assert_eq!(
        sweep(&mut database, "1", START, 100),
        sweep_count(2_500, 100)
    );
    let expect: Vec<_> = [2_499, 2_200, 700, 1, 0].map(id).to_vec();
    assert_eq!(all(&database), expect);
    sweep(&mut database, "1s", START + 100_000_000, 100);
    assert_eq!(all(&database), expect[1..]);
    // Nothing finished is left to delete, so nothing moves any more.
    assert_eq!(sweep(&mut database, "1s,1", START + 100_000_000, 100), 1);
    let mut database = database.reopened();
    database.put("default", &[finished(700)]);
    sweep(&mut database, "1s", START + 100_000_000, 100);
    assert_eq!(all(&database), [2_200, 1, 0].map(id));
    assert_eq!(
        database.writer.load_task("default", &id(1)).unwrap(),
        Some(unfinished(1))
    );
}

/// Slices of so many rows over so many, with one more that finds nothing to do.
fn sweep_count(rows: usize, slice: usize) -> usize {
    rows.div_ceil(slice)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    /// Finished tasks go in the order in which they were written last, and no more than asked.
    #[test]
    fn retention_keeps_what_it_should(
        writes in prop::collection::vec((0..400_u64, any::<bool>()), 1..900),
        keep in 1..300_usize,
        slice in 1..500_usize,
        reopen: bool,
    ) {
        let mut database = database();
        let mut order: BTreeMap<usize, (u64, bool)> = BTreeMap::new();
        for (at, batch) in writes.chunks(60).enumerate() {
            let tasks: Vec<_> = batch.iter().map(|(number, end)| if *end { finished(*number) } else { unfinished(*number) }).collect();
            database.put("default", &tasks);
            for (offset, (number, end)) in batch.iter().enumerate() {
                // A row that is in no block yet keeps its place.
                let old = order.iter().find(|(_, (it, _))| it == number).map(|(place, _)| *place);
                order.insert(old.unwrap_or(at * 60 + offset), (*number, *end));
            }
        }
        if reopen {
            database = database.reopened();
        }
        sweep(&mut database, &keep.to_string(), START, slice);
        let done: Vec<u64> = order.values().filter(|(_, end)| *end).map(|(number, _)| *number).collect();
        let mut expect: Vec<u64> = done[done.len().saturating_sub(keep)..].to_vec();
        expect.extend(order.values().filter(|(_, end)| !*end).map(|(number, _)| *number));
        expect.sort_unstable_by(|left, right| right.cmp(left));
        let expect: Vec<_> = expect.into_iter().map(id).collect();
        prop_assert_eq!(all(&database), expect);
    }
}
