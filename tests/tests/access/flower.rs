//! Flower's known holes, each tried on ours (`CVE-2022-30034` and what stayed open after it).

use celeriac_tests::product::run_to_end;
use celeriac_tests::turn;

use crate::bed::{Bed, TokenBed, page};

#[test]
fn without_a_mode_or_without_tls_nothing_but_loopback_is_served() {
    let folder = tempfile::tempdir().expect("the temporary folder is writable");
    let tokens = folder.path().join("tokens");
    std::fs::write(&tokens, "").expect("the folder is writable");
    let tokens = tokens.to_str().expect("temporary folders have UTF-8 names");
    let data = folder
        .path()
        .to_str()
        .expect("temporary folders have UTF-8 names");
    for (arguments, says) in [
        (vec!["--listen", "0.0.0.0:0"], "--auth"),
        (vec!["--listen", "[::]:0"], "--auth"),
        (vec!["--listen", "0.0.0.0:0", "--insecure-no-tls"], "--auth"),
        (
            vec![
                "--listen",
                "0.0.0.0:0",
                "--auth",
                "tokens",
                "--tokens-file",
                tokens,
            ],
            "--tls-cert",
        ),
        (vec!["--auth", "tokens"], "--tokens-file"),
        (vec!["--tokens-file", tokens], "--auth tokens"),
    ] {
        let (status, text) = run_to_end(
            "celeriac-aggregator",
            ("CELERIAC_AGGREGATOR_DATA_DIR", data),
            &arguments,
        );
        assert_eq!(status, Some(1), "{arguments:?}: {text}");
        assert!(text.contains(says), "{arguments:?}: {text}");
    }
}

#[tokio::test]
async fn pages_tell_nothing_to_who_has_no_token_wherever_they_come_from() {
    let _turn = turn().await;
    let bed = TokenBed::start(&[]).await;
    // A probe has no token, and learns nothing but that.
    for path in ["/livez", "/readyz"] {
        assert!(page(&bed.bed, path, &[]).starts_with("HTTP/2 200"));
    }
    // Flower 2.2 answers /metrics even with --basic_auth, and anybody by default.
    let wrong = ["--oauth2-bearer", "celeriac_wrong"];
    let basic = ["--user", "me:hunter2"];
    let mut refusals = Vec::new();
    for options in [&[][..], &wrong, &basic] {
        for path in [
            "/metrics",
            "/api/workers",
            "/celeriac.v1.InspectionService/ListApps",
        ] {
            let answer = page(&bed.bed, path, options);
            assert!(answer.starts_with("HTTP/2 401"), "{path}: {answer}");
            refusals.push(without_date(&answer));
        }
    }
    refusals.dedup();
    assert_eq!(refusals.len(), 1, "who tries learns nothing: {refusals:?}");
    assert!(is_ok(&bed.bed, "metrics", bed.token("metrics")));
    assert!(is_ok(&bed.bed, "metrics", bed.token("overseer")));
    for who in ["viewer", "reader", "operator", "inspector"] {
        let answer = page(&bed.bed, "/metrics", &["--oauth2-bearer", bed.token(who)]);
        assert!(answer.starts_with("HTTP/2 403"), "{who}: {answer}");
    }
}

fn is_ok(bed: &Bed, path: &str, token: &str) -> bool {
    page(bed, &format!("/{path}"), &["--oauth2-bearer", token]).starts_with("HTTP/2 200")
}

fn without_date(answer: &str) -> String {
    let lines = answer.lines().filter(|line| !line.starts_with("date:"));
    lines.collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn a_page_of_another_site_commands_nothing_and_may_read_nothing() {
    let _turn = turn().await;
    let bed = TokenBed::start(&[]).await;
    // What passes Flower's check when its API is open: a POST of another site.
    let cross_site = [
        "--request",
        "POST",
        "--header",
        "Origin: https://evil.example",
        "--header",
        "Sec-Fetch-Site: cross-site",
        "--header",
        "Content-Type: application/grpc-web+proto",
        "--data",
        "x",
    ];
    let path = "/celeriac.v1.ControlService/ExecuteCommand";
    let answer = page(&bed.bed, path, &cross_site).to_ascii_lowercase();
    assert!(answer.contains("grpc-status: 16"), "{answer}");
    assert!(!answer.contains("access-control-allow"), "{answer}");
    let preflight = [
        "--request",
        "OPTIONS",
        "--header",
        "Origin: https://evil.example",
        "--header",
        "Access-Control-Request-Headers: authorization",
    ];
    let answer = page(&bed.bed, path, &preflight).to_ascii_lowercase();
    assert!(!answer.contains("access-control-allow"), "{answer}");
    // In no command line: only files and the environment hold tokens.
    for program in ["celeriac", "celeriac-aggregator", "celeriac-inspector"] {
        let (_, help) = run_to_end(program, ("CELERIAC_UNUSED", ""), &["--help"]);
        assert!(
            !help.contains("--token ") && !help.contains("--password"),
            "{help}"
        );
    }
}
