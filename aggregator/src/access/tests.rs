use super::*;

fn only(names: &[&str]) -> Apps {
    Apps::Only(names.iter().map(|name| (*name).to_owned()).collect())
}

#[test]
fn payloads_are_seen_only_of_apps_that_are_seen() {
    let sight = Sight {
        apps: only(&["shop", "mail"]),
        payload: only(&["shop", "bank"]),
    };
    assert!(sight.sees("mail") && !sight.sees_payload("mail"));
    assert!(sight.sees_payload("shop"));
    assert!(!sight.sees("bank") && !sight.sees_payload("bank"));
}

#[test]
fn a_query_by_payload_needs_the_payloads_of_all_that_is_seen() {
    for (apps, payload, allowed) in [
        (Apps::All, Apps::All, true),
        (only(&["a"]), Apps::All, true),
        (only(&["a"]), only(&["a", "b"]), true),
        (Apps::All, only(&["a"]), false),
        (only(&["a", "b"]), only(&["a"]), false),
        (only(&["a"]), Apps::none(), false),
    ] {
        let sight = Sight { apps, payload };
        assert_eq!(sight.require_payload("").is_ok(), allowed, "{sight:?}");
    }
}

#[test]
fn a_refusal_names_the_right_and_the_app_that_were_asked_for() {
    let status = denied(Right::Payload, Some("shop"));
    assert_eq!(status.code(), Code::PermissionDenied);
    assert_eq!(
        status.message(),
        r#"the right "payload" on app "shop" is needed"#
    );
    let details = status.get_error_details();
    let info = details.error_info().expect("it is told to programs too");
    assert_eq!(info.reason, "RIGHT_MISSING");
    assert_eq!(info.metadata["app"], "shop");
}

#[tokio::test]
async fn whoever_comes_around_the_layer_is_nobody() {
    let status = Caller::of(&tonic::Request::new(())).expect_err("nobody was put in");
    assert_eq!(status.code(), Code::Unauthenticated);
    let open = Access::open()
        .authenticate(None)
        .await
        .expect("open to all");
    assert_eq!(open.principal(), "");
    for right in Right::ALL {
        assert!(open.has(right, None).await.expect("it is known"));
    }
}
