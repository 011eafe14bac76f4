//! Redis 7 as it is.

use celeriac_tests::Redis;

use super::{Paved, Server, Way};
use crate::cases::contract;

struct Standalone;

impl Way for Standalone {
    fn pave() -> Paved {
        Paved::directly(Redis::builder())
    }
}

contract!(Server<Standalone>);
