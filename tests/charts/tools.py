"""The programs that the checks run, and the files they look at."""

import json
import os
import subprocess
import tempfile
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import yaml

TOP = Path(__file__).resolve().parents[2]
DEPLOY = TOP / "deploy"
VALUES = TOP / "tests/charts/values"

# What is wrong, in words; nothing when nothing is.
Problems = Iterable[str]


def program(variable: str) -> str:
    """A program that tests/run has installed and named."""
    path = os.environ.get(variable)
    if not path:
        raise SystemExit(f"{variable} is not set: run tests/run, or name the program")
    return path


def run(command: list[str], stdin: str | None = None) -> tuple[int, str, str]:
    """Runs a program: its exit status, what it printed, what it complained of."""
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, done.stdout, done.stderr


def helm(*arguments: str, stdin: str | None = None) -> tuple[int, str]:
    """Runs helm: its exit status and all it said."""
    code, out, error = run([program("HELM"), *arguments], stdin)
    # That files/ are links is as it should be.
    error = "\n".join(line for line in error.splitlines() if "found symbolic link" not in line)
    return code, out + error


def load(path: Path) -> list:
    """The documents of a file."""
    return [document for document in yaml.safe_load_all(path.read_text()) if document is not None]


def value_sets() -> dict[str, Path | None]:
    """The sets of values by name, the defaults among them."""
    return {"defaults": None} | {path.stem: path for path in sorted(VALUES.glob("*.yaml"))}


@cache
def render(values: Path | None, chart: str = "celeriac", *more: str) -> str:
    """What a chart makes of a set of values."""
    command = [program("HELM"), "template", "celeriac", str(DEPLOY / "charts" / chart), "--namespace=celeriac", *more]
    code, out, error = run(command + ([f"--values={values}"] if values else []))
    if code:
        raise SystemExit(f"{chart} with {values or 'defaults'}: {error}")
    return out


def documents(text: str) -> list[dict]:
    """The objects of a rendered text."""
    return [document for document in yaml.safe_load_all(text) if document]


def checkov(text: str, skip: list[str]) -> Problems:
    """What checkov finds in objects."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(text)
        file.flush()
        command = [program("CHECKOV"), "--framework=kubernetes", "--skip-download", "--quiet", "--compact", "--output=json"]
        _, out, error = run([*command, f"--file={file.name}", *(f"--skip-check={check}" for check in skip)])
    try:
        report = json.loads(out)
    except json.JSONDecodeError:
        yield f"checkov: no report: {error}"
        return
    if report["summary"]["passed"] < 100:
        yield f"checkov looked at next to nothing: {report['summary']}"
    for finding in report["results"]["failed_checks"]:
        yield f"{finding['resource']}: {finding['check_id']}: {finding['check_name']}"
