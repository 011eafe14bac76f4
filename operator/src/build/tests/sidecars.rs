//! The sidecars of a pool: which ones it has, what they may, and when they change.

use serde_json::{Value, json};

use super::{guard, owner};
use crate::build::inspector::Inspection;
use crate::build::{sidecar, worker};
use crate::crd::CeleryWorkerSpec;
use crate::validate;

fn spec(options: &Value) -> CeleryWorkerSpec {
    let mut spec = json!({
        "image": "x:1", "appName": "shop", "broker": {"address": "redis://redis/0"},
        "celeryRef": {"name": "shop"},
    });
    for (name, value) in options.as_object().unwrap() {
        spec[name] = value.clone();
    }
    serde_json::from_value(spec).unwrap()
}

/// An operator of this version.
fn version(version: &str) -> Inspection {
    Inspection {
        aggregator: "https://aggregator:5555".to_owned(),
        image: format!("celeriac/inspector:{version}"),
        authority: None,
        audience: None,
    }
}

/// What a pool's pods are made of, beside their sidecars.
fn digest(spec: &CeleryWorkerSpec, refresh: Option<&str>) -> String {
    let valid = validate::pool(&spec.options, None);
    let bare = worker::deployment(&owner("CeleryWorker", "pool"), spec, &valid, None);
    sidecar::digest(&bare, spec, refresh)
}

/// The image of the sidecars that a pool has after those of `before`, by an operator of this version.
fn image(
    by: Option<&str>,
    options: &Value,
    refresh: Option<&str>,
    before: sidecar::Before,
) -> Option<String> {
    let spec = spec(options);
    let inspection = by.map(version);
    let digest = digest(&spec, refresh);
    let pin = sidecar::pin(&spec, inspection.as_ref(), &digest, before);
    pin.map(|pin| pin.image)
}

#[test]
fn an_upgrade_of_the_operator_alone_changes_no_sidecar() {
    let new = sidecar::Before::default();
    let old = spec(&json!({}));
    let known = digest(&old, None);
    let pin = sidecar::pin(&old, Some(&version("1")), &known, new);
    let pin = pin.expect("a new pool has sidecars");
    let before = sidecar::Before {
        built: true,
        digest: Some(&known),
        pin: Some(&pin),
    };
    let kept = Some("celeriac/inspector:1");
    for same in [
        json!({}),
        json!({"replicas": 7}),
        json!({"scaling": {"mode": "external"}}),
        json!({"disruptionBudget": {"enabled": false}}),
    ] {
        for by in [Some("2"), None] {
            let found = image(by, &same, None, before);
            assert_eq!(found.as_deref(), kept, "{by:?} {same}");
        }
    }
    let moved = Some("celeriac/inspector:2");
    for other in [
        json!({"image": "x:2"}),
        json!({"timeLimit": 30}),
        json!({"sidecar": {"env": [{"name": "A", "value": "b"}]}}),
    ] {
        let found = image(Some("2"), &other, None, before);
        assert_eq!(found.as_deref(), moved, "{other}");
    }
    assert_eq!(
        image(Some("2"), &json!({}), Some("now"), before).as_deref(),
        moved
    );
    let own = json!({"sidecar": {"image": "own:1"}});
    assert_eq!(
        image(Some("2"), &own, None, before).as_deref(),
        Some("own:1")
    );
    let without = json!({"sidecar": {"enabled": false}});
    assert_eq!(image(Some("2"), &without, None, before), None);
}

#[test]
fn a_pool_that_was_built_without_sidecars_gets_them_with_its_next_change() {
    let known = digest(&spec(&json!({})), None);
    for before in [
        // By an operator that knew none.
        sidecar::Before {
            built: true,
            ..sidecar::Before::default()
        },
        // By one that knew no aggregator.
        sidecar::Before {
            built: true,
            digest: Some(&known),
            pin: None,
        },
    ] {
        assert_eq!(
            image(Some("1"), &json!({}), None, before),
            None,
            "{before:?}"
        );
    }
    let known = sidecar::Before {
        built: true,
        digest: Some(&known),
        pin: None,
    };
    for (options, refresh) in [(json!({"image": "x:2"}), None), (json!({}), Some("now"))] {
        assert!(image(Some("1"), &options, refresh, known).is_some());
    }
}

