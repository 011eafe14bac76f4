"""Checks deploy/: charts, kustomize, alerts, images. Needs no cluster and no network; says one line for each check.

    check.py [--write]      --write makes the files of deploy/kustomize that the chart makes anew

HELM, KUBECTL, CHECKOV and HADOLINT name the programs; tests/run installs them.
"""

import argparse
import sys
from pathlib import Path

import alerts
import images
import rendered
import same
from tools import DEPLOY, VALUES, Problems, helm, checkov, load, render, value_sets

# What a chart that says >=1.29 has to fit: the oldest, one between, the newest that has a schema.
KUBERNETES = ["1.29", "1.33", "1.37"]


def lint() -> Problems:
    for chart in ["celeriac", "celeriac-crds"]:
        code, said = helm("lint", "--strict", "--quiet", str(DEPLOY / "charts" / chart))
        if code:
            yield said


def renders() -> Problems:
    """Every set of values makes objects that Kubernetes of each version has a schema for."""
    sets = value_sets()
    if len(sets) < 12:
        yield f"{VALUES}: {len(sets)} sets of values; 12 are promised"
    for name, values in sets.items():
        yield from rendered.broken(name, render(values), KUBERNETES)
    yield from rendered.broken("celeriac-crds", render(None, chart="celeriac-crds"), KUBERNETES)


def covers() -> Problems:
    """Each value is something else than its default in some set."""
    default = load(DEPLOY / "charts/celeriac/values.yaml")[0]
    told = {path for values in value_sets().values() if values for path in different(default, load(values)[0])}
    # Of a map or list one is enough; of a subtree all.
    for path in sorted(leaves(default) - told):
        yield f"{'.'.join(path)}: no set in {VALUES} says anything but the default"


def leaves(values, path=()) -> set:
    if isinstance(values, dict) and values:
        return set().union(*(leaves(value, (*path, key)) for key, value in values.items()))
    return {path}


def different(default, values, path=()) -> set:
    if isinstance(default, dict) and default and isinstance(values, dict):
        return set().union(set(), *(different(default.get(key), value, (*path, key)) for key, value in values.items()))
    return {path} if values != default else set()


def refuses() -> Problems:
    """What cannot be is refused, and the refusal names the value."""
    cases = load(VALUES.parent / "refused.yaml")[0]
    for case in cases:
        code, said = helm("template", "celeriac", str(DEPLOY / "charts/celeriac"), "--namespace=celeriac", "--values=-",
                          stdin=case["values"])
        if code == 0:
            yield f"{case['values']}: not refused"
        for words in case["says"]:
            if code and words not in said:
                yield f"{case['values']}: refused, but without the words {words!r}:\n{said}"


def hardened() -> Problems:
    """Nothing is found by checkov: at the defaults, but that a digest is a release's to write; and with digests nothing at all."""
    sets = value_sets()
    yield from checkov(render(None), skip=["CKV_K8S_43"])
    yield from checkov(render(sets["digests"]), skip=[])


CHECKS = {
    "helm lint": lint,
    "each set of values fits Kubernetes " + ", ".join(KUBERNETES): renders,
    "each value is in a set": covers,
    "what cannot be is refused": refuses,
    "checkov": hardened,
    "definitions are those of deploy/crds": same.definitions,
    "rules are those of deploy/rbac": same.rules,
    "kustomize": same.kustomize,
    "alerts": alerts.check,
    "images": images.check,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    if parser.parse_args().write:
        same.write()
    failed = 0
    for name, check in CHECKS.items():
        problems = list(check())
        failed += bool(problems)
        print(f"{'FAILED' if problems else 'ok':6} {name}", flush=True)
        for problem in problems:
            print(f"       {problem}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    sys.exit(main())
