//! The tasks in memory: found by id, in order of last touch, by worker, and counted by name and queue.
//!
//! Every task is in a numbered slot. Order and membership are chains through the slots, so that each change costs the same
//! however many tasks there are.

use ahash::RandomState;
use hashbrown::{HashMap, HashTable};

use super::ids::{Micros, Symbol, TaskId};
use super::task::{Phase, Task};

/// A hash map of the fold.
pub(super) type Map<K, V> = HashMap<K, V, RandomState>;

/// A task's place in memory.
pub(super) type Slot = u32;

const NOWHERE: Slot = Slot::MAX;

#[derive(Debug, Clone, Copy)]
struct Link {
    before: Slot,
    after: Slot,
}

const UNLINKED: Link = Link {
    before: NOWHERE,
    after: NOWHERE,
};

/// Which chain a link belongs to.
#[derive(Debug, Clone, Copy)]
enum By {
    /// Unfinished or finished, the longest untouched first.
    Age,
    /// Unfinished of one worker.
    Worker,
}

#[derive(Debug)]
struct Entry {
    task: Box<Task>,
    /// When it came into the chain of the finished.
    grace_from: Micros,
    age: Link,
    beside: Link,
    counted: Counted,
    /// History may have a row of it.
    stored: bool,
}

impl Entry {
    fn link(&mut self, by: By) -> &mut Link {
        match by {
            By::Age => &mut self.age,
            By::Worker => &mut self.beside,
        }
    }
}

/// What the counts and chains hold of a task at present.
#[derive(Debug, Default, Clone)]
pub(super) struct Counted {
    phase: Option<Phase>,
    pub(super) worker: Option<Symbol>,
    pub(super) name: Option<Symbol>,
    pub(super) queue: Option<Symbol>,
}

impl Counted {
    fn of(task: &Task) -> Self {
        Self {
            phase: Some(task.phase()),
            worker: task.worker.clone(),
            name: task.name.clone(),
            queue: task.queue.clone(),
        }
    }

    /// Itself, when it is load.
    fn loaded(self) -> Option<Self> {
        let loads = matches!(self.phase, Some(Phase::Reserved | Phase::Active));
        loads.then_some(self)
    }

    fn holds(&self, task: &Task) -> bool {
        self.phase == Some(task.phase())
            && self.worker == task.worker
            && self.name == task.name
            && self.queue == task.queue
    }
}

#[derive(Debug, Clone, Copy)]
struct Chain {
    first: Slot,
    last: Slot,
    len: usize,
}

impl Default for Chain {
    fn default() -> Self {
        Self {
            first: NOWHERE,
            last: NOWHERE,
            len: 0,
        }
    }
}

#[derive(Debug, Default)]
struct Slots {
    entries: Vec<Option<Entry>>,
    free: Vec<Slot>,
}

impl Slots {
    fn get(&self, slot: Slot) -> &Entry {
        self.entries[slot as usize]
            .as_ref()
            .expect("a slot that is in the index or a chain is filled")
    }

    fn get_mut(&mut self, slot: Slot) -> &mut Entry {
        self.entries[slot as usize]
            .as_mut()
            .expect("a slot that is in the index or a chain is filled")
    }

    fn put(&mut self, entry: Entry) -> Slot {
        if let Some(slot) = self.free.pop() {
            self.entries[slot as usize] = Some(entry);
            return slot;
        }
        let slot =
            Slot::try_from(self.entries.len()).expect("fewer than 2^32 tasks fit into memory");
        self.entries.push(Some(entry));
        slot
    }

    fn append(&mut self, chain: &mut Chain, slot: Slot, by: By) {
        *self.get_mut(slot).link(by) = Link {
            before: chain.last,
            after: NOWHERE,
        };
        match chain.last {
            NOWHERE => chain.first = slot,
            last => self.get_mut(last).link(by).after = slot,
        }
        chain.last = slot;
        chain.len += 1;
    }

    fn unlink(&mut self, chain: &mut Chain, slot: Slot, by: By) {
        let Link { before, after } = std::mem::replace(self.get_mut(slot).link(by), UNLINKED);
        match before {
            NOWHERE => chain.first = after,
            before => self.get_mut(before).link(by).after = after,
        }
        match after {
            NOWHERE => chain.last = before,
            after => self.get_mut(after).link(by).before = before,
        }
        chain.len -= 1;
    }
}

/// Tasks in workers: received and not started, and running.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Load {
    pub(super) reserved: u64,
    pub(super) active: u64,
}

impl Load {
    fn of(&mut self, phase: Phase) -> Option<&mut u64> {
        match phase {
            Phase::Reserved => Some(&mut self.reserved),
            Phase::Active => Some(&mut self.active),
            Phase::Waiting | Phase::Finished => None,
        }
    }
}

