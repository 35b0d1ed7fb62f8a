"""The composed config of each job. Nothing here loads Hydra."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from when_ml_pipeline_meets_hydra.composing.origins import Origins
from when_ml_pipeline_meets_hydra.composing.tree import Stage
from when_ml_pipeline_meets_hydra.errors import BadInput, Problem
from when_ml_pipeline_meets_hydra.startup.dataclasses import dataclass, field

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.composing.config_loader import Loader
    from when_ml_pipeline_meets_hydra.composing.recorded import Recorded

RUN_FOLDER = "${run_folder:}"  # how a config refers to the folder of the run's record
JOB_NUMBER = "${hydra.job.num}"
SEARCHES = "hydra_plugins.when_ml_pipeline_meets_hydra.SearchSweeper"
LOCAL_LAUNCHER = "hydra_plugins.when_ml_pipeline_meets_hydra.LocalLauncher"
ORCHESTRATOR_LAUNCHER = "hydra_plugins.when_ml_pipeline_meets_hydra.OrchestratorLauncher"

# The top-level keys of a config that are settings of the run, the same for all of its jobs.
TRACKERS = ("wandb", "mlflow", "aim")
SETTINGS = ("home", "force", "packages", "show_secrets", "objective", "on_error", *TRACKERS)

# The top-level keys of a job file: what its stages receive, and what they refer to.
OPS, GLOBALS = "ops", "globals"

# Messages about a key.
VALUE_NEEDED = "a value is needed"
UNRESOLVED = "it is made from a key that has no value"
NO_SUCH_KEY = "there is no such key"


@dataclass(frozen=True, kw_only=True)
class Request:
    """The overrides to compose, in Hydra's grammar, and further folders of option files.

    The path of a YAML file among ``config_dirs`` is a job file: the primary config in place of the program's.
    ``recorded`` are the jobs that a rerun repeats, instead of composing the overrides.
    """

    overrides: tuple[str, ...]
    multirun: bool = False
    config_dirs: tuple[str, ...] = ()
    recorded: Recorded | None = None

    def repeated(self) -> Iterator[str]:
        """Yield a note for each key to which several overrides give different values: the last one counts."""
        values: dict[str, list[str]] = {}
        for key, _, value in (line.partition("=") for line in self.overrides):
            values.setdefault(key.lstrip("+"), []).append(value)
        for key, given in values.items():
            if len({*given}) > 1 and not key.startswith("~"):
                yield f"Note: {key} is given {len(given)} times; the last one counts"


@dataclass(frozen=True, kw_only=True)
class Job:
    """One composed config.

    ``config`` is resolved, in plain values; ``faults`` maps each key without a value to the reason (mandatory and not
    given, or an interpolation that cannot be resolved). Jobs with equal ``combination`` differ in their stage only.
    ``choices`` and ``values`` are the overrides of groups and of keys; ``chosen`` maps each group to its option.
    ``raw`` is the unresolved config, with its interpolations; ``overridden`` are the top-level keys that overrides or
    option files other than the program's own may have changed (None: any of them). Jobs share the parts in which they
    do not differ, so none of them may be modified.
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
    overridden: frozenset[str] | None = field(compare=False, repr=False)
    origins: Origins = field(compare=False, repr=False)


@dataclass(frozen=True, kw_only=True)
class Composed:
    """The jobs of one command, and the stages on its search path.

    ``problems`` are those of the overrides; the jobs are composed without the invalid ones, so that problems of their
    values can be reported at the same time. ``invalid_choices`` are the keys for which an invalid option was requested.
    ``folders`` are the requested additions to the search path, ``search_path`` is the whole of it; ``checkouts`` are
    the folders that were read of config stores, by their entries (``configs://``). ``is_constant`` is
    True where the same overrides always give the same configs, unless files or environment variables change. ``notes``
    are sentences for the user. ``foreign`` are the top-level keys that option files of the user's add beside those of
    the program, with the file and line of each.
    """

    jobs: tuple[Job, ...]
    stages: Mapping[str, Stage]
    loader: Callable[[], Loader] = field(compare=False, repr=False)
    hydra: Mapping[str, Any] = field(default_factory=dict)
    folders: tuple[str, ...] = ()
    search_path: tuple[str, ...] = ()
    checkouts: Mapping[str, str] = field(default_factory=dict)
    is_constant: bool = False
    notes: tuple[str, ...] = ()
    foreign: Mapping[str, str] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    invalid_choices: frozenset[str] = frozenset()

    def without_problems(self) -> Composed:
        """Return self. Raises ``BadInput`` with every invalid override."""
        if self.problems:
            raise BadInput(*self.problems)
        return self


def override_dirname(lines: Iterable[str], settings: Mapping[str, Any]) -> str:
    """Overrides as a folder name, formatted by the ``settings`` in ``hydra.job.config.override_dirname``."""
    named = (line for line in lines if _key(line) not in settings["exclude_keys"])
    return str(settings["item_sep"]).join(sorted(named)).replace("=", str(settings["kv_sep"]))


def _key(line: str) -> str:
    return line.partition("=")[0].lstrip("+~").partition("@")[0]
