"""Writes a project: all of its files under a temporary name, which is then renamed."""

from __future__ import annotations

import random
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from when_ml_pipeline_meets_hydra.composing.tree import PRIMARY
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem
from when_ml_pipeline_meets_hydra.scaffold.profile import Profile, option_text, profile
from when_ml_pipeline_meets_hydra.startup.dataclasses import dataclass

SAMPLE = "sample.csv"
TEMPLATE = Path(__file__).parent / "template"
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*", re.ASCII)
_ROOT = "${oc.env:WMH_PROJECT,.}"
_TAKEN = {"c", "test", "tests", "src", "data", "conf", "when_ml_pipeline_meets_hydra"}


@dataclass(frozen=True, kw_only=True)
class NewProject:
    """A project to write: its ``name``, and the CSV ``file`` with its profile; without one it has a small table."""

    name: str
    file: Path | None
    found: Profile | None

    @property
    def package(self) -> str:
        """The name of its package."""
        return self.name.replace("-", "_").lower()

    @property
    def dataset(self) -> str:
        """The option of its data set."""
        stem = re.sub(r"\W+", "_", self.file.stem, flags=re.ASCII).strip("_").lower() if self.file else "sample"
        is_taken = (PRIMARY / "preprocessing" / "dataset" / f"{stem}.yaml").exists()
        return f"{self.package}_{stem}" if is_taken or not stem or stem == "own_table" else stem

    @property
    def values(self) -> dict[str, str]:
        """What stands for each mark in a template."""
        path = f"{_ROOT}/data/{self.file.name if self.file else SAMPLE}"
        return {
            "name": self.name,
            "package": self.package,
            "dataset": self.dataset,
            "path": f'"{path}"',
            "target": self.found.target if self.found else "price",
            "split": self.found.split if self.found else "random",
        }

    def files(self) -> dict[str, str]:
        """The texts of its files, without the data."""
        found = {_filled(str(path), self.values): _filled(text, self.values) for path, text in _templates()}
        data = self.file or Path(SAMPLE)
        known = self.found or Profile(
            rows=80,
            target="price",
            task="regression",
            columns={"size": "int", "weight": "float", "colour": "string"},
            excluded={},
            time=None,
        )
        option = option_text(known, self.dataset, f"{_ROOT}/data/{data.name}", data.name)
        return {**found, f"conf/preprocessing/dataset/{self.dataset}.yaml": option}


def new_project(name: str, csv: Path | None, target: str | None) -> NewProject:
    """Return the project of that name. Raises ``BadInput`` if it cannot be one, or for a file that is no table."""
    if not _NAME.fullmatch(name) or name.lower() in _TAKEN:
        message = "expected letters, digits, _ and -, beginning with a letter, and no name that is taken"
        raise BadInput(Problem(key="name", value=name, message=message))
    if (csv is None) != (target is None):
        raise BadInput(Problem(key="--csv", message="--csv FILE and --target COLUMN belong together"))
    return NewProject(name=name, file=csv, found=profile(csv, target) if csv and target else None)


def write_project(project: NewProject, folder: Path) -> None:
    """Write a project into a new or empty folder. Raises ``BadInput`` if it is not empty; then nothing is written."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        message = "there is something of this name already, and nothing is overwritten"
        raise BadInput(Problem(key="folder", value=str(folder), message=message, remedy="Give another name"))
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        _write(temporary, project.files())
        data = temporary / "data"
        data.mkdir()
        if project.file:
            shutil.copyfile(project.file, data / project.file.name)
        else:
            (data / SAMPLE).write_text(sample(), encoding="utf-8")
        temporary.chmod(0o755)
        with suppress(FileNotFoundError):
            folder.rmdir()
        temporary.rename(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _write(folder: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")


def _templates() -> Iterator[tuple[Path, str]]:
    """The path of each file in a project, with its text, in which marks such as ``@package@`` stand for values."""
    for file in sorted(TEMPLATE.rglob("*.txt")):
        inside = file.relative_to(TEMPLATE).with_suffix("")
        yield Path(str(inside).replace("PACKAGE", "@package@")), file.read_text(encoding="utf-8")


def _filled(text: str, values: Mapping[str, str]) -> str:
    return re.sub(r"@(name|package|dataset|path|target|split)@", lambda found: values[found[1]], text)


def sample() -> str:
    """A small table, in which the price follows from the other columns."""
    chance = random.Random(0)
    lines = ["size,weight,colour,price"]
    for _ in range(80):
        size, weight = chance.randint(1, 50), round(chance.uniform(0.1, 9.9), 2)
        colour = chance.choice(("red", "green", "blue"))
        price = 3 * size + 2 * weight + {"red": 10, "green": 0, "blue": 5}[colour] + chance.gauss(0, 1)
        lines.append(f"{size},{weight},{colour},{price:.2f}")
    return "\n".join(lines) + "\n"