/// Loads by name or queue; those without load are not kept, so there are no more than tasks.
#[derive(Debug, Default)]
struct Loads(Map<Symbol, Load>);

impl Loads {
    fn add(&mut self, key: &Symbol, phase: Phase) {
        if matches!(phase, Phase::Reserved | Phase::Active)
            && let Some(count) = self.0.entry_ref(key).or_default().of(phase)
        {
            *count += 1;
        }
    }

    fn remove(&mut self, key: &Symbol, phase: Phase) {
        let Some(load) = self.0.get_mut(key) else {
            return;
        };
        if let Some(count) = load.of(phase) {
            *count -= 1;
        }
        if *load == Load::default() {
            self.0.remove(key);
        }
    }
}

#[derive(Debug, Default)]
struct Held {
    chain: Chain,
    reserved: u64,
}

/// What is less loaded and what is more loaded than before.
pub(super) type Moved = [Option<Counted>; 2];

/// The tasks in memory.
#[derive(Debug, Default)]
pub(super) struct Store {
    hash: RandomState,
    index: HashTable<Slot>,
    slots: Slots,
    unfinished: Chain,
    finished: Chain,
    by_worker: Map<Symbol, Held>,
    names: Loads,
    queues: Loads,
}

impl Store {
    /// Where a task is.
    pub(super) fn find(&self, id: &TaskId) -> Option<Slot> {
        let slots = &self.slots;
        self.index
            .find(self.hash.hash_one(id), |slot| {
                slots.get(*slot).task.id == *id
            })
            .copied()
    }

    /// Takes in a task that is not there, `stored` when history may have a row of it. It is counted by [`Store::settle`].
    pub(super) fn insert(&mut self, task: Task, now: Micros, stored: bool) -> Slot {
        let Self {
            hash, index, slots, ..
        } = self;
        let key = hash.hash_one(&task.id);
        let counted = Counted::default();
        let entry = Entry {
            task: Box::new(task),
            grace_from: now,
            age: UNLINKED,
            beside: UNLINKED,
            counted,
            stored,
        };
        let slot = slots.put(entry);
        index.insert_unique(key, slot, |slot| hash.hash_one(&slots.get(*slot).task.id));
        slot
    }

    /// The task in a slot.
    pub(super) fn task(&self, slot: Slot) -> &Task {
        &self.slots.get(slot).task
    }

    /// The task in a slot, for changing it; [`Store::settle`] has to follow.
    pub(super) fn task_mut(&mut self, slot: Slot) -> &mut Task {
        &mut self.slots.get_mut(slot).task
    }

    /// All tasks, roughly in the order in which they came.
    pub(super) fn tasks(&self) -> impl DoubleEndedIterator<Item = &Task> {
        self.slots
            .entries
            .iter()
            .flatten()
            .map(|entry| &*entry.task)
    }

    /// Those of which history may have a row.
    pub(super) fn stored(&self) -> impl Iterator<Item = &Task> {
        let stored = |entry: &&Entry| entry.stored;
        let entries = self.slots.entries.iter().flatten();
        entries.filter(stored).map(|entry| &*entry.task)
    }

    /// Brings chains and counts up to a changed task; one that was touched by something of its own becomes the youngest.
    /// Gives what of its worker, name and queue is loaded otherwise than before.
    pub(super) fn settle(&mut self, slot: Slot, now: Micros, touched: bool) -> Moved {
        let entry = self.slots.get_mut(slot);
        if entry.counted.holds(&entry.task) {
            let phase = entry.counted.phase;
            self.settle_age(slot, phase, phase, touched);
            return [None, None];
        }
        let after = Counted::of(&entry.task);
        let is = after.phase;
        let before = std::mem::replace(&mut entry.counted, after);
        entry.stored |= is == Some(Phase::Finished);
        if before.phase != is {
            entry.grace_from = now;
        }
        self.settle_age(slot, before.phase, is, touched);
        [self.uncount(slot, before), self.count(slot)]
    }

    /// What is finished stays where it is: late events do not make its grace longer.
    fn settle_age(&mut self, slot: Slot, was: Option<Phase>, is: Option<Phase>, touch: bool) {
        let [was, is] = [was, is].map(|phase| phase.map(|phase| phase == Phase::Finished));
        if was == is && (is == Some(true) || !touch || self.unfinished.last == slot) {
            return;
        }
        if let Some((chain, slots)) = self.age_chain(was) {
            slots.unlink(chain, slot, By::Age);
        }
        if let Some((chain, slots)) = self.age_chain(is) {
            slots.append(chain, slot, By::Age);
        }
    }

