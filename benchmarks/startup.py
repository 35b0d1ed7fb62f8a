"""CPU seconds of starting up and of doing nothing, against a bare Hydra app with the same config tree.

    python benchmarks/startup.py [-n ROUNDS]

Each round runs every program once, ours and the one that it is compared with right after one another, so that both
see the same machine; a first round, which is not counted, fills caches. CPU time is user and system time of the whole
child process. The table shows medians over all rounds, and the median of the ratios of the pairs.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from textwrap import dedent

import yaml

import when_ml_pipeline_meets_hydra

OURS = (str(Path(sys.executable).parent / "when_ml_pipeline_meets_hydra"),)
TREE = Path(when_ml_pipeline_meets_hydra.__file__).parent / "config"
STAGES = ("preprocessing", "modeling", "deployment")
CHOICES = (
    "preprocessing/dataset=dataset_1",
    "preprocessing/param=param_1",
    "modeling/model=model_1",
    "modeling/param=param_1",
    "deployment/cluster=cluster_1",
)

COLD = ("home",)  # no result is stored
NEW = ("home", "cache")  # nor was the command ever composed

# Three steps that do nothing but can be stored; each receives what the real ones receive.
STEPS = """
    from pathlib import Path
    from typing import Any

    from when_ml_pipeline_meets_hydra.contracts import Artifact


    def preprocessing(dataset: Any, p_param: Any, *, out: Path) -> Artifact:
        return Artifact(path=out)


    def modeling(model: Any, m_param: Any, preprocessing: Artifact, *, out: Path) -> Artifact:
        return Artifact(path=out)


    def deployment(cluster: Any, modeling: Artifact, *, out: Path) -> Artifact:
        return Artifact(path=out)
"""

BARE_APP = """
    import hydra


    @hydra.main(version_base=None, config_path="config", config_name="config")
    def main(cfg):
        if cfg.c.name == "help":
            print("This app has some commands")


    main()
"""

# About the least that such an app can be: six groups of three options.
SMALL_GROUPS = ("dataset", "p_param", "model", "m_param", "cluster")
SMALL_APP = """
    import hydra


    @hydra.main(version_base=None, config_path="small", config_name="config")
    def main(cfg):
        print(cfg.stage)


    main()
