"""Whether rendered objects are such as Kubernetes takes."""

from collections import Counter
from functools import cache

import kubernetes_validate
from kubernetes_validate import utils

from tools import Problems, documents

# Kinds of others, which Kubernetes itself has no schema for.
OTHERS = {"cert-manager.io", "monitoring.coreos.com"}

# Each look at a schema reads megabytes.
utils.schema_contents = cache(utils.schema_contents)

# What was found sound once, in some set, is not looked at again.
_sound: set[tuple[str, str]] = set()


def broken(name: str, text: str, versions: list[str]) -> Problems:
    """What is wrong with the objects of a set."""
    found = documents(text)
    identities = Counter(f"{one['kind']} {one['metadata'].get('namespace', '')}/{one['metadata']['name']}" for one in found)
    for identity, count in identities.items():
        if count > 1:
            yield f"{name}: {identity} is there {count} times"
    for document in found:
        identity = f"{name}: {document['kind']} {document['metadata']['name']}"
        if document["apiVersion"].split("/")[0] not in OTHERS:
            for version in versions:
                problem = misfit(document, version)
                if problem:
                    yield f"{identity}: Kubernetes {version}: {problem}"
        yield from (f"{identity}: {problem}" for problem in loose(document))


def misfit(document: dict, version: str) -> str | None:
    key = (version, repr(document))
    if key in _sound:
        return None
    try:
        kubernetes_validate.validate(document, version, strict=True)
    except (kubernetes_validate.ValidationError, kubernetes_validate.SchemaNotFoundError) as error:
        # The rest is the schema, whole.
        return str(error).splitlines()[0]
    _sound.add(key)
    return None


def loose(document: dict) -> Problems:
    """What every object of ours has, and no schema asks for."""
    labels = document["metadata"].get("labels", {})
    if labels.get("app.kubernetes.io/name") != "celeriac":
        yield "has not the label app.kubernetes.io/name: celeriac"
    spec = document.get("spec", {})
    pod = spec.get("template", {}).get("spec") if isinstance(spec, dict) else None
    if not pod:
        return
    if not spec.get("selector", {"matchLabels": {}})["matchLabels"].items() <= spec["template"]["metadata"]["labels"].items():
        yield "its selector does not fit its pods"
    mounted = {mount["name"] for container in pod["containers"] for mount in container.get("volumeMounts", [])}
    given = {volume["name"] for volume in pod.get("volumes", [])}
    given |= {claim["metadata"]["name"] for claim in spec.get("volumeClaimTemplates", [])}
    for volume in sorted(mounted ^ given):
        yield f"the volume {volume} is mounted and not there, or there and not mounted"
