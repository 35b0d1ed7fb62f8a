"""The extension of PyScaffold: ``putup --wmh NAME`` makes one of its projects, with the files of ours."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from pyscaffold import structure
from pyscaffold.actions import Action, ActionParams, ScaffoldOpts, Structure
from pyscaffold.extensions import Extension
from pyscaffold.operations import no_overwrite

from when_ml_pipeline_meets_hydra.scaffold.project import SAMPLE, NewProject, sample

_THEIRS = ("setup.cfg", "pyproject.toml", "README.md", ".gitignore")  # which PyScaffold writes, too
_REQUIREMENT = "when_ml_pipeline_meets_hydra"


class Wmh(Extension):  # type: ignore[misc]
    """Add a machine-learning pipeline of your own: options, data set, model, stage, tests (wmh)."""

    def activate(self, actions: list[Action]) -> list[Action]:
        """Add our files to those of PyScaffold."""
        actions = self.register(actions, _require, before="define_structure")
        added: list[Action] = self.register(actions, _add_files, after="define_structure")
        return added


def _require(struct: Structure, opts: ScaffoldOpts) -> ActionParams:
    requirements = [*opts.get("requirements", ())]
    return struct, {**opts, "requirements": list(dict.fromkeys([*requirements, _REQUIREMENT]))}


def _add_files(struct: Structure, opts: ScaffoldOpts) -> ActionParams:
    """Add our files, none of which replaces an existing one, and our settings to ``pyproject.toml``."""
    package = str(opts["package"])
    project = NewProject(name=package, file=None, found=None)
    ours = project.files()
    files: dict[str, Any] = {name: text for name, text in ours.items() if name not in _THEIRS}
    files[f"data/{SAMPLE}"] = sample()
    for name, text in files.items():
        if name != f"src/{package}/__init__.py":
            struct = structure.ensure(struct, Path(name), text, no_overwrite())
    settings = "".join(ours["pyproject.toml"].partition("[tool.wmh]")[1:])
    commands = "Train the model, and run the tests::\n\n    wmh train\n    python -m pytest tests/test_pipeline.py\n"
    ignored = "# Results and records of the pipeline\n.pipeline/\n.env\n"
    for name, more in (("pyproject.toml", settings), ("README.rst", commands), (".gitignore", ignored)):
        struct = structure.modify(struct, name, partial(_with_more, more=more, opts=opts))
    return struct, opts


def _with_more(content: Any, _: Any, more: str, opts: ScaffoldOpts) -> tuple[str, Any]:
    """A file of PyScaffold's with more text at its end; an existing one is left as it is."""
    text = structure.reify_content(content, opts) or ""
    return f"{text.rstrip()}\n\n{more}", no_overwrite()
