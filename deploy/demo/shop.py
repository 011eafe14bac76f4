"""The demo app of deploy/quickstart: a small web shop that is always busy.

Beat starts everything; orders lead to chains, groups and chords. Tasks are quick, slow, failing, retrying, waiting for an
ETA, and of several priorities, so that every view of Celeriac has something to show.
"""
import os
import random
import time

from celery import Celery, chain, chord, group
from kombu import Queue

app = Celery("shop", broker=os.environ["SHOP_BROKER"], backend=os.environ["SHOP_BROKER"])
app.conf.update(
    task_send_sent_event=True,
    task_default_queue="orders",
    task_queues=[Queue(name) for name in ("orders", "mail", "media", "reports")],
    task_routes={
        "shop.send_mail": {"queue": "mail"},
        "shop.remind": {"queue": "mail"},
        "shop.thumbnail": {"queue": "media"},
        "shop.publish_gallery": {"queue": "media"},
        "shop.sales_report": {"queue": "reports"},
    },
    worker_prefetch_multiplier=2,
    result_expires=300,
    broker_connection_retry_on_startup=True,
    beat_schedule={
        "orders": {"task": "shop.place_order", "schedule": 0.7},
        "stock": {"task": "shop.count_stock", "schedule": 3.0},
        "gallery": {"task": "shop.new_gallery", "schedule": 7.0},
        "newsletter": {"task": "shop.newsletter", "schedule": 20.0},
        "report": {"task": "shop.sales_report", "schedule": 15.0},
        "import": {"task": "shop.import_prices", "schedule": 10.0},
    },
)


class PaymentDeclined(Exception):
    """The bank said no: a failure that no retry helps."""


class GatewayTimeout(Exception):
    """The payment gateway was slow: worth a retry."""


@app.task(name="shop.place_order")
def place_order():
    order = random.randrange(100_000, 999_999)
    chain(reserve_stock.s(order), charge.s(), ship.s()).apply_async()
    # Served before newsletters: on Redis the lower number goes first.
    send_mail.apply_async((order, "thank you for your order"), priority=0)
    remind.apply_async((order,), countdown=random.randrange(10, 40))
    return order


@app.task(name="shop.reserve_stock")
def reserve_stock(order):
    time.sleep(random.uniform(0.01, 0.1))
    return {"order": order, "items": random.randrange(1, 6)}


@app.task(name="shop.charge", bind=True, max_retries=4)
def charge(self, basket):
    time.sleep(random.uniform(0.02, 0.15))
    luck = random.random()
    if luck < 0.15:
        raise self.retry(exc=GatewayTimeout("no answer within 2 s"), countdown=1 + self.request.retries)
    if luck < 0.22:
        raise PaymentDeclined("order %s: card expired" % basket["order"])
    return dict(basket, paid=True)


@app.task(name="shop.ship")
def ship(basket):
    time.sleep(random.uniform(0.01, 0.1))
    return "parcel-%s" % basket["order"]


@app.task(name="shop.send_mail")
def send_mail(customer, text):
    time.sleep(random.uniform(0.02, 0.2))
    if random.random() < 0.01:
        raise ValueError("no such mailbox: %s" % customer)
    return len(text)


@app.task(name="shop.remind")
def remind(order):
    return "reminded about %s" % order


@app.task(name="shop.newsletter")
def newsletter():
    """A burst of low priority: the mail queue fills and drains."""
    for customer in range(60):
        send_mail.apply_async((customer, "our autumn offers"), priority=6)


@app.task(name="shop.count_stock")
def count_stock():
    group(reserve_stock.s(shelf) for shelf in range(3)).apply_async()


@app.task(name="shop.new_gallery")
def new_gallery():
    chord([thumbnail.s(number) for number in range(4)])(publish_gallery.s())


@app.task(name="shop.thumbnail")
def thumbnail(number):
    time.sleep(random.uniform(0.3, 2.0))
    return "image-%d.webp" % number


@app.task(name="shop.publish_gallery")
def publish_gallery(images):
    return "%d images" % len(images)


@app.task(name="shop.sales_report")
def sales_report():
    time.sleep(random.uniform(3, 6))
    return {"orders": random.randrange(100)}


@app.task(name="shop.import_prices")
def import_prices():
    raise ConnectionError("supplier.example: connection refused")
