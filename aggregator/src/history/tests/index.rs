//! Ids over more than one generation: before, while and after they are merged, and over restarts.

use super::super::membership::GENERATION;
use super::*;

/// Rows as small as they can be: this test writes many.
fn small(number: u64) -> Task {
    let mut task = Task::new(id(number), START + i64::try_from(number).unwrap());
    task.finish_seen = Some(task.first_seen);
    task
}

#[test]
fn ids_are_found_wherever_they_are() {
    let rows = GENERATION.cast_unsigned() + 6_000;
    let mut database = database();
    let mut next = 0;
    while next < rows {
        let end = (next + 3_000).min(rows);
        database.put("default", &(next..end).map(small).collect::<Vec<_>>());
        next = end;
    }
    assert_eq!(database.writer.meta.indexed, 0, "a generation is being merged");
    let check = |database: &mut Database, what: &str| {
        for number in (0..rows).step_by(997).chain([rows - 1]) {
            let found = database.writer.load_task("default", &id(number)).unwrap();
            assert_eq!(found, Some(small(number)), "{what}: writer, {number}");
        }
        for number in [0, 1_000, 40_000, 65_535, 65_536, rows - 1] {
            let found = database.reader.get("default", &id(number)).unwrap();
            assert_eq!(found, Some(small(number)), "{what}: reader, {number}");
        }
        for number in rows..rows + 500 {
            assert_eq!(database.writer.load_task("default", &id(number)).unwrap(), None);
        }
        assert_eq!(database.writer.load_task("other", &id(1)).unwrap(), None);
        assert_eq!(database.writer.count(), rows);
    };
    check(&mut database, "while merging");
    let mut database = database.reopened();
    check(&mut database, "reopened while merging");
    while database.writer.meta.indexed == 0 {
        // Commits of nothing new: the same row over and over.
        for _ in 0..16 {
            database.put("default", &[small(rows - 1)]);
        }
    }
    check(&mut database, "merged");
    let mut database = database.reopened();
    check(&mut database, "reopened");

    // A merged row is replaced: the task is found in its new place, once.
    let mut again = small(5);
    again.last_seen += 9;
    database.put("default", std::slice::from_ref(&again));
    for _ in 0..2 {
        assert_eq!(database.writer.load_task("default", &id(5)).unwrap().as_ref(), Some(&again));
        assert_eq!(database.reader.get("default", &id(5)).unwrap().as_ref(), Some(&again));
        assert_eq!(database.reader.count().unwrap(), rows);
        database = database.reopened();
    }

    // Retention passes the generation: its ids leave the index.
    let retention = "5000".parse().unwrap();
    while database.writer.sweep(&retention, START, 4_096).unwrap() {}
    assert_eq!(database.writer.count(), 5_000);
    assert_eq!(database.writer.meta.cleaned, GENERATION);
    let count = |sql: &str| -> i64 {
        database.writer.connection.query_row(sql, [], |row| row.get(0)).unwrap()
    };
    assert_eq!(count("SELECT count(*) FROM task_index"), 0);
    assert_eq!(count("SELECT count(*) FROM membership"), 0);
    assert_eq!(count("SELECT min(id) / 32 FROM fact"), GENERATION / 2_048);
    assert_eq!(database.writer.load_task("default", &id(100)).unwrap(), None);
    assert_eq!(database.writer.load_task("default", &id(5)).unwrap().as_ref(), Some(&again));
}
