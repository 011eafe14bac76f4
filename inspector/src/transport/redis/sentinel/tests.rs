use super::*;

fn sentinels(others_min: u64) -> Sentinels {
    let url = BrokerUrl::parse("sentinel://:pw@h:26379/2;sentinel://h2:26380/2").expect("valid");
    let options = SentinelOptions {
        master_name: Some("shop".to_owned()),
        min_other_sentinels: others_min,
        ..SentinelOptions::default()
    };
    Sentinels::of(&url, &options).expect("it names a master")
}

fn master(name: &str, flags: &str) -> Fields {
    let fields = [
        ("name", name),
        ("ip", "10.0.0.3"),
        ("port", "6380"),
        ("flags", flags),
        ("num-other-sentinels", "2"),
    ];
    fields
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
}

#[test]
fn a_master_that_is_up_is_taken_by_its_name() {
    let found = sentinels(2).judge(&[master("mail", "master"), master("shop", "master")]);
    let expected = Address::Tcp {
        host: "10.0.0.3".to_owned(),
        port: 6380,
    };
    assert_eq!(found, Ok(expected));
    // A Sentinel that has just lost its connection to it does not yet say that it is down, and redis-py takes it.
    let found = sentinels(0).judge(&[master("shop", "master,disconnected")]);
    found.expect("it may be up");
}

#[test]
fn what_is_down_or_not_there_is_refused_with_the_reason() {
    for (master, part) in [
        (master("shop", "s_down,master"), "is down (s_down,master)"),
        (master("shop", "s_down,o_down,master"), "is down"),
        (master("shop", "slave"), "is down"),
        (master("mail", "master"), "no master \"shop\", only mail"),
    ] {
        let refused = sentinels(0).judge(&[master]).expect_err(part);
        assert!(refused.contains(part), "{refused}");
    }
    let refused = sentinels(0).judge(&[]).expect_err("it watches none");
    assert!(refused.contains("only none"), "{refused}");
    let refused = sentinels(3).judge(&[master("shop", "master")]);
    let refused = refused.expect_err("two are not three");
    assert!(refused.contains("2 other Sentinels"), "{refused}");
}

#[test]
fn user_and_password_of_the_url_are_for_the_master_only() {
    let sentinels = sentinels(0);
    assert_eq!(sentinels.master.password.as_deref(), Some("pw"));
    assert_eq!(sentinels.master.protocol, Protocol::Redis);
    for sentinel in &sentinels.all {
        assert_eq!((&sentinel.username, &sentinel.password), (&None, &None));
    }
    assert_eq!(
        sentinels.endpoint(),
        "sentinel://h:26379/2;sentinel://h2:26380/2"
    );
}
