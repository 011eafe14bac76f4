use super::*;

const DIGEST: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

fn tokens(text: &str) -> Tokens {
    let table = parse(text).unwrap_or_else(|(line, problem)| panic!("line {line}: {problem}"));
    Tokens(Arc::new(RwLock::new(table)))
}

fn only(names: &[&str]) -> Apps {
    Apps::Only(names.iter().map(|name| (*name).to_owned()).collect())
}

#[test]
fn a_token_has_the_rights_of_its_roles_on_its_apps_and_no_others() {
    // `test` has this digest.
    let text = format!(
        "# people\n\nalice {DIGEST} reader=shop,mail operator=shop # and more\nbob {} metrics,viewer=*",
        "0".repeat(64)
    );
    let tokens = tokens(&text);
    let alice = tokens.bearer("test").expect("she has a line");
    assert_eq!(alice.name(), "alice");
    assert_eq!(alice.apps(Right::Read), only(&["mail", "shop"]));
    assert_eq!(alice.apps(Right::Payload), only(&["mail", "shop"]));
    for right in [Right::Inspect, Right::Tune, Right::Terminate] {
        assert_eq!(alice.apps(right), only(&["shop"]));
    }
    for right in [Right::Ingest, Right::Metrics] {
        assert_eq!(alice.apps(right), Apps::none());
    }
    for other in ["", "tes", "test ", "TEST", DIGEST] {
        assert!(tokens.bearer(other).is_none(), "{other:?}");
    }
    let bob = tokens.find(&[0; 32]).expect("he has a line");
    assert_eq!(bob.apps(Right::Metrics), Apps::All);
    assert_eq!(bob.apps(Right::Payload), Apps::none());
}

#[test]
fn who_is_taken_out_of_the_file_is_nobody_at_the_next_question() {
    let tokens = tokens(&format!("alice {DIGEST} reader=*"));
    let alice = tokens.bearer("test").expect("she has a line");
    let fewer = parse(&format!("alice {DIGEST} viewer=shop")).expect("it is readable");
    *tokens.0.write() = fewer;
    let now = alice.again().expect("she still has a line");
    assert_eq!(now.apps(Right::Payload), Apps::none());
    assert_eq!(now.apps(Right::Read), only(&["shop"]));
    *tokens.0.write() = Table::default();
    assert!(alice.again().is_none());
}

#[test]
fn what_is_wrong_with_a_line_is_said_with_its_number_and_without_its_words() {
    for (line, problem) in [
        ("alice".to_owned(), LineProblem::Words),
        (format!("alice {DIGEST}"), LineProblem::Words),
        ("alice hunter2 reader=*".to_owned(), LineProblem::Digest),
        (
            format!("alice {}g reader=*", &DIGEST[1..]),
            LineProblem::Digest,
        ),
        (format!("alice {DIGEST} reader"), LineProblem::Grant),
        (format!("alice {DIGEST} reader="), LineProblem::Grant),
        (format!("alice {DIGEST} reader=a,*"), LineProblem::Grant),
        (format!("alice {DIGEST} admin=*"), LineProblem::Role),
        (format!("alice {DIGEST} =*"), LineProblem::Role),
        (format!("alice {DIGEST} metrics=shop"), LineProblem::Metrics),
        (format!("älice {DIGEST} reader=*"), LineProblem::Name),
        (
            format!("a {DIGEST} reader=*\nb {DIGEST} viewer=*"),
            LineProblem::Twice,
        ),
    ] {
        let (at, found) = parse(&line).expect_err(&line);
        assert_eq!((at, found), (line.lines().count(), problem), "{line}");
        assert!(!found.to_string().contains("hunter2"));
    }
}

#[test]
fn a_new_token_is_known_by_its_line_and_never_in_it() {
    let roles = [Role::Reader, Role::Operator];
    let new = new_token("alice", &roles, &["shop".to_owned()]).expect("it is made");
    let other = new_token("alice", &roles, &[]).expect("it is made");
    assert_ne!(new.token, other.token);
    assert_eq!(new.token.len(), PREFIX.len() + 64);
    assert!(!new.line.contains(&new.token) && new.line.ends_with("reader,operator=shop"));
    let tokens = tokens(&format!("{}\n{}", new.line, other.line));
    let bearer = tokens.bearer(&new.token).expect("its line is there");
    assert_eq!(bearer.apps(Right::Terminate), only(&["shop"]));
    let bearer = tokens.bearer(&other.token).expect("its line is there");
    assert_eq!(bearer.apps(Right::Payload), Apps::All);
    for (name, apps) in [("a b", vec![]), ("", vec![]), ("a", vec!["x y".to_owned()])] {
        assert!(new_token(name, &roles, &apps).is_err(), "{name} {apps:?}");
    }
}

#[test]
fn every_role_has_a_name_of_its_own_and_no_right_that_it_should_not_have() {
    use clap::ValueEnum as _;
    for role in Role::value_variants() {
        assert_eq!(Role::named(role.as_str()), Some(*role));
        let rights = role.rights();
        let sees_payload = rights.contains(&Right::Payload);
        assert_eq!(sees_payload, *role == Role::Reader);
        assert_eq!(rights.contains(&Right::Terminate), *role == Role::Operator);
        assert_eq!(rights.contains(&Right::Ingest), *role == Role::Inspector);
    }
}
