use std::collections::BTreeMap;

use serde_json::json;

use super::super::*;
use super::{of, reply};

#[test]
fn recorded_stats_are_read() {
    for recorded in of("stats") {
        let (stats, wire) = (recorded.reply.stats().expect("stats"), &recorded.wire);
        let totals: BTreeMap<String, u64> = stats.totals.iter().cloned().collect();
        assert_eq!(json!(totals), wire["total"]);
        assert_eq!(stats.pid, wire["pid"].as_u64());
        assert_eq!(
            stats.clock.map(|clock| clock.to_string()).as_deref(),
            wire["clock"].as_str()
        );
        assert_eq!(stats.uptime_seconds, wire["uptime"].as_f64());
        assert_eq!(stats.prefetch_count, wire["prefetch_count"].as_i64());
        let (pool, wire_pool) = (&stats.pool, &wire["pool"]);
        assert_eq!(
            pool.implementation.as_deref(),
            wire_pool["implementation"].as_str()
        );
        assert_eq!(pool.max_concurrency, wire_pool["max-concurrency"].as_i64());
        assert_eq!(pool.threads, wire_pool["threads"].as_i64());
        assert_eq!(pool.max_tasks_per_child, None);
        if let Some(processes) = wire_pool["processes"].as_array() {
            assert_eq!(json!(pool.processes), wire_pool["processes"]);
            assert_eq!(stats.slots(), Some(processes.len() as u64));
            assert_eq!(
                (pool.soft_timeout_seconds, pool.hard_timeout_seconds),
                (Some(0.0), Some(0.0))
            );
            let (writes, wire) = (pool.writes.as_ref().expect("prefork"), &wire_pool["writes"]);
            assert_eq!(writes.total, wire["total"].as_u64());
            assert_eq!(writes.strategy.as_deref(), Some("fair"));
            assert_eq!(writes.counts.as_deref(), wire["raw"].as_str());
            assert_eq!(writes.inqueues_total, wire["inqueues"]["total"].as_u64());
        } else {
            assert_eq!(stats.slots(), Some(4));
        }
        let on = recorded.reply.hostname == "celery@w3";
        assert_eq!(stats.autoscaler.is_some(), on);
        assert_eq!(
            stats.autoscaler.unwrap_or_default().max,
            wire["autoscaler"]["max"].as_i64()
        );
        let broker = stats.broker.expect("a broker");
        assert_eq!(
            broker.transport.as_deref(),
            wire["broker"]["transport"].as_str()
        );
        assert_eq!(
            broker.virtual_host.as_deref(),
            wire["broker"]["virtual_host"].as_str()
        );
        assert_eq!(broker.port, wire["broker"]["port"].as_u64());
        assert_eq!((broker.tls, broker.transport_options), (Some(false), None));
        let usage = stats.rusage.expect("Linux tells");
        assert_eq!(usage.max_rss, wire["rusage"]["maxrss"].as_i64());
        assert_eq!(usage.user_seconds, wire["rusage"]["utime"].as_f64());
    }
}

/// The shapes of pools that are not recorded, from `celery/concurrency` (solo, gevent) and 4.x.
#[test]
fn stats_of_other_pools_are_read() {
    let stats = |value: &str| reply(value).stats().expect("stats");
    let solo = stats(
        r#"{"total": {}, "pid": 7, "clock": 12, "rusage": "N/A", "pool": {"max-concurrency": 1,
            "processes": [7], "max-tasks-per-child": null, "put-guarded-by-semaphore": true, "timeouts": []}}"#,
    );
    assert_eq!(
        (solo.clock, solo.slots(), solo.rusage),
        (Some(12), Some(1), None)
    );
    assert_eq!(solo.pool.put_guarded_by_semaphore, Some(true));
    let gevent = stats(r#"{"pool": {"max-concurrency": 100}}"#);
    assert_eq!(gevent.slots(), Some(100));
    let nothing = stats("{}");
    assert_eq!((nothing.slots(), nothing), (None, Stats::default()));
    let options = stats(
        r#"{"broker": {"ssl": {"ca_certs": "/ca"}, "transport_options": {"global_keyprefix": "p:",
            "sentinel_kwargs": {"password": "hunter2"}}}}"#,
    )
    .broker
    .expect("a broker");
    assert_eq!(options.tls, Some(true));
    assert_eq!(
        options.transport_options.as_deref(),
        Some(r#"{"global_keyprefix":"p:","sentinel_kwargs":{"password":"********"}}"#)
    );
}
