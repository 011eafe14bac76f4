"""That alerts parse, and ask for metrics that are there."""

import re

import promql_parser

from tools import DEPLOY, TOP, Problems, load

# What metrics are written by.
SOURCES = ["aggregator/src/metrics", "operator/src/metrics.rs"]
OPERATOR = "celeriac_operator_"


def check() -> Problems:
    written = metrics()
    names = set()
    for rule in (rule for path in (DEPLOY / "alerts").glob("*.yaml") for file in load(path) for group in file["groups"]
                 for rule in group["rules"]):
        name = rule["alert"]
        if name in names:
            yield f"{name}: there twice"
        names.add(name)
        try:
            expression = promql_parser.parse(rule["expr"])
        except ValueError as error:
            yield f"{name}: {error}"
            continue
        asked = set(re.findall(r"\b(?:celeriac|celery|flower)_[a-z_]+", expression.prettify()))
        if not asked:
            yield f"{name}: asks for no metric of ours"
        for metric in asked:
            if metric not in written:
                yield f"{name}: nothing writes {metric}"
        if rule["labels"].get("severity") not in {"warning", "critical"} or not rule["annotations"].keys() >= {"summary", "description"}:
            yield f"{name}: needs a severity (warning or critical), a summary and a description"
    if len(names) < 5:
        yield f"only {len(names)} alerts were found"


def metrics() -> set[str]:
    """The names of all metrics, as they are shown: a counter's ends in _total."""
    found = set()
    for source in SOURCES:
        path = TOP / source
        for file in sorted(path.rglob("*.rs")) if path.is_dir() else [path]:
            text = file.read_text()
            prefix = OPERATOR if source.startswith("operator") else ""
            found |= {prefix + name for name in re.findall(r'^\s*\(?(?:name: )?"([a-z_]+)",', text, re.MULTILINE)}
    return found | {f"{name}_total" for name in found}
