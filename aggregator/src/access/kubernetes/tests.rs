use super::*;

#[test]
fn only_a_token_for_our_audience_is_somebodys() {
    let good = json!({"authenticated": true, "audiences": ["celeriac"], "user": {"username": "a"}});
    assert!(is_ours(&good, "celeriac"));
    for (what, bad) in [
        (
            "another audience",
            json!({"authenticated": true, "audiences": ["api"], "user": {"username": "a"}}),
        ),
        (
            "no audience",
            json!({"authenticated": true, "user": {"username": "a"}}),
        ),
        (
            "nobody",
            json!({"authenticated": true, "audiences": ["celeriac"]}),
        ),
        (
            "not authenticated",
            json!({"audiences": ["celeriac"], "user": {"username": "a"}}),
        ),
        (
            "a word",
            json!({"authenticated": "true", "audiences": ["celeriac"], "user": {"username": "a"}}),
        ),
        ("nothing", Value::Null),
    ] {
        assert!(!is_ours(&bad, "celeriac"), "{what}");
    }
}

#[test]
fn only_names_of_kubernetes_are_asked_about_by_name() {
    assert_eq!(namespaced("team-a/shop"), Some(("team-a", "shop")));
    // An empty namespace would be all of them.
    for other in [
        "default",
        "/shop",
        "team-a/",
        "a/b/c",
        "Team/shop",
        "a /b",
        "*/shop",
        "",
    ] {
        assert_eq!(namespaced(other), None, "{other}");
    }
}

#[test]
fn a_pod_sees_the_worker_that_runs_in_it_and_no_other() {
    let user = |name: &str, pods: Value| User {
        facts: json!({
            "username": name,
            "extra": {"authentication.kubernetes.io/pod-name": pods},
        }),
        digest: reread::digest(&[]),
    };
    let own = user("system:serviceaccount:team:default", json!(["mail-1"]));
    assert!(own.runs("team/shop", "celery@mail-1"));
    for (app, worker) in [
        ("team/shop", "celery@mail-2"),
        ("team/shop", "mail-1"),
        ("team/shop", ""),
        ("other/shop", "celery@mail-1"),
        ("shop", "celery@mail-1"),
        ("", "celery@mail-1"),
    ] {
        assert!(!own.runs(app, worker), "{app} {worker}");
    }
    for (name, pods) in [
        ("system:serviceaccount:other:default", json!(["mail-1"])),
        ("a person", json!(["mail-1"])),
        ("system:serviceaccount:team:default", json!([])),
        ("system:serviceaccount:team:default", json!(["mail-1", "b"])),
        ("system:serviceaccount:team:default", Value::Null),
    ] {
        let other = user(name, pods);
        assert!(!other.runs("team/shop", "celery@mail-1"), "{other:?}");
    }
}

#[test]
fn each_right_is_a_question_of_its_own() {
    let user = json!({"username": "a", "uid": "u", "groups": ["g"], "extra": {"k": ["v"]}});
    let mut asked = std::collections::BTreeSet::new();
    for right in Right::ALL {
        let spec = access_spec(&user, right, Some("team/shop"));
        assert_eq!(
            (&spec["user"], &spec["groups"]),
            (&json!("a"), &json!(["g"]))
        );
        assert_eq!(spec["extra"], json!({"k": ["v"]}));
        if right != Right::Metrics {
            let attributes = &spec["resourceAttributes"];
            assert_eq!(attributes["namespace"], "team");
            assert_eq!(attributes["name"], "shop");
            assert_eq!(attributes["group"], "inspect.celeriac.dev");
        }
        assert!(asked.insert(spec.to_string()), "{right:?}");
    }
    let all = access_spec(&user, Right::Read, None);
    assert_eq!(all["resourceAttributes"]["namespace"], "");
}

#[test]
fn an_inspector_is_of_the_app_that_its_account_is_named_for() {
    let user = |name: &str, group: &str| User {
        facts: json!({"username": name, "groups": ["system:serviceaccounts", group]}),
        digest: Digest::default(),
    };
    let (name, group) = (
        "system:serviceaccount:team:shop-inspector",
        "system:serviceaccounts:team",
    );
    assert!(user(name, group).inspects("team/shop"));
    for app in [
        "team/mail",
        "other/shop",
        "team/shop-inspector",
        "shop",
        "/shop",
        "",
    ] {
        assert!(!user(name, group).inspects(app), "{app}");
    }
    // A user who is only called so is no account of the namespace.
    assert!(!user(name, "people").inspects("team/shop"));
    assert!(!user("shop-inspector", group).inspects("team/shop"));
}
