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

const UNLINKED: Link = Link { before: NOWHERE, after: NOWHERE };

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
    touched: Micros,
    age: Link,
    beside: Link,
    counted: Counted,
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
#[derive(Debug, Default)]
struct Counted {
    phase: Option<Phase>,
    worker: Option<Symbol>,
    name: Option<Symbol>,
    queue: Option<Symbol>,
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

    fn holds(&self, task: &Task) -> bool {
        self.phase == Some(task.phase())
            && self.worker == task.worker
            && self.name == task.name
            && self.queue == task.queue
    }

    fn is_unfinished(&self) -> bool {
        self.phase.is_some_and(|phase| phase != Phase::Finished)
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
        Self { first: NOWHERE, last: NOWHERE, len: 0 }
    }
}

#[derive(Debug, Default)]
struct Slots {
    entries: Vec<Option<Entry>>,
    free: Vec<Slot>,
}

impl Slots {
    fn get(&self, slot: Slot) -> &Entry {
        self.entries[slot as usize].as_ref().expect("a slot that is in the index or a chain is filled")
    }

    fn get_mut(&mut self, slot: Slot) -> &mut Entry {
        self.entries[slot as usize].as_mut().expect("a slot that is in the index or a chain is filled")
    }

    fn put(&mut self, entry: Entry) -> Slot {
        if let Some(slot) = self.free.pop() {
            self.entries[slot as usize] = Some(entry);
            return slot;
        }
        let slot = Slot::try_from(self.entries.len()).expect("fewer than 2^32 tasks fit into memory");
        self.entries.push(Some(entry));
        slot
    }

    fn append(&mut self, chain: &mut Chain, slot: Slot, by: By) {
        *self.get_mut(slot).link(by) = Link { before: chain.last, after: NOWHERE };
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
        if matches!(phase, Phase::Reserved | Phase::Active) {
            if let Some(count) = self.0.entry_ref(key).or_default().of(phase) {
                *count += 1;
            }
        }
    }

    fn remove(&mut self, key: &Symbol, phase: Phase) {
        let Some(load) = self.0.get_mut(key) else { return };
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

/// The workers whose number of reserved tasks changed.
pub(super) type Touched = [Option<Symbol>; 2];

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
        self.index.find(self.hash.hash_one(id), |slot| slots.get(*slot).task.id == *id).copied()
    }

    /// Takes in a task that is not there. It is counted by [`Store::settle`].
    pub(super) fn insert(&mut self, task: Task, now: Micros) -> Slot {
        let Self { hash, index, slots, .. } = self;
        let key = hash.hash_one(&task.id);
        let counted = Counted::default();
        let entry =
            Entry { task: Box::new(task), touched: now, age: UNLINKED, beside: UNLINKED, counted };
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

    /// All tasks, in no order.
    pub(super) fn tasks(&self) -> impl Iterator<Item = &Task> {
        self.slots.entries.iter().flatten().map(|entry| &*entry.task)
    }

    /// Brings chains and counts up to a changed task, which goes to the end of its chain when `touch` is set. Gives the
    /// workers whose reserved tasks changed in number.
    pub(super) fn settle(&mut self, slot: Slot, touch: Option<Micros>) -> Touched {
        let entry = self.slots.get_mut(slot);
        if let Some(now) = touch {
            entry.touched = now;
        }
        if entry.counted.holds(&entry.task) {
            // What is finished stays where it is: late events do not make its grace longer.
            if touch.is_some() && entry.counted.is_unfinished() && self.unfinished.last != slot {
                self.slots.unlink(&mut self.unfinished, slot, By::Age);
                self.slots.append(&mut self.unfinished, slot, By::Age);
            }
            return [None, None];
        }
        let after = Counted::of(&entry.task);
        let before = std::mem::replace(&mut entry.counted, after);
        let was = self.uncount(slot, &before, touch.is_some());
        let is = self.count(slot, before.phase);
        [was, is]
    }

    /// Takes `slot` out of what `before` says it is counted in.
    fn uncount(&mut self, slot: Slot, before: &Counted, touch: bool) -> Option<Symbol> {
        let Self { slots, unfinished, finished, by_worker, names, queues, .. } = self;
        let phase = before.phase?;
        let is_finished = slots.get(slot).counted.phase.unwrap_or(Phase::Finished) == Phase::Finished;
        let was_finished = phase == Phase::Finished;
        if was_finished != is_finished || (touch && !was_finished) {
            let chain = if was_finished { finished } else { unfinished };
            slots.unlink(chain, slot, By::Age);
        }
        if let Some(name) = &before.name {
            names.remove(name, phase);
        }
        if let Some(queue) = &before.queue {
            queues.remove(queue, phase);
        }
        let worker = before.worker.as_ref().filter(|_| !was_finished)?;
        let held = by_worker.get_mut(worker)?;
        slots.unlink(&mut held.chain, slot, By::Worker);
        held.reserved -= u64::from(phase == Phase::Reserved);
        if held.chain.len == 0 {
            by_worker.remove(worker);
        }
        (phase == Phase::Reserved).then(|| worker.clone())
    }

    /// Puts `slot` into everything its entry says it is counted in. `was` tells whether it is in a chain of age already.
    fn count(&mut self, slot: Slot, was: Option<Phase>) -> Option<Symbol> {
        let Self { slots, unfinished, finished, by_worker, names, queues, .. } = self;
        let Counted { phase, worker, name, queue } = &slots.get(slot).counted;
        let (phase, worker) = ((*phase)?, worker.clone());
        if let Some(name) = name {
            names.add(name, phase);
        }
        if let Some(queue) = queue {
            queues.add(queue, phase);
        }
        let is_finished = phase == Phase::Finished;
        let linked = slots.get(slot).age.before != NOWHERE || {
            let chain = if is_finished { &*finished } else { &*unfinished };
            chain.first == slot
        };
        let moved = was.is_none_or(|was| (was == Phase::Finished) != is_finished);
        if moved || !linked {
            let chain = if is_finished { finished } else { unfinished };
            slots.append(chain, slot, By::Age);
        }
        let worker = worker.filter(|_| !is_finished)?;
        let held = by_worker.entry_ref(&worker).or_default();
        slots.append(&mut held.chain, slot, By::Worker);
        held.reserved += u64::from(phase == Phase::Reserved);
        (phase == Phase::Reserved).then_some(worker)
    }
}
