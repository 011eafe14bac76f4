"""What Celery makes of any stream of events: the expected values of the exactness tests.

Reads one case a line from stdin, a JSON list of `[event, received, life]`: the event as it was on the wire, when it was
received (seconds), and which life of the sender's process sent it (known to whoever made the stream; Celery does not see it).
Answers one line: what `celery.events.state.State` has at the end (`celery`), what it has with the differences that Celeriac
means (`named`), and for each task and worker the names of those that made a difference (`rules`).

Usage: oracle.py        (prints `ready VERSION` first)
"""
import json
import sys

import celery
from celery.events.state import State, Task

TASK_FIELDS = (
    "name", "state", "timestamp", "args", "kwargs", "result", "exception", "traceback", "retries", "eta", "expires",
    "runtime", "sent", "received", "started", "succeeded", "failed", "retried", "revoked", "rejected", "queue", "exchange",
    "routing_key", "root_id", "parent_id", "terminated", "signum", "expired", "requeue",
)
WORKER_FIELDS = ("pid", "freq", "active", "processed", "clock", "loadavg", "sw_ident", "sw_ver", "sw_sys")
FINAL = ("succeeded", "failed", "revoked", "rejected")

# A worker event that is older than the last one by less than this was overtaken; by more, the host's clock was set back.
OVERTAKEN_SECONDS = 60


class NamedTask(Task):
    """A task with the first named difference."""

    final = None
    retried_times = 0

    def event(self, type_, timestamp=None, local_received=None, fields=None):
        if type_ == "retried":
            # What ran with so many retries has retried so often: the first of these were before it, whenever they are told.
            before = self.retried_times < (self.retries or 0)
            self.retried_times += 1
            if self.final and (before or is_older(fields, self.final)):
                # late-retry: it does not reopen a task that has ended since, and tells nothing new of it. (To Celery's
                # State RETRY takes over in order of arrival.)
                self.cluster_state.apply_rule("late-retry", self.uuid)
                self.retried = timestamp
                return
        if type_ in FINAL and not fields.get("requeue"):
            if self.final is None or not is_older(fields, self.final):
                self.final = dict(fields)
        super(NamedTask, self).event(type_, timestamp, local_received, fields)


def is_older(event, other):
    """By the clock within one life of a process, by time otherwise."""
    if event["life"] == other["life"]:
        return event["clock"] < other["clock"]
    return event["timestamp"] < other["timestamp"]


class NamedState(State):
    """Celery's State with the differences that are meant, each by its name."""

    Task = NamedTask

    def __init__(self):
        super(NamedState, self).__init__()
        self.rules = {}
        self.last = {}
        self.told = set()
        self.offline = set()

    def apply_rule(self, name, whose):
        self.rules.setdefault(whose, set()).add(name)

    def event(self, event):
        identity = tuple(event.get(key) for key in ("hostname", "pid", "clock", "timestamp", "type", "uuid"))
        if identity in self.told:
            # repeat: told again it is the same event, and is folded once. (Celery's State folds it again.)
            for whose in {event["hostname"], event.get("uuid", event["hostname"])}:
                self.apply_rule("repeat", whose)
            return
        self.told.add(identity)
        if event["type"].startswith("worker-"):
            self.of_worker(event)
        elif event["type"] == "task-sent":
            super(NamedState, self).event(event)
        else:
            self.of_task(event)

    def of_task(self, event):
        name = event["hostname"]
        super(NamedState, self).event(event)
        if name in self.offline:
            # offline: late events of its tasks do not bring a worker back.
            self.apply_rule("offline", name)
            del self.workers[name].heartbeats[:]
        if name not in self.last and not is_of_child(event):
            # pid-of-task-events: of a worker without worker events its task events say which process it is.
            self.apply_rule("pid-of-task-events", name)
            self.workers[name].pid = event["pid"]

    def of_worker(self, event):
        name, kind, last = event["hostname"], event["type"], self.last.get(event["hostname"])
        if kind == "worker-offline" and name not in self.workers:
            super(NamedState, self).event(event)
            return
        another = last is not None and last["pid"] != event["pid"]
        worker = self.workers.get(name)
        if last is not None and not (another and kind == "worker-online"):
            age = last["timestamp"] - event["timestamp"]
            same_time = age == 0 and not another and event["clock"] < worker.clock
            if same_time or 0 < age < OVERTAKEN_SECONDS:
                # overtaken: a newer worker event is known, so it is a sign of life at most.
                self.apply_rule("overtaken", name)
                return
        if worker is not None and self.begins(worker, last, event):
            # life: counters belong to one life of the process.
            self.apply_rule("life", name)
            worker.active = worker.processed = worker.loadavg = None
            worker.clock = 0
        if "processed" not in event:
            # asked: a heartbeat that was asked for has no counters, and a `freq` that is not the worker's.
            self.apply_rule("asked", name)
            event = {key: value for key, value in event.items() if key not in ("freq", "clock")}
        self.last[name] = event
        super(NamedState, self).event(event)
        if kind == "worker-offline":
            self.offline.add(name)
        else:
            self.offline.discard(name)

    def begins(self, worker, last, event):
        if last is None:
            return worker.pid is not None and worker.pid != event["pid"]
        if last["pid"] != event["pid"]:
            return True
        if "processed" not in event:
            return False
        if event["clock"] == worker.clock and event["timestamp"] > last["timestamp"]:
            return True
        return event["clock"] < worker.clock or (worker.processed is not None and event["processed"] < worker.processed)


def is_of_child(event):
    """Whether an event comes from inside a task: not one of the worker's own."""
    return event["type"] not in ("task-received", "task-started", "task-retried") + tuple("task-" + end for end in FINAL)


def answer(state):
    tasks = {}
    for uuid, task in state.tasks.items():
        row = {field: getattr(task, field, None) for field in TASK_FIELDS}
        row["worker"] = task.worker.hostname if task.worker else None
        row["client"] = task.client
        row["custom"] = {key: task.__dict__.get(key) for key in ("done", "total") if key in task.__dict__}
        tasks[uuid] = row
    workers = {}
    for name, worker in state.workers.items():
        workers[name] = {field: getattr(worker, field) for field in WORKER_FIELDS}
        # That it went silent is a matter of time, not of events.
        workers[name]["online"] = bool(worker.heartbeats)
    return {"tasks": tasks, "workers": workers, "received": state.task_count, "events": state.event_count}


def fold(stream, state):
    for event, received, life in stream:
        state.event(dict(event, local_received=received, life=life))
    return state


print("ready", celery.__version__, flush=True)
for line in sys.stdin:
    stream = json.loads(line)
    named = fold(stream, NamedState())
    told = {
        "celery": answer(fold(stream, State())),
        "named": answer(named),
        "rules": {whose: sorted(rules) for whose, rules in named.rules.items()},
    }
    print(json.dumps(told), flush=True)
