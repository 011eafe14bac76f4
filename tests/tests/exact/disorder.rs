//! What may happen to a stream on its way: events overtake each other, come twice, or do not come.

use proptest::prelude::*;

use crate::lives::receive;
use crate::stream::Sent;

/// In which order events come.
#[derive(Debug, Clone)]
enum Order {
    AsSent,
    /// Any.
    Shuffled,
    /// Each at most so many places from where it was.
    Windowed(usize),
    /// Each sender's in order, and nothing between senders: what brokers promise.
    Interleaved,
    Reversed,
}

/// What happens to a stream. The keys are taken in turn, as often as needed.
#[derive(Debug, Clone)]
pub(crate) struct Disorder {
    order: Order,
    keys: Vec<u16>,
    /// Which events come again (of a thousand events) and how many places later.
    again: Vec<(u16, usize)>,
    /// Which events do not come (of a thousand events).
    lost: Vec<u16>,
    /// The listener came late, or left early.
    first: usize,
    last: usize,
}

/// Any disorder, with at most `most` events twice and as many lost, beside those at the ends.
pub(crate) fn disorder(most: usize) -> impl Strategy<Value = Disorder> {
    let order = prop_oneof![
        1 => Just(Order::AsSent),
        3 => Just(Order::Shuffled),
        3 => (1..8_usize).prop_map(Order::Windowed),
        2 => Just(Order::Interleaved),
        1 => Just(Order::Reversed),
    ];
    let keys = prop::collection::vec(any::<u16>(), 61);
    let again = prop::collection::vec((0..1000_u16, prop_oneof![Just(0), 0..40_usize]), 0..=most);
    let lost =
        prop_oneof![2 => Just(Vec::new()), 1 => prop::collection::vec(0..1000_u16, 0..=most)];
    let ends = (
        prop_oneof![3 => Just(0), 1 => 0..15_usize],
        prop_oneof![3 => Just(0), 1 => 0..15_usize],
    );
    (order, keys, again, lost, ends).prop_map(|(order, keys, again, lost, (first, last))| {
        Disorder {
            order,
            keys,
            again,
            lost,
            first,
            last,
        }
    })
}

impl Disorder {
    /// What comes of a stream.
    pub(crate) fn of(&self, stream: &[Sent]) -> Vec<Sent> {
        receive(self.repeated(self.ordered(self.kept(stream))))
    }

    /// The same, with the events of each sender in order and none of them lost.
    pub(crate) fn between_senders(self) -> Self {
        Self {
            order: Order::Interleaved,
            lost: Vec::new(),
            first: 0,
            ..self
        }
    }

    /// What comes of a stream when nothing is told twice.
    pub(crate) fn once(&self, stream: &[Sent]) -> Vec<Sent> {
        receive(self.ordered(self.kept(stream)))
    }

    /// Places of such a stream, some again after others: what is told twice, with those that come between.
    pub(crate) fn twice(&self, len: usize) -> Vec<usize> {
        self.repeated((0..len).collect())
    }

    /// What is not lost.
    fn kept(&self, stream: &[Sent]) -> Vec<Sent> {
        let until = stream.len().saturating_sub(self.last);
        let kept = stream.iter().enumerate().take(until).skip(self.first);
        let lost: Vec<usize> = self
            .lost
            .iter()
            .map(|place| place_of(*place, stream.len()))
            .collect();
        kept.filter(|(place, _)| !lost.contains(place))
            .map(|(_, sent)| sent.clone())
            .collect()
    }

    fn key(&self, place: usize) -> usize {
        usize::from(self.keys[place % self.keys.len()])
    }

    fn ordered(&self, mut stream: Vec<Sent>) -> Vec<Sent> {
        let place = |place: usize| match self.order {
            Order::AsSent | Order::Interleaved => place,
            Order::Shuffled => self.key(place),
            Order::Windowed(width) => place + self.key(place) % (width + 1),
            Order::Reversed => usize::MAX - place,
        };
        let mut places: Vec<(usize, usize)> = (0..stream.len()).map(|at| (place(at), at)).collect();
        places.sort_unstable();
        if !matches!(self.order, Order::Interleaved) {
            return places
                .into_iter()
                .map(|(_, at)| stream[at].clone())
                .collect();
        }
        let mut ordered = Vec::with_capacity(stream.len());
        while !stream.is_empty() {
            let wanted = self.key(ordered.len()) % stream.len();
            let sender = stream[wanted].text("hostname").to_owned();
            let next = stream
                .iter()
                .position(|sent| sent.text("hostname") == sender);
            ordered.push(stream.remove(next.unwrap_or_default()));
        }
        ordered
    }

    fn repeated<T: Clone>(&self, mut stream: Vec<T>) -> Vec<T> {
        for (place, later) in &self.again {
            if stream.is_empty() {
                break;
            }
            let place = place_of(*place, stream.len());
            let again = stream[place].clone();
            let place = (place + 1 + later).min(stream.len());
            stream.insert(place, again);
        }
        stream
    }
}

fn place_of(thousandth: u16, len: usize) -> usize {
    usize::from(thousandth) * len / 1000
}
