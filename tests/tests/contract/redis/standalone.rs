//! Redis 7 as it is.

use celeriac_tests::{Proxy, Redis};

use super::{Paved, Server, Way};
use crate::cases::contract;

struct Standalone;

impl Way for Standalone {
    fn pave() -> Paved {
        let redis = Redis::builder().password("right").start();
        let proxy = Proxy::start(redis.address());
        Paved {
            url: redis.url_of(proxy.address(), 0),
            strangers_url: format!("redis://:s3cret@{}/0", proxy.address()),
            options: Vec::new(),
            redis,
            proxy,
            _beside: Box::new(()),
        }
    }
}

contract!(Server<Standalone>);
