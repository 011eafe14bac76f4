//! A broker's URL, as a person types it: what is shown of it, or of what is wrong with it, has no password in it.
#![no_main]

use std::error::Error;
use std::fmt::Debug;

use celeriac_inspector::wire::url::{BrokerUrl, ManagementUrl};
use libfuzzer_sys::fuzz_target;

const SECRET: &str = "s3cr3tw0rd";

fuzz_target!(|text: &str| {
    let _ = BrokerUrl::parse(text);
    let _ = ManagementUrl::parse(text);
    // With a password in front of whatever this is.
    let (scheme, rest) = text.split_once("://").unwrap_or(("redis", text));
    let text = format!("{scheme}://user:{SECRET}@{rest}");
    let shown = match BrokerUrl::parse(&text) {
        Ok(url) => format!("{} {url:?}", url.endpoint()),
        Err(error) => all_of(&error),
    };
    assert!(!shown.contains(SECRET), "{shown}");
    let shown = match ManagementUrl::parse(&text) {
        Ok(url) => format!("{url:?}"),
        Err(error) => all_of(&error),
    };
    assert!(!shown.contains(SECRET), "{shown}");
});

/// An error with all that is behind it.
fn all_of<E: Error + Debug>(error: &E) -> String {
    let source = error.source().map(ToString::to_string);
    format!("{error} {source:?} {error:?}")
}
