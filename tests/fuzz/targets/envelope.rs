//! A message of Redis: opens to the same body whatever was opened before, and what is not JSON becomes JSON.
#![no_main]

use std::cell::RefCell;

use celeriac_inspector::wire::message::{Frame, Opener};
use libfuzzer_sys::fuzz_target;

thread_local! {
    /// One that has seen other messages: it remembers how some ended, and its buffers are used.
    static USED: RefCell<Opener> = RefCell::default();
}

fuzz_target!(|message: &[u8]| {
    let frame = Frame::Envelope(message.to_vec().into());
    let mut new = Opener::default();
    let alone = new.open(&frame);
    USED.with_borrow_mut(|used| assert_eq!(alone, used.open(&frame)));
    if let Err(unreadable) = alone {
        assert!(
            unreadable
                .sample()
                .is_none_or(|sample| sample.chars().count() <= 256)
        );
    }
    let _ = frame.origin();
});
