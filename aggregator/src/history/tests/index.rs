//! Ids over more than one generation: before, while and after they are merged, and over restarts.

use super::super::membership::GENERATION;
use super::*;

const ROWS: u64 = GENERATION.cast_unsigned() + 6_000;

/// Rows as small as they can be: these tests write many.
fn small(number: u64) -> Task {
    let mut task = Task::new(id(number), START + i64::try_from(number).unwrap());
    task.finish_seen = Some(task.first_seen);
    task
}

/// A generation is full, and some of it is merged.
fn merging() -> Database {
    let mut database = database();
    let numbers: Vec<u64> = (0..ROWS).collect();
    for some in numbers.chunks(3_000) {
        database.put(
            "default",
            &some.iter().copied().map(small).collect::<Vec<_>>(),
        );
    }
    assert_eq!(database.writer.meta.indexed, 0, "it is not merged yet");
    assert!(
        count(&database, "SELECT count(*) FROM task_index") > 0,
        "some of it is"
    );
    database
}

/// A generation is merged.
fn merged() -> Database {
    let mut database = merging();
    while database.writer.meta.indexed == 0 {
        // Commits of nothing new: the same row over and over.
        database.put("default", &[small(ROWS - 1)]);
    }
    assert_eq!(
        count(&database, "SELECT count(*) FROM task_index"),
        GENERATION
    );
    database
}

fn count(database: &Database, sql: &str) -> i64 {
    database
        .writer
        .connection
        .query_row(sql, [], |row| row.get(0))
        .unwrap()
}

#[track_caller]
fn check(database: &mut Database) {
    for number in (0..ROWS).step_by(997).chain([ROWS - 1]) {
        let found = database.writer.load_task("default", &id(number)).unwrap();
        assert_eq!(found, Some(small(number)));
    }
    for number in [0, 1_000, 40_000, 65_535, 65_536, ROWS - 1] {
        assert_eq!(
            database.reader.get("default", &id(number)).unwrap(),
            Some(small(number))
        );
    }
    for number in ROWS..ROWS + 500 {
        assert_eq!(
            database.writer.load_task("default", &id(number)).unwrap(),
            None
        );
    }
    assert_eq!(database.reader.get("default", &id(ROWS)).unwrap(), None);
    assert_eq!(database.writer.load_task("other", &id(1)).unwrap(), None);
    assert_eq!(database.writer.count(), ROWS);
}

#[test]
fn ids_are_found_while_they_are_merged() {
    let mut database = merging();
    check(&mut database);
    check(&mut database.reopened());
}

#[test]
fn ids_are_found_once_they_are_merged() {
    let mut database = merged();
    check(&mut database);
    let mut database = database.reopened();
    check(&mut database);

    // A merged row is replaced: the task is found in its new place, once.
    let mut again = small(5);
    again.last_seen += 9;
    database.put("default", std::slice::from_ref(&again));
    for _ in 0..2 {
        assert_eq!(
            database
                .writer
                .load_task("default", &id(5))
                .unwrap()
                .as_ref(),
            Some(&again)
        );
        assert_eq!(
            database.reader.get("default", &id(5)).unwrap().as_ref(),
            Some(&again)
        );
        assert_eq!(database.reader.count().unwrap(), ROWS);
        database = database.reopened();
    }
}

#[test]
fn retention_takes_ids_out_of_the_index() {
    let mut database = merged();
    let retention = "5000".parse().unwrap();
    while database.writer.sweep(&retention, START, 4_096).unwrap() {}
    assert_eq!(database.writer.count(), 5_000);
    assert_eq!(database.writer.meta.cleaned, GENERATION);
    assert_eq!(count(&database, "SELECT count(*) FROM task_index"), 0);
    assert_eq!(count(&database, "SELECT count(*) FROM membership"), 0);
    assert_eq!(
        count(&database, "SELECT min(id) / 32 FROM fact"),
        GENERATION / 2_048
    );
    assert_eq!(
        database.writer.load_task("default", &id(100)).unwrap(),
        None
    );
    let kept = ROWS - 5_000;
    for number in [kept, ROWS - 1] {
        assert_eq!(
            database.writer.load_task("default", &id(number)).unwrap(),
            Some(small(number))
        );
    }
    assert_eq!(
        database.writer.load_task("default", &id(kept - 1)).unwrap(),
        None
    );
}
