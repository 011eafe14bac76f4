"""Records what Celery itself makes of the events: the expected values of the end-to-end tests.

Listens with `celery.events.Receiver`, folds with `celery.events.state.State`, and on SIGTERM writes both the events and
the states to the file given. Sends nothing to the workers (no wake-up broadcast).

Usage: record.py OUTPUT        (broker in DEMO_BROKER; prints `listening` once it is subscribed)
"""
import json
import signal
import socket
import sys
import threading
import time

from celery.events import EventReceiver
from celery.events.state import State

from demo import app

TASK_FIELDS = (
    "uuid", "name", "state", "args", "kwargs", "result", "exception", "traceback", "retries", "eta", "expires", "runtime",
    "sent", "received", "started", "succeeded", "failed", "retried", "revoked", "rejected", "exchange", "routing_key",
    "root_id", "parent_id", "timestamp",
)

events = []
state = State(max_tasks_in_memory=10**6, max_workers_in_memory=10**4)
stop = threading.Event()


def on_event(event):
    events.append({"received": time.time(), "event": dict(event)})
    state.event(event)


def expected_task(task):
    row = {field: getattr(task, field, None) for field in TASK_FIELDS}
    row["worker"] = task.worker.hostname if task.worker else None
    # Celery keeps the client as a Worker too, or as its name, by version.
    row["client"] = getattr(task.client, "hostname", task.client)
    # Not a field of Celery's Task before 5.x, so taken from the event.
    row["queue"] = queues.get(task.uuid)
    row["late_retry"] = task.uuid in late_retries
    return row


def retried_late():
    """Tasks whose last `task-retried` was told after the end of a later attempt: what ran with so many retries has retried so
    often before, whenever that is told."""
    retries, retried, ended, late = {}, {}, set(), set()
    for entry in events:
        event, uuid = entry["event"], entry["event"].get("uuid")
        if event["type"] == "task-received":
            retries[uuid] = event.get("retries") or 0
        elif event["type"] in ("task-succeeded", "task-failed"):
            ended.add(uuid)
        elif event["type"] == "task-retried":
            late.discard(uuid)
            if uuid in ended and retried.get(uuid, 0) < retries.get(uuid, 0):
                late.add(uuid)
            retried[uuid] = retried.get(uuid, 0) + 1
    return late


def expected_worker(worker):
    return {
        "hostname": worker.hostname,
        "pid": worker.pid,
        "freq": worker.freq,
        "active": worker.active,
        "processed": worker.processed,
        "alive": worker.alive,
        "sw_ver": worker.sw_ver,
    }


def listen():
    while not stop.is_set():
        try:
            with app.connection_for_read() as connection:
                receiver = EventReceiver(connection, handlers={"*": on_event}, app=app)
                with receiver.consumer_context(wakeup=False) as (consuming, _channel, _consumers):
                    said = False
                    while not stop.is_set():
                        try:
                            consuming.drain_events(timeout=0.2)
                        except socket.timeout:
                            pass
                        if not said:
                            # kombu subscribes in the first drain.
                            print("listening", flush=True)
                            said = True
        except Exception as error:  # The broker went away: the recorder outlives it, as an inspector has to.
            print("reconnecting: %r" % (error,), file=sys.stderr, flush=True)
            time.sleep(0.2)


signal.signal(signal.SIGTERM, lambda *_: stop.set())
listen()
late_retries = retried_late()
queues = {}
for entry in events:
    if entry["event"].get("type") == "task-sent":
        queues[entry["event"]["uuid"]] = entry["event"].get("queue")
with open(sys.argv[1], "w") as output:
    json.dump(
        {
            "events": events,
            "tasks": {uuid: expected_task(task) for uuid, task in state.tasks.items()},
            "workers": {name: expected_worker(worker) for name, worker in state.workers.items()},
        },
        output,
        default=str,
    )
