"""The Celery app that the end-to-end tests run: one task for every way a task can end.

Every task body writes what happens to it as one JSON line to the file named by DEMO_LOG, if set. That file is the tasks'
own truth, independent of Celery's events. Runs on Celery 4.4 to 5.7.

Environment: DEMO_BROKER (needed), DEMO_BACKEND (default: the broker), DEMO_LOG, DEMO_OPTIONS (JSON: app settings),
DEMO_IMPORT (seconds that its import takes, as that of large apps does).
"""
import functools
import json
import os
import time

from celery import Celery
from celery.exceptions import Ignore, Reject, Retry, SoftTimeLimitExceeded
from celery.signals import worker_init

if os.environ.get("DEMO_IMPORT"):
    print("demo is imported", flush=True)
    time.sleep(float(os.environ["DEMO_IMPORT"]))

app = Celery(
    "demo",
    broker=os.environ["DEMO_BROKER"],
    backend=os.environ.get("DEMO_BACKEND") or os.environ["DEMO_BROKER"],
)
app.conf.update(
    task_send_sent_event=True,
    task_default_queue="celery",
    # Needs live pool children to kill: prefork only.
    task_routes={
        "demo.soft_limit": {"queue": "fork"},
        "demo.hard_limit": {"queue": "fork"},
        "demo.die": {"queue": "fork"},
    },
    worker_prefetch_multiplier=4,
    result_expires=600,
    broker_connection_retry_on_startup=True,
)
app.conf.update(json.loads(os.environ.get("DEMO_OPTIONS") or "{}"))


@worker_init.connect
def register_commands(**_):
    """Not at import: in Celery 4.4 that would load the worker's modules before the worker has chosen its pool."""
    from celery.worker.control import control_command

    @control_command(args=[("text", str)], signature="<text>")
    def demo_repeat(state, text):
        """A command of the app's own."""
        return {"ok": text}

    @control_command()
    def demo_deaf(state):
        """Stops taking messages and tells nobody: what celery#10205 and its kin do to a worker after a reconnect."""
        tasks = state.consumer.task_consumer

        def cancel():
            for tag in list(tasks._active_tags.values()):
                tasks.channel.basic_cancel(tag)

        state.consumer.call_soon(cancel)
        return {"ok": "deaf"}


def note(request, what):
    """Appends one line of truth; a single write of a short line is not torn between processes."""
    path = os.environ.get("DEMO_LOG")
    if not path:
        return
    line = json.dumps(
        {
            "id": request.id,
            "name": request.task,
            "worker": request.hostname,
            "retries": request.retries,
            "what": what,
            "pid": os.getpid(),
            "time": time.time(),
        }
    )
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(handle, (line + "\n").encode("ascii"))
    finally:
        os.close(handle)


def task(**options):
    """`app.task(bind=True)` whose body notes its start and how it ended."""

    def decorate(body):
        @functools.wraps(body)
        def run(self, *args, **kwargs):
            note(self.request, "start")
            try:
                result = body(self, *args, **kwargs)
            except Retry:
                note(self.request, "retry")
                raise
            except Ignore:
                note(self.request, "ignore")
                raise
            except Reject as rejection:
                note(self.request, "requeue" if rejection.requeue else "reject")
                raise
            except Exception:
                note(self.request, "raise")
                raise
            note(self.request, "return")
            return result

        options.setdefault("name", "demo." + body.__name__)
        return app.task(bind=True, **options)(run)

    return decorate


@task()
def add(self, x, y):
    return x + y


@task()
def total(self, numbers):
    return sum(numbers)


@task()
def nap(self, seconds):
    time.sleep(seconds)
    return seconds


@task()
def hold(self, seconds=300):
    """Runs until the test lets it go, by a file beside DEMO_LOG that is named after the task, or for so long."""
    gate = "%s.%s" % (os.environ["DEMO_LOG"], self.request.id)
    end = time.time() + seconds
    while not os.path.exists(gate) and time.time() < end:
        time.sleep(0.05)


@task(acks_late=True)
def late_nap(self, seconds):
    time.sleep(seconds)
    return seconds


@task()
def fail(self, message="boom"):
    raise ValueError(message)


@task()
def fail_long(self, length):
    raise RuntimeError("x" * length)


@task(max_retries=5)
def flaky(self, failures, countdown=0.2):
    """Asks for `failures` retries, then succeeds."""
    if self.request.retries < failures:
        raise self.retry(exc=ConnectionError("upstream not ready"), countdown=countdown)
    return self.request.retries


@task(max_retries=2)
def hopeless(self, countdown=0.2):
    """Uses up its retries, then fails with the exception it was given."""
    raise self.retry(exc=ConnectionError("upstream is gone"), countdown=countdown)


@task(acks_late=True)
def reject(self):
    raise Reject("not mine", requeue=False)


@task(acks_late=True)
def requeue_once(self):
    if not (self.request.delivery_info or {}).get("redelivered"):
        raise Reject("again please", requeue=True)
    return "second delivery"


@task()
def ignore(self):
    raise Ignore()


@task(soft_time_limit=1)
def soft_limit(self):
    time.sleep(30)


@task(soft_time_limit=1)
def soft_limit_handled(self):
    try:
        time.sleep(30)
    except SoftTimeLimitExceeded:
        return "cleaned up"


@task(time_limit=1)
def hard_limit(self):
    time.sleep(30)


@task()
def die(self):
    """Kills its own pool child, once the parent knows that it has the task: before, the parent gives it to another."""
    time.sleep(0.5)
    os._exit(3)


@task()
def progress(self, steps):
    for done in range(steps):
        self.send_event("task-progress", done=done, total=steps)
    return steps


@task()
def large(self, size):
    return "x" * size


@task()
def echo(self, *args, **kwargs):
    return [args, kwargs]


@task()
def spawn(self, count):
    """Sends children, whose parent and root are then its own."""
    for number in range(count):
        add.delay(number, number)
    return count
