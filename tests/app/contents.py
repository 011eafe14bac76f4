"""Values of every kind that events and answers are made of, each serialized by kombu, read back by kombu, and printed as JSON."""
import base64, json, random
from kombu.serialization import dumps, loads

chance = random.Random(20)
TEXTS = ["", "null", "Null", "~", "yes", "Off", "1e5", "0x1F", "010", "1:30", "12", "-0.5", ".5", "1_000", "é ☃ 🥬", "a: b", "- x",
         "# no", "'q'", '"q"', "line\nline\n", " tab\t", "\u0000\u0007", "\\", "2026-11-27 05:00:00", "{}", "[1]", "&a", "*a", "!t", "%", "@", "`", "="]

def value(depth):
    kind = chance.randrange(9 if depth < 4 else 6)
    if kind == 0:
        return chance.choice([None, True, False])
    if kind == 1:
        return chance.choice([0, 1, -1, 127, -33, 255, 65536, -70000, 2**31, -2**40, 2**63, 2**64 - 1, -2**63])
    if kind == 2:
        return chance.choice([0.0, -2.5, 1e20, 1e-7, 1795348962.906604, 3.0])
    if kind in (3, 4, 5):
        return chance.choice(TEXTS) + chance.choice(["", "", "x", "long " * 60])
    if kind == 6:
        return [value(depth + 1) for _ in range(chance.choice([0, 1, 3, 20]))]
    if kind == 7:
        shared = value(depth + 2)
        return {"a": shared, "b": [shared, shared]}
    return {chance.choice(TEXTS) + str(i): value(depth + 1) for i in range(chance.choice([0, 1, 5, 18]))}

for _ in range(400):
    for serializer in ["msgpack", "yaml", "json"]:
        content_type, encoding, body = dumps({"v": value(0)}, serializer=serializer)
        read = loads(body, content_type, encoding, accept=[content_type])
        body = body.encode() if isinstance(body, str) else body
        print(json.dumps([content_type, encoding, base64.b64encode(body).decode(), read]))