#[test]
fn there_are_sidecars_where_somebody_can_tell_them_of_workers() {
    let new = sidecar::Before::default();
    assert!(image(Some("1"), &json!({}), None, new).is_some());
    assert!(image(None, &json!({}), None, new).is_none());
    for without in [
        json!({"celeryRef": null}),
        json!({"sidecar": {"enabled": false}}),
    ] {
        assert!(image(Some("1"), &without, None, new).is_none(), "{without}");
    }
}

#[test]
fn a_sidecar_may_no_more_than_the_restricted_standard_and_has_its_resources() {
    let container = |options: &Value| {
        let spec = spec(options);
        let valid = validate::pool(&spec.options, None);
        let owner = owner("CeleryWorker", "pool");
        let mut deployment = worker::deployment(&owner, &spec, &valid, Some(&guard()));
        deployment.body["spec"]["template"]["spec"]["initContainers"][0].take()
    };
    let usual = container(&json!({}));
    assert_eq!(
        usual["securityContext"],
        json!({
            "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}, "readOnlyRootFilesystem": true,
        })
    );
    assert_eq!(usual["resources"]["requests"]["cpu"], "10m");
    let own = json!({"sidecar": {"resources": {"limits": {"memory": "32Mi"}}}});
    let own = container(&own);
    assert_eq!(own["resources"], json!({"limits": {"memory": "32Mi"}}));
}

#[test]
fn a_sidecar_trusts_and_is_known_as_the_inspector_is_and_the_worker_has_no_token() {
    let mut guard = guard();
    guard.pin.authority = Some("PEM".to_owned());
    guard.pin.audience = Some("celeriac".to_owned());
    let spec = spec(&json!({}));
    let valid = validate::pool(&spec.options, None);
    let owner = owner("CeleryWorker", "pool");
    let deployment = worker::deployment(&owner, &spec, &valid, Some(&guard));
    let template = &deployment.body["spec"]["template"];
    let pod = &template["spec"];
    assert_eq!(
        template["metadata"]["annotations"]["celeriac.dev/aggregator-ca"],
        "PEM"
    );
    assert_eq!(pod["automountServiceAccountToken"], false);
    let volumes = pod["volumes"].as_array().unwrap();
    let tokens: Vec<&Value> = volumes
        .iter()
        .filter_map(|volume| volume["projected"]["sources"][0].get("serviceAccountToken"))
        .collect();
    assert_eq!(tokens.len(), 1, "{volumes:?}");
    assert_eq!(tokens[0]["audience"], "celeriac");
    let mounts = pod["initContainers"][0]["volumeMounts"].as_array().unwrap();
    assert_eq!(mounts.len(), 2);
    assert!(pod["containers"][0].get("volumeMounts").is_none());
}

#[test]
fn a_drain_ends_half_a_minute_before_the_grace_period() {
    for (grace, deadline) in [(3_600, "3570s"), (90, "60s"), (40, "20s"), (0, "1s")] {
        let spec = spec(&json!({"terminationGracePeriodSeconds": grace}));
        let valid = validate::pool(&spec.options, None);
        let owner = owner("CeleryWorker", "pool");
        let deployment = worker::deployment(&owner, &spec, &valid, Some(&guard()));
        let sidecar = &deployment.body["spec"]["template"]["spec"]["initContainers"][0];
        let env = sidecar["env"].as_array().unwrap();
        let found = env
            .iter()
            .find(|one| one["name"] == "CELERIAC_INSPECTOR_DRAIN_DEADLINE");
        assert_eq!(found.unwrap()["value"], deadline, "{grace}");
    }
}
