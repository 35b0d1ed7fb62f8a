"""What composing comes to: the config of every job, and what is known beside. Nothing here loads Hydra."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from when_ml_pipeline_meets_hydra.composing.origins import Origins
from when_ml_pipeline_meets_hydra.composing.tree import Stage
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.composing.config_loader import Loader

RUN_FOLDER = "${run_folder:}"  # the config's words for the folder of the run's record
JOB_NUMBER = "${hydra.job.num}"
LOCAL_LAUNCHER = "hydra_plugins.when_ml_pipeline_meets_hydra.LocalLauncher"

# What is wrong with a key.
NEEDED = "a value is needed"
FOLLOWS = "it is made from a key that has no value"
NO_SUCH_KEY = "there is no such key"


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is composed: overrides in Hydra's grammar, and further folders of option files."""

    overrides: tuple[str, ...]
    multirun: bool = False
    config_dirs: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Job:
    """One composed config.

    ``config`` is plain and resolved; ``faults`` says for each key that has no value why (mandatory and not given,
    or an interpolation that leads nowhere). Jobs with equal ``combination`` differ in their stage only.
    ``choices`` and ``values`` are the overrides of groups and of keys; ``chosen`` maps each group to its option.
    ``raw`` is the config as it was written, with its interpolations; ``said`` are the top-level keys that overrides or
    other option files than the program's own may have changed (None: any of them). Jobs share the parts in which they
    do not differ: nothing in them may be changed.
    """

    number: int
    overrides: tuple[str, ...]
    stage: str
    config: Mapping[str, Any]
    raw: Mapping[str, Any] = field(compare=False, repr=False)
    faults: Mapping[str, str]
    combination: tuple[str, ...]
    choices: tuple[str, ...]
    values: tuple[str, ...]
    chosen: Mapping[str, str]
    said: frozenset[str] | None = field(compare=False, repr=False)
    origins: Origins = field(compare=False, repr=False)


@dataclass(frozen=True, kw_only=True)
class Composed:
    """All jobs of one command, and the stages that its search path knows.

    ``problems`` is what is wrong with the overrides; the jobs are then composed as far as it goes, so that what is
    wrong with their values can be said as well. ``spoiled`` are the keys whose option is not the one asked for.
    ``folders`` are the further places of option files that were asked for, ``search_path`` all places where they are
    looked for; ``is_constant`` says that the same words always come to the same configs, unless files or environment
    variables change.
    """

    jobs: tuple[Job, ...]
    stages: Mapping[str, Stage]
    loader: Callable[[], Loader] = field(compare=False, repr=False)
    hydra: Mapping[str, Any] = field(default_factory=dict)
    folders: tuple[str, ...] = ()
    search_path: tuple[str, ...] = ()
    is_constant: bool = False
    problems: tuple[Problem, ...] = ()
    spoiled: frozenset[str] = frozenset()

    def without_problems(self) -> Composed:
        """The same. Raises ``BadInput`` with every override that is wrong."""
        if self.problems:
            raise BadInput(*self.problems)
        return self


def override_dirname(lines: Iterable[str], how: Mapping[str, Any]) -> str:
    """Overrides as the name of a folder, as ``hydra.job.config.override_dirname`` says."""
    named = (line for line in lines if _key(line) not in how["exclude_keys"])
    return str(how["item_sep"]).join(sorted(named)).replace("=", str(how["kv_sep"]))


def _key(line: str) -> str:
    return line.partition("=")[0].lstrip("+~").partition("@")[0]