"""


@dataclass
class Pair:
    """Two programs that are compared, and what they took: (ours, the other one), in CPU seconds."""

    name: str
    ours: Sequence[str]
    other_name: str
    other: Sequence[str]
    without: tuple[str, ...] = ()  # the folders of the playground that are removed before
    seconds: list[tuple[float, float]] = field(default_factory=list)

    def row(self) -> str:
        """The row of the table."""
        ours, other = (statistics.median(s) for s in zip(*self.seconds, strict=True))
        ratio = statistics.median(a / b for a, b in self.seconds)
        return f"| {self.name} | {ours * 1000:.0f} | {self.other_name} | {other * 1000:.0f} | {ratio:.2f} |"


class Playground:
    """A temporary folder with the no-op steps, and the bare Hydra app with the same config tree."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.home = folder, folder / "home"
        self.conf, self.app = folder / "conf", folder / "app.py"
        (folder / "noop.py").write_text(dedent(STEPS))
        self.app.write_text(dedent(BARE_APP))
        self.small_app = folder / "small_app.py"
        self.small_app.write_text(dedent(SMALL_APP))
        self._write_small_tree(folder / "small")
        self._copy_tree(folder / "config")
        for root in (self.conf, folder / "config"):
            for stage in STAGES:
                file = root / "c" / f"{stage}_sub" / "noop.yaml"
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(f"# @package {stage}_sub\n# Do nothing\n_target_: noop.{stage}\n")
        self.environment = {
            # Byte code has to be written and kept, or each start would compile the sources again.
            **{k: v for k, v in os.environ.items() if k not in ("PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX")},
            "PYTHONPATH": str(folder),
            "WMH_HOME": str(self.home),
            "XDG_CACHE_HOME": str(folder / "cache"),
            "WMH_PACKAGES": "noop",
        }

    @staticmethod
    def _copy_tree(folder: Path) -> None:
        """The same configs, with Hydra's own sweeper, launcher and folders.

        Hydra alone cannot include the hyperparameters of the chosen model; its default is that file itself.
        """
        shutil.copytree(TREE, folder, ignore=shutil.ignore_patterns("hydra"))
        content = yaml.safe_load((TREE / "config.yaml").read_text())
        defaults = [d for d in content["defaults"] if "override hydra/" not in str(d)]
        own = f"{next(d['modeling/model'] for d in defaults if 'modeling/model' in d)}/medium"
        content["defaults"] = [{"modeling/param": own} if d == {"modeling/param": "medium"} else d for d in defaults]
        del content["hydra"]
        (folder / "config.yaml").write_text(yaml.safe_dump(content, sort_keys=False))

    @staticmethod
    def _write_small_tree(folder: Path) -> None:
        options: dict[str, dict[str, object]]
        options = {group: {name: {group: {"name": name, "size": 1}} for name in "abc"} for group in SMALL_GROUPS}
        options["c"] = {stage: {"stage": stage} for stage in STAGES}
        for group, contents in options.items():
            (folder / group).mkdir(parents=True)
            for name, content in contents.items():
                (folder / group / f"{name}.yaml").write_text(f"# @package _global_\n{yaml.safe_dump(content)}")
        defaults = [{group: next(iter(contents))} for group, contents in options.items()]
        (folder / "config.yaml").write_text(yaml.safe_dump({"defaults": [*defaults, "_self_"]}))

    def pairs(self) -> list[Pair]:
        """All that is measured."""
        bare = (sys.executable, str(self.app))
        subcommands = [f"c/{stage}_sub=noop" for stage in STAGES]
        three = [*CHOICES, f"c={','.join(STAGES)}", "--multirun"]
        ours = (*OURS, *subcommands, *three, f"--config-dir={self.conf}")
        other = (*bare, *(f"+{s}" for s in subcommands), *three)
        imports = (sys.executable, "-c", "import rich.console, yaml")
        name, small_name, small = "bare Hydra", "bare Hydra, small tree", (sys.executable, str(self.small_app))
        small_three = (*small, f"c={','.join(STAGES)}", "--multirun")
        return [
            Pair("`--help`", (*OURS, "--help"), '`python -c "import rich.console, yaml"`', imports),
            Pair("`--help`", (*OURS, "--help"), name, (*bare, *CHOICES, "--help")),
            Pair("`c=help`", (*OURS, "c=help"), name, (*bare, *CHOICES, "c=help")),
            Pair("three no-op steps, for the first time", ours, name, other, without=NEW),
            Pair("three no-op steps, nothing stored", ours, name, other, without=COLD),
            Pair("three no-op steps, unchanged", ours, name, other),
            Pair("`--help`", (*OURS, "--help"), small_name, (*small, "--help")),
            Pair("three no-op steps, for the first time", ours, small_name, small_three, without=NEW),
            Pair("three no-op steps, nothing stored", ours, small_name, small_three, without=COLD),
            Pair("three no-op steps, unchanged", ours, small_name, small_three),
        ]

    def measure(self, pair: Pair) -> tuple[float, float]:
        """Run both programs of a pair once; returns their CPU seconds."""
        self.remove(pair.without)
        return self._cpu_seconds(pair.ours), self._cpu_seconds(pair.other)

    def remove(self, names: Sequence[str]) -> None:
        """Take folders away. They are deleted at the end: a disk is slower after thousands of files were deleted."""
        for name in names:
            if (self.folder / name).exists():
                (self.folder / name).rename(tempfile.mkdtemp(dir=self.folder, prefix="removed-"))

    def _cpu_seconds(self, command: Sequence[str]) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(command, cwd=self.folder, env=self.environment, capture_output=True, text=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)}\nexit code {done.returncode}\n{done.stdout}{done.stderr}")
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def machine() -> str:
    """What it is measured on."""
    versions = f"Python {platform.python_version()}, hydra-core {version('hydra-core')}"
    return f"{versions}, {os.cpu_count()} cores"


def main() -> None:
    """Measure and print the table, as Markdown."""
    parser = argparse.ArgumentParser(description="CPU time of starting up, against a bare Hydra app")
    parser.add_argument("-n", type=int, default=15, metavar="ROUNDS", help="rounds (default: 15)")
    rounds = parser.parse_args().n
    with tempfile.TemporaryDirectory(prefix="startup-") as folder:
        playground = Playground(Path(folder))
        pairs = playground.pairs()
        for number in range(rounds + 1):
            for pair in pairs:
                seconds = playground.measure(pair)
                if number:
                    pair.seconds.append(seconds)
    print(f"CPU milliseconds, medians of {rounds} rounds; {machine()}\n")
    print("| ours | ms | compared with | ms | ratio |\n|---|---:|---|---:|---:|")
    for pair in pairs:
        print(pair.row())


if __name__ == "__main__":
    main()
