"""That nothing in deploy/ is a second copy of something that can drift from the first."""

from pathlib import Path

import yaml

from tools import DEPLOY, Problems, documents, load, program, render, run

BASE = DEPLOY / "kustomize/base/celeriac.yaml"
CERTIFICATE = DEPLOY / "kustomize/cert-manager/certificate.yaml"
HEADER = "# Made by tests/charts/check.py --write from deploy/charts/celeriac; not edited by hand.\n"
# Labels that say what helm did, which it did not do here.
HELM_LABELS = ["helm.sh/chart", "app.kubernetes.io/managed-by"]


def definitions() -> Problems:
    """The chart's definitions are those of deploy/crds, but for labels and for what keeps them."""
    chart = {one["metadata"]["name"]: one for one in documents(render(None, chart="celeriac-crds"))}
    ours = {one["metadata"]["name"]: one for path in (DEPLOY / "crds").glob("*.yaml") for one in load(path)}
    if chart.keys() != ours.keys():
        yield f"the chart has {sorted(chart)}, deploy/crds has {sorted(ours)}"
    for name in chart.keys() & ours.keys():
        if chart[name]["spec"] != ours[name]["spec"]:
            yield f"{name}: the chart's is another than that of deploy/crds"
        if chart[name]["metadata"].get("annotations") != {"helm.sh/resource-policy": "keep"}:
            yield f"{name}: goes with its chart, and every object with it"
    gone = documents(render(None, "celeriac-crds", "--set=keep=false"))
    if any(one["metadata"].get("annotations") for one in gone):
        yield "with keep: false definitions are kept all the same"


def rules() -> Problems:
    """The operator's rights in the chart are those that the tests run it under."""
    def rights(found: list[dict], kind: str) -> list:
        return [one["rules"] for one in found if one["kind"] == kind and one["metadata"]["name"] == "celeriac-operator"]

    chart, ours = documents(render(None)), load(DEPLOY / "rbac/operator.yaml")
    for kind in ["ClusterRole", "Role"]:
        if not rights(ours, kind) or rights(chart, kind) != rights(ours, kind):
            yield f"{kind} celeriac-operator: the chart's is another than that of deploy/rbac"


def from_chart() -> dict[Path, str]:
    """The files of deploy/kustomize that the chart makes, and what should be in them."""
    with_certificate = render(None, "celeriac", "--set=aggregator.tls.mode=certManager")
    own = ("Issuer", "Certificate")
    parts = {BASE: [], CERTIFICATE: []}
    for document in documents(with_certificate):
        # Nothing of it is helm's to run.
        if "helm.sh/hook" in document["metadata"].get("annotations", {}) or document["metadata"]["name"] == "celeriac-uninstall":
            continue
        without_helm(document)
        parts[CERTIFICATE if document["kind"] in own else BASE].append(document)
    return {path: HEADER + yaml.safe_dump_all(found, sort_keys=False, width=200) for path, found in parts.items()}


def without_helm(value) -> None:
    if isinstance(value, dict):
        for label in HELM_LABELS:
            # What others' pods are selected by stays.
            if value.get("app.kubernetes.io/name") == "celeriac":
                value.pop(label, None)
        value = list(value.values())
    if isinstance(value, list):
        for one in value:
            without_helm(one)


def write() -> None:
    """Makes them."""
    for path, text in from_chart().items():
        path.write_text(text)


def kustomize() -> Problems:
    """They are what the chart makes, and everything builds."""
    for path, text in from_chart().items():
        if not path.exists() or path.read_text() != text:
            yield f"{path.relative_to(DEPLOY.parent)}: not what the chart makes: run tests/charts/check.py --write"
    counts = {}
    for folder in sorted(path.parent for path in DEPLOY.rglob("kustomization.yaml")):
        code, out, error = run([program("KUBECTL"), "kustomize", str(folder)])
        if code:
            yield f"kubectl kustomize {folder}: {error}"
        counts[folder.relative_to(DEPLOY).as_posix()] = len(documents(out)) if not code else 0
    wanted = {"kustomize/base", "kustomize/cert-manager", "."}
    if counts.keys() != wanted:
        yield f"kustomizations are {sorted(counts)}, expected {sorted(wanted)}"
    base, certificate = (len(documents(text)) for text in from_chart().values())
    expected = {"kustomize/base": base + 1, "kustomize/cert-manager": base + 1 + certificate, ".": base + 1 + 4}
    if counts != expected:
        yield f"objects built: {counts}, expected {expected}"
