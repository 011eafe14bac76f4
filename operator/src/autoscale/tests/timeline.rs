//! A pool in a script: it does at once what is decided, and its pods do what the script says.

use std::fmt::Write as _;
use std::num::NonZeroU32;
use std::time::Duration;

use super::super::{
    DOWN_WINDOW, Decision, Demand, Freshness, History, Load, Member, Policy, Presence, Rate,
    Replicas, ServiceTime, Share, decide,
};

/// What happens in a script, second by second, and what was decided, one line for each decision that is another one.
pub(super) fn run(script: &str) -> String {
    let mut lines = script
        .lines()
        .filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    let mut pool = Pool::new();
    pool.set(
        lines
            .next()
            .and_then(|line| line.strip_prefix("pool "))
            .expect("the first line is `pool …`"),
    );
    let mut steps = lines
        .map(|line| {
            let line = line.strip_prefix("at ").expect("`at m:ss …`");
            let (time, what) = line.split_once(' ').unwrap_or((line, ""));
            (seconds_of(time), what)
        })
        .peekable();
    let mut out = String::new();
    let mut last = None;
    let mut now = 0;
    while steps.peek().is_some() {
        while let Some((_, what)) = steps.next_if(|(at, _)| *at <= now) {
            pool.now = now;
            pool.set(what);
        }
        pool.now = now;
        pool.live();
        let before = pool.current;
        let decision = pool.decide();
        let words: Vec<&str> = decision
            .reasons
            .iter()
            .map(super::super::Reason::word)
            .collect();
        let shown = (decision.replicas, decision.retire.clone(), words);
        if last.as_ref() != Some(&shown) {
            out.push_str(&line(now, before, &decision));
            last = Some(shown);
        }
        pool.act(&decision);
        now += 1;
    }
    out
}

fn line(now: u64, before: u32, decision: &Decision) -> String {
    let mut line = format!("{}:{:02} ", now / 60, now % 60);
    match decision.replicas {
        after if after == before => write!(line, "{before}"),
        after => write!(line, "{before}→{after}"),
    }
    .unwrap();
    if !decision.retire.is_empty() {
        write!(line, " retire {}", decision.retire.join(" ")).unwrap();
    }
    if decision.frozen {
        line.push_str(" frozen");
    }
    let reasons: Vec<String> = decision.reasons.iter().map(ToString::to_string).collect();
    format!("{line}: {}\n", reasons.join("; "))
}

fn seconds_of(time: &str) -> u64 {
    let (minutes, seconds) = time.split_once(':').expect("m:ss");
    minutes.parse::<u64>().unwrap() * 60 + seconds.parse::<u64>().unwrap()
}

struct Pod {
    number: u32,
    ready_at: u64,
    draining: Option<u64>,
    undone: bool,
    unknown: bool,
    load: Load,
}

struct Pool {
    now: u64,
    policy: Policy,
    demand: Demand,
    history: History,
    current: u32,
    frozen: bool,
    pods: Vec<Pod>,
    made: u32,
    /// Tasks that run in those that stay; without it each runs what the script says of it.
    active: Option<u64>,
}

impl Pool {
    fn new() -> Self {
        Self {
            now: 0,
            policy: Policy {
                min: 0,
                max: 10,
                target_latency: Duration::from_secs(30),
                start_time: Duration::from_secs(10),
                slots_per_replica: NonZeroU32::MIN,
                share: Share::WHOLE,
                paused: false,
                dry_run: false,
                drains: true,
            },
            demand: Demand {
                freshness: Freshness::Fresh,
                ready: 0,
                unacked: Some(0),
                oldest_age: None,
                arrivals: None,
                arrivals_now: None,
                service_time: None,
                running_age: None,
            },
            history: History::new(Duration::ZERO, DOWN_WINDOW),
            current: 0,
            frozen: false,
            pods: Vec::new(),
            made: 0,
            active: None,
        }
    }