    /// Takes a task out of the counts and the chain of its worker.
    fn uncount(&mut self, slot: Slot, before: Counted) -> Option<Counted> {
        let phase = before.phase?;
        if let Some(name) = &before.name {
            self.names.remove(name, phase);
        }
        if let Some(queue) = &before.queue {
            self.queues.remove(queue, phase);
        }
        let held = before.worker.as_ref().filter(|_| phase != Phase::Finished);
        if let Some(worker) = held
            && let Some(held) = self.by_worker.get_mut(worker)
        {
            self.slots.unlink(&mut held.chain, slot, By::Worker);
            held.reserved -= u64::from(phase == Phase::Reserved);
            if held.chain.len == 0 {
                self.by_worker.remove(worker);
            }
        }
        before.loaded()
    }

    /// Takes a task into the counts and the chain of its worker.
    fn count(&mut self, slot: Slot) -> Option<Counted> {
        let counted = self.slots.get(slot).counted.clone();
        let phase = counted.phase?;
        if let Some(name) = &counted.name {
            self.names.add(name, phase);
        }
        if let Some(queue) = &counted.queue {
            self.queues.add(queue, phase);
        }
        let held = counted.worker.as_ref().filter(|_| phase != Phase::Finished);
        if let Some(worker) = held {
            let held = self.by_worker.entry_ref(worker).or_default();
            self.slots.append(&mut held.chain, slot, By::Worker);
            held.reserved += u64::from(phase == Phase::Reserved);
        }
        counted.loaded()
    }

    /// Lets a task go.
    pub(super) fn remove(&mut self, slot: Slot) -> (Task, Moved) {
        let before = std::mem::take(&mut self.slots.get_mut(slot).counted);
        self.settle_age(slot, before.phase, None, false);
        let moved = [self.uncount(slot, before), None];
        let Self {
            hash, index, slots, ..
        } = self;
        let key = hash.hash_one(&slots.get(slot).task.id);
        if let Ok(found) = index.find_entry(key, |known| *known == slot) {
            found.remove();
        }
        let entry = slots.entries[slot as usize]
            .take()
            .expect("it was filled two lines above");
        slots.free.push(slot);
        (*entry.task, moved)
    }

    /// Tasks in memory.
    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    /// Tasks that are not finished.
    pub(super) fn unfinished_len(&self) -> usize {
        self.unfinished.len
    }

    /// Finished tasks still in memory.
    pub(super) fn finished_len(&self) -> usize {
        self.finished.len
    }

    /// All tasks that are not finished, the longest untouched first.
    pub(super) fn unfinished(&self) -> Vec<Slot> {
        let mut slots = Vec::with_capacity(self.unfinished.len);
        let mut next = self.unfinished.first;
        while next != NOWHERE {
            slots.push(next);
            next = self.slots.get(next).age.after;
        }
        slots
    }

    /// The unfinished task that was not touched for the longest time.
    pub(super) fn oldest_unfinished(&self) -> Option<Slot> {
        (self.unfinished.first != NOWHERE).then_some(self.unfinished.first)
    }

    /// The finished task that has been here for the longest time, and since when.
    pub(super) fn oldest_finished(&self) -> Option<(Slot, Micros)> {
        let slot = self.finished.first;
        (slot != NOWHERE).then(|| (slot, self.slots.get(slot).grace_from))
    }

    /// Unfinished tasks of a worker.
    pub(super) fn of_worker(&self, worker: &str) -> Vec<Slot> {
        let Some(held) = self.by_worker.get(worker) else {
            return Vec::new();
        };
        let mut slots = Vec::with_capacity(held.chain.len);
        let mut next = held.chain.first;
        while next != NOWHERE {
            slots.push(next);
            next = self.slots.get(next).beside.after;
        }
        slots
    }

    /// Tasks of a worker that are received and not started.
    pub(super) fn reserved_of_worker(&self, worker: &str) -> u64 {
        self.by_worker.get(worker).map_or(0, |held| held.reserved)
    }

    /// Load by task name.
    pub(super) fn load_of_name(&self, name: &str) -> Load {
        self.names.0.get(name).copied().unwrap_or_default()
    }

    /// Load of every task name that has any.
    pub(super) fn loads_of_names(&self) -> impl Iterator<Item = (&Symbol, Load)> {
        self.names.0.iter().map(|(name, load)| (name, *load))
    }

    /// Load by queue.
    pub(super) fn load_of_queue(&self, queue: &str) -> Load {
        self.queues.0.get(queue).copied().unwrap_or_default()
    }

    fn age_chain(&mut self, finished: Option<bool>) -> Option<(&mut Chain, &mut Slots)> {
        let chain = if finished? {
            &mut self.finished
        } else {
            &mut self.unfinished
        };
        Some((chain, &mut self.slots))
    }
}
