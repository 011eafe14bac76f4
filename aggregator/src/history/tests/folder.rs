use std::os::unix::fs::PermissionsExt;

use super::super::{HistoryCategory, HistoryError};
use super::*;

#[test]
fn the_folder_is_ours_alone() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("data/history");
    let (mut writer, _reader) = History::open(&dir).unwrap();
    let mut commit = writer.begin().unwrap();
    commit.put_task("default", &finished(1)).unwrap();
    commit.commit().unwrap();
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir), 0o700);
    for file in [
        "celeriac.db",
        "celeriac.db-wal",
        "celeriac.db-shm",
        "celeriac.lock",
    ] {
        assert_eq!(mode(&dir.join(file)), 0o600, "{file}");
    }
}

/// The engine's thread takes the writer, blocking calls anywhere take readers.
#[test]
fn both_ends_can_be_sent_to_threads() {
    fn is_send<T: Send>(_: &T) {}
    fn is_shared<T: Send + Sync + Clone>(_: &T) {}
    let database = database();
    is_send(&database.writer);
    is_shared(&database.reader);
}

#[test]
fn a_second_opener_is_refused_until_the_first_is_gone() {
    let database = database();
    let error = History::open(database.dir.path()).unwrap_err();
    assert!(matches!(error, HistoryError::InUse { .. }), "{error}");
    assert!(
        error
            .to_string()
            .contains(&database.dir.path().display().to_string())
    );
    assert_eq!(error.category(), HistoryCategory::Setup);
    database.reopened();
}

#[test]
fn what_is_no_database_of_ours_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("celeriac.db");
    std::fs::write(
        &file,
        "not a database, and long enough to be taken for one. ".repeat(40),
    )
    .unwrap();
    let error = History::open(dir.path()).unwrap_err();
    assert_eq!(error.category(), HistoryCategory::Damaged, "{error}");

    std::fs::remove_file(&file).unwrap();
    let other = rusqlite::Connection::open(&file).unwrap();
    other
        .execute_batch("CREATE TABLE bookmarks (url TEXT)")
        .unwrap();
    drop(other);
    let error = History::open(dir.path()).unwrap_err();
    assert!(matches!(error, HistoryError::Foreign { .. }), "{error}");

    std::fs::remove_file(&file).unwrap();
    drop(History::open(dir.path()).unwrap());
    let newer = rusqlite::Connection::open(&file).unwrap();
    newer.pragma_update(None, "user_version", 99).unwrap();
    drop(newer);
    let error = History::open(dir.path()).unwrap_err();
    assert!(
        matches!(
            error,
            HistoryError::Newer {
                found: 99,
                known: 3,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn damage_is_told_as_such() {
    let mut database = database();
    database.put("default", &[finished(1)]);
    database
        .writer
        .connection
        .execute("UPDATE task SET data = x'00'", [])
        .unwrap();
    let error = database.reader.get("default", &id(1)).unwrap_err();
    assert_eq!(error.category(), HistoryCategory::Damaged, "{error}");
}

/// `max_page_count` makes SQLite say "full" as a full disk does.
#[test]
fn a_full_disk_changes_nothing_and_passes() {
    let mut database = database();
    let first: Vec<_> = (0..10).map(finished).collect();
    database.put("default", &first);
    let pages: i64 = database
        .writer
        .connection
        .query_row("PRAGMA page_count", [], |row| row.get(0))
        .unwrap();
    let limit = |database: &Database, pages: i64| {
        let sql = format!("PRAGMA max_page_count = {pages}");
        database
            .writer
            .connection
            .query_row(&sql, [], |_| Ok(()))
            .unwrap();
    };
    limit(&database, pages + 20);

    let many: Vec<_> = (10..3_000).map(finished).collect();
    let mut commit = database.writer.begin().unwrap();
    let written = many
        .iter()
        .try_for_each(|task| {
            commit.put_unfinished("other", &unfinished(1))?;
            commit.put_task("other", task)
        })
        .and_then(|()| commit.commit());
    let error = written.unwrap_err();
    assert_eq!(error.category(), HistoryCategory::Full, "{error}");
    assert_eq!(database.reader.count().unwrap(), 10);
    assert_eq!(database.writer.load_task("other", &id(10)).unwrap(), None);

    limit(&database, 1_000_000);
    database.put("other", &many);
    let mut database = database.reopened();
    let apps = database.writer.recover().unwrap().apps;
    assert!(apps.iter().all(|app| app.unfinished.is_empty()));
    for task in first
        .iter()
        .map(|task| ("default", task))
        .chain(many.iter().map(|task| ("other", task)))
    {
        assert_eq!(
            database
                .writer
                .load_task(task.0, &task.1.id)
                .unwrap()
                .as_ref(),
            Some(task.1)
        );
    }
}