    /// Takes `name=value` and words of one line.
    fn set(&mut self, what: &str) {
        for word in what.split_whitespace() {
            let (name, value) = word.split_once('=').unwrap_or((word, ""));
            let number = || value.parse::<u32>().unwrap_or_else(|_| panic!("{word}"));
            let decimal = || value.trim_end_matches('s').parse::<f64>().ok();
            let span = || decimal().map(Duration::from_secs_f64);
            match name {
                "min" => self.policy.min = number(),
                "max" => self.policy.max = number(),
                "slots" => self.policy.slots_per_replica = NonZeroU32::new(number()).unwrap(),
                "latency" => self.policy.target_latency = span().unwrap(),
                "start" => self.policy.start_time = span().unwrap(),
                "share" => {
                    let (own, all) = value.split_once('/').unwrap();
                    self.policy.share = Share {
                        own: own.parse().unwrap(),
                        all: all.parse().unwrap(),
                    };
                }
                "drains" => self.policy.drains = value == "yes",
                "pause" => self.policy.paused = value != "no",
                "dry" => self.policy.dry_run = value != "no",
                "replicas" => self.start_with(number()),
                "ready" => self.demand.ready = number().into(),
                "unacked" => self.demand.unacked = value.parse().ok(),
                "age" => self.demand.oldest_age = span(),
                "rate" => self.demand.arrivals = decimal().and_then(Rate::per_second),
                "rate6" => self.demand.arrivals_now = decimal().and_then(Rate::per_second),
                "s" => self.demand.service_time = decimal().and_then(ServiceTime::seconds),
                "running" => self.demand.running_age = decimal().and_then(ServiceTime::seconds),
                "active" => self.active = value.parse().ok(),
                "stale" => {
                    self.demand.freshness = Freshness::Stale {
                        why: value.replace('_', " "),
                    }
                }
                "fresh" => self.demand.freshness = Freshness::Fresh,
                "restart" => {
                    self.history = History::new(Duration::from_secs(self.now), DOWN_WINDOW);
                }
                "wrong-victim" => self.history.refuse_down(Duration::from_secs(self.now)),
                "end" => {}
                pod if pod.starts_with('w') => self.of_pod(pod, value),
                _ => panic!("what is {word}?"),
            }
        }
    }

    /// `w1=active:2,scheduled:1`, or `w1=unknown`.
    fn of_pod(&mut self, pod: &str, value: &str) {
        let number: u32 = pod[1..].parse().unwrap();
        let pod = self
            .pods
            .iter_mut()
            .find(|pod| pod.number == number)
            .unwrap();
        if value == "unknown" {
            pod.unknown = true;
            return;
        }
        for part in value.split(',') {
            let (name, count) = part.split_once(':').unwrap();
            let place = match name {
                "active" => &mut pod.load.active,
                "reserved" => &mut pod.load.reserved,
                "scheduled" => &mut pod.load.scheduled,
                "remainder" => {
                    pod.load.remainder = Some(Duration::from_secs(count.parse().unwrap()));
                    continue;
                }
                _ => panic!("what is {part}?"),
            };
            *place = count.parse().unwrap();
        }
    }

    fn start_with(&mut self, count: u32) {
        self.current = count;
        self.pods_come(0);
    }

    fn pods_come(&mut self, ready_at: u64) {
        while self.pods.len() < self.current as usize {
            self.made += 1;
            self.pods.push(Pod {
                number: self.made,
                ready_at,
                draining: None,
                undone: false,
                unknown: false,
                load: Load::default(),
            });
        }
    }

    /// Those that are drained go, those that were asked for come, and `active` tasks run in those that stay.
    fn live(&mut self) {
        let now = self.now;
        let before = self.pods.len();
        self.pods.retain(|pod| {
            let idle = pod.load.active == 0 && pod.load.reserved == 0;
            !(pod.draining.is_some_and(|since| since < now) && idle && !self.frozen)
        });
        self.current -= u32::try_from(before - self.pods.len()).unwrap();
        self.pods_come(now + self.policy.start_time.as_secs());
        let slots = u64::from(self.policy.slots_per_replica.get());
        let mut left = self.active.unwrap_or_default();
        for pod in &mut self.pods {
            pod.load.slots = slots;
            if self.active.is_some() && pod.ready_at <= now && pod.draining.is_none() {
                pod.load.active = left.min(slots);
                left -= pod.load.active;
            }
        }
    }

    fn decide(&self) -> Decision {
        let members = self.pods.iter().map(|pod| Member {
            name: format!("w{}", pod.number),
            presence: if pod.ready_at > self.now {
                Presence::Starting
            } else if pod.unknown {
                Presence::Unknown
            } else {
                Presence::Known(pod.load)
            },
            draining: pod.draining.map(Duration::from_secs),
            undone: pod.undone,
        });
        let replicas = Replicas {
            current: self.current,
            members: members.collect(),
        };
        let now = Duration::from_secs(self.now);
        decide(now, &self.policy, &self.demand, &replicas, &self.history)
    }

    fn act(&mut self, decision: &Decision) {
        self.history.record(Duration::from_secs(self.now), decision);
        self.current = decision.replicas;
        self.frozen = decision.frozen;
        if decision.frozen {
            return;
        }
        for pod in &mut self.pods {
            let goes = decision.retire.contains(&format!("w{}", pod.number));
            match (goes, pod.draining) {
                (true, None) => pod.draining = Some(self.now),
                (false, Some(_)) => (pod.draining, pod.undone) = (None, true),
                _ => {}
            }
        }
    }
}
