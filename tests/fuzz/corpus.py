"""Makes the corpora of the fuzz targets of what was recorded of real workers: corpus.py FOLDER."""
import base64
import hashlib
import json
import pathlib
import sys

FIXTURES = pathlib.Path(__file__).resolve().parent.parent / "fixtures"
TYPES = ["application/json", "application/x-msgpack", "application/x-yaml", "application/data"]
URLS = [
    "redis://:password@host:6379/0", "rediss://user:p%40ss@host:6380/3?ssl_cert_reqs=required&ssl_ca_certs=/ca.pem",
    "redis+socket:///run/redis.sock?virtual_host=2", "sentinel://:p@a:26379/0;sentinel://b:26380",
    "amqp://guest:guest@localhost:5672//", "amqps://u:p@[::1]:5671/%2Fvhost?heartbeat=10", "pyamqp://h1;h2/v",
    "http://u:p@rabbit:15672", "redis://host:99999/x", "amqp://u:p@h/v?ssl=1",
]
# As many of each recording; libFuzzer keeps those that reach something new.
EACH = 300


def put(folder, data):
    (folder / hashlib.sha1(data).hexdigest()).write_bytes(data)


def lines(name):
    with open(FIXTURES / name) as file:
        rows = [json.loads(line) for line in file]
    return rows[:: max(1, len(rows) // EACH)]


def main(top):
    folders = {name: pathlib.Path(top) / name for name in ["envelope", "event", "reply", "url"]}
    for folder in folders.values():
        folder.mkdir(parents=True, exist_ok=True)
    for name in ["redis-events", "redis-pidbox", "redis-compat", "redis-tasks", "serializers"]:
        for row in lines(f"{name}.jsonl"):
            payload = row.get("payload")
            if payload is None:
                continue
            put(folders["envelope"], payload.encode())
            envelope = json.loads(payload)
            body = base64.b64decode(envelope["body"])
            place = row.get("channel") or row.get("channel_or_key") or row.get("key") or ""
            if "celeryev" in place and envelope["content-type"] in TYPES:
                put(folders["event"], bytes([TYPES.index(envelope["content-type"])]) + body)
            if "reply" in place and envelope["content-type"] == TYPES[0]:
                put(folders["reply"], body)
    for url in URLS:
        put(folders["url"], url.encode())


main(sys.argv[1])
