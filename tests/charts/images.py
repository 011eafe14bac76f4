"""That the images can be built from what is sent to their builder, as far as that can be said without one."""

import shutil
import tempfile
from pathlib import Path

from tools import DEPLOY, TOP, Problems, program, run

DOCKERFILE = DEPLOY / "images/Dockerfile"
IGNORE = DEPLOY / "images/Dockerfile.dockerignore"


def check() -> Problems:
    code, out, error = run([program("HADOLINT"), str(DOCKERFILE)])
    if code:
        yield out + error
    text = DOCKERFILE.read_text()
    if text.count("USER 65532:65532") != text.count("FROM scratch AS"):
        yield f"{DOCKERFILE}: an image runs as root"
    with tempfile.TemporaryDirectory() as folder:
        sent = send(Path(folder))
        for needed in ["deploy/images/rootfs", "Cargo.lock"]:
            if not (sent / needed).is_file():
                yield f"{IGNORE}: {needed} is not sent to the builder"
        command = ["cargo", "metadata", "--locked", "--offline", "--no-deps", "--format-version=1"]
        code, _, error = run([*command, f"--manifest-path={sent / 'Cargo.toml'}"])
        if code:
            yield f"{IGNORE}: cargo lacks a file: {error}"


def send(folder: Path) -> Path:
    """What the builder gets: the files that the list takes back from being ignored."""
    taken = [line[1:] for line in IGNORE.read_text().splitlines() if line.startswith("!")]
    _, listed, _ = run(["git", "-C", str(TOP), "ls-files", "--cached", "--others", "--exclude-standard"])
    for name in listed.splitlines():
        if any(name == one or name.startswith(f"{one}/") for one in taken) and (TOP / name).is_file():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(TOP / name, target)
    return folder
