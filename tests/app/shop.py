"""The demo app as deploy/samples names it: its broker is CELERY_BROKER_URL, which the operator sets.

How often each task was started and has returned is counted in that Redis, in the hashes `truth.start` and `truth.return`,
by Celery's own signals and not by its events.
"""
import os

os.environ.setdefault("DEMO_BROKER", os.environ["CELERY_BROKER_URL"])

import redis
from celery.signals import task_postrun, task_prerun
from demo import app

truth = redis.Redis.from_url(os.environ["DEMO_BROKER"])


@task_prerun.connect
def started(task_id, **_):
    truth.hincrby("truth.start", task_id, 1)


@task_postrun.connect
def ended(task_id, state=None, **_):
    if state == "SUCCESS":
        truth.hincrby("truth.return", task_id, 1)
