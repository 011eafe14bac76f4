//! Valkey 8.

use celeriac_inspector::transport::Transport;
use celeriac_tests::Redis;

use super::{Paved, Server, Way, transport};
use crate::cases::contract;

struct Valkey;

impl Way for Valkey {
    fn pave() -> Paved {
        Paved::directly(Redis::builder().valkey())
    }
}

contract!(Server<Valkey>);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_called_by_its_name() {
    let valkey = Valkey::pave();
    let version = transport(&valkey.url, &[]).server_version().await;
    let version = version.expect("it answers");
    let number = version.strip_prefix("valkey ");
    let major = number.and_then(|number| number.split('.').next());
    let major: Option<u32> = major.and_then(|major| major.parse().ok());
    assert!(major >= Some(8), "{version}");
}
