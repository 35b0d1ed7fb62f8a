"""The steps that an orchestrator runs, as a JSON file from which any process can compute each of them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from when_ml_pipeline_meets_hydra.errors import BadInput, Problem
from when_ml_pipeline_meets_hydra.masking import MASK
from when_ml_pipeline_meets_hydra.planning.plan import Step
from when_ml_pipeline_meets_hydra.storage import durable_files

SECRETS = "WMH_SECRET_OVERRIDES"  # JSON: place of an override with a secret → the override
SHORT = 12  # characters of a key in names


@dataclass(frozen=True, kw_only=True)
class Node:
    """A step of a graph.

    ``after`` are the keys of the nodes that have to succeed before; ``follows`` of the one that has to have ended, so
    that effects take place in their order. ``is_stored``: it has a result, which others may compute or use as well.
    """

    key: str
    stage: str
    subcommand: str
    title: str
    reason: str
    after: tuple[str, ...]
    follows: str | None
    is_stored: bool
    jobs: tuple[int, ...]

    @property
    def before(self) -> tuple[str, ...]:
        """The keys of all nodes that have to have ended before."""
        return (*self.after, *([self.follows] if self.follows and self.follows not in self.after else []))

    @property
    def name(self) -> str:
        """Stage, subcommand (with the element) and key: ``modeling train 1a2b3c4d5e6f``."""
        return f"{self.title} {self.key[:SHORT]}"

    @property
    def identifier(self) -> str:
        """The name in letters, digits and underscores."""
        words = "".join(char if char.isascii() and char.isalnum() else " " for char in self.name).split()
        return "_".join(words)

    @property
    def file(self) -> str:
        """The name of the files of this node."""
        return f"{self.stage}-{self.key[:SHORT]}"

    @classmethod
    def of(cls, step: Step, nodes: Mapping[str, Any]) -> Node:
        """Return the node of a step, after those of its dependencies that are ``nodes`` of the same graph."""
        before = (*step.needs.values(), *step.after)
        return cls(
            key=step.key,
            stage=step.call.stage,
            subcommand=step.call.subcommand,
            title=step.call.title,
            reason=step.reason,
            after=tuple(key for key in dict.fromkeys(before) if key in nodes),
            follows=step.follows if step.follows in nodes else None,
            is_stored=step.is_storable,
            jobs=tuple(step.jobs),
        )


@dataclass(frozen=True, kw_only=True)
class Command:
    """The command behind a graph: its overrides, those with secrets masked, and the folder in which it was given."""

    overrides: tuple[str, ...]
    multirun: bool
    config_dirs: tuple[str, ...]
    folder: str

    def real_overrides(self) -> list[str]:
        """The overrides with their secrets, from the environment. Raises ``BadInput`` if one is not there."""
        secrets = json.loads(os.environ.get(SECRETS) or "{}")
        real = [secrets.get(str(place), line) for place, line in enumerate(self.overrides)]
        if missing := [line for line in real if MASK in line]:
            message = "this secret was given on the command line, and is kept nowhere"
            remedy = "Give it as ${oc.env:NAME}, an environment variable that this process has as well"
            raise BadInput(*(Problem(key=line.partition("=")[0], message=message, remedy=remedy) for line in missing))
        return real


@dataclass(frozen=True, kw_only=True)
class Graph:
    """The nodes of one submission, in dependency order.

    ``combinations`` are the numbers of the jobs of each combination, ``record`` is the folder of the record of the run,
    ``promise`` what the steps' inputs are where they were planned, ``options`` are those of the orchestrator. If it
    ``stops``, no further node starts after a failure.
    """

    command: Command
    record: Path
    nodes: tuple[Node, ...]
    combinations: tuple[tuple[int, ...], ...]
    promise: Mapping[str, Any]
    options: Mapping[str, Any]
    stops: bool

    @property
    def home(self) -> Path:
        """The folder of the store and of the records."""
        return self.record.parent.parent

    def write(self, file: Path) -> None:
        """Write it to a file, for this user alone."""
        content = {**asdict(self), "record": str(self.record)}
        file.parent.mkdir(parents=True, exist_ok=True)
        durable_files.write(file, json.dumps(content, ensure_ascii=False).encode())
        file.chmod(0o600)

    @classmethod
    def read(cls, file: Path) -> Graph:
        """Read a graph from its file."""
        content = json.loads(file.read_bytes())
        command = content["command"]
        lists = {name: tuple(command[name]) for name in ("overrides", "config_dirs")}
        nodes = ({**n, "after": tuple(n["after"]), "jobs": tuple(n["jobs"])} for n in content["nodes"])
        return cls(
            command=Command(**{**command, **lists}),
            record=Path(content["record"]),
            nodes=tuple(Node(**node) for node in nodes),
            combinations=tuple(map(tuple, content["combinations"])),
            promise=content["promise"],
            options=content["options"],
            stops=content["stops"],
        )

    def facts_file(self, node: Node) -> Path:
        """The file into which a node writes its facts."""
        return nodes_folder(self.record) / f"{node.file}.json"


def stop_file(record: Path) -> Path:
    """The file that tells nodes not to start, after a failure of a run that stops at the first one."""
    return nodes_folder(record) / "stop"


def notes_file(graph: Path) -> Path:
    """The file into which an orchestrator writes lines for the user, beside that of its graph."""
    return graph.with_suffix(".notes")


def nodes_folder(record: Path) -> Path:
    """The folder in a record for what an orchestrator and its nodes write."""
    return record / "orchestrator"


def masked_command(
    overrides: Sequence[str], mask: Callable[[str], str], *, multirun: bool, config_dirs: Sequence[str]
) -> tuple[Command, dict[str, str]]:
    """Return the command with secrets masked, and the environment variables that bring these to the nodes."""
    masked = [mask(line) for line in overrides]
    secrets = {str(n): line for n, (line, shown) in enumerate(zip(overrides, masked, strict=True)) if line != shown}
    absolute = tuple(folder if ":" in folder else str(Path(folder).absolute()) for folder in config_dirs)
    command = Command(overrides=tuple(masked), multirun=multirun, config_dirs=absolute, folder=str(Path.cwd()))
    return command, {SECRETS: json.dumps(secrets)} if secrets else {}


def unfit_steps(steps: Sequence[Step], by_key: Mapping[str, Step], title: str) -> Iterator[Problem]:
    """Yield a problem for each step that cannot be computed in a process that knows its key alone."""
    for step in steps:
        if not step.call.has_known_code:
            message = f"its code is in no file, so {title} cannot run it"
            yield Problem(key=step.call.title, message=message, remedy="Write it into a module")
        for needed in step.needs.values():
            if not by_key[needed].is_storable:
                message = f"it receives the result of {by_key[needed].call.title}, which is not stored"
                yield Problem(
                    key=step.call.title,
                    message=message,
                    remedy=f"{title} cannot hand it over: use hydra/launcher=local",
                )
