//! Stores that earlier versions wrote.

use super::*;
use crate::history::recover::RecoveredApp;

/// As version 2 wrote a task that had custom events: with the identities of these as field 40.
fn as_version_2(task: &Task) -> Vec<u8> {
    let now = minicbor::to_vec(task).unwrap();
    let mut head = minicbor::Decoder::new(&now);
    let fields = head.map().unwrap().unwrap();
    let mut then = minicbor::Encoder::new(Vec::new());
    then.map(fields + 1).unwrap();
    let mut then = then.into_writer();
    then.extend_from_slice(&now[head.position()..]);
    let mut recent = minicbor::Encoder::new(then);
    recent.u8(40).unwrap().encode([1_u64, u64::MAX]).unwrap();
    recent.into_writer()
}

#[test]
fn version_2_knew_custom_events_by_their_task() {
    let mut database = database();
    let (over, running) = (finished(1), unfinished(2));
    database.put("default", std::slice::from_ref(&over));
    let mut commit = database.writer.begin().unwrap();
    commit.put_unfinished("default", &running).unwrap();
    commit.commit().unwrap();
    while database.writer.checkpoint(0).unwrap() {}
    let connection = &database.writer.connection;
    connection
        .execute("UPDATE task SET data = ?1", [as_version_2(&over)])
        .unwrap();
    connection
        .execute("UPDATE unfinished SET data = ?1", [as_version_2(&running)])
        .unwrap();
    connection
        .execute_batch("DROP TABLE told; PRAGMA user_version = 2;")
        .unwrap();

    let mut database = database.reopened();
    let check = |database: &mut Database, told: &[u64]| {
        let [app]: [RecoveredApp; 1] = database.writer.recover().unwrap().apps.try_into().unwrap();
        assert_eq!(app.unfinished, std::slice::from_ref(&running));
        assert_eq!(app.told, told);
        let row = database.writer.load_task("default", &over.id).unwrap();
        assert_eq!(row.as_ref(), Some(&over));
    };
    check(&mut database, &[]);
    let mut commit = database.writer.begin().unwrap();
    commit.put_told("default", &[7, 8]).unwrap();
    commit.commit().unwrap();
    check(&mut database.reopened(), &[7, 8]);
}
