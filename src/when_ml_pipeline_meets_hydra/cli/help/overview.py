"""The output of ``c=help`` and of the program without arguments: the stages, and how to run them."""

from __future__ import annotations

from collections.abc import Sequence

from when_ml_pipeline_meets_hydra.cli.arguments import PROGRAM
from when_ml_pipeline_meets_hydra.composing.offered import stages_of
from when_ml_pipeline_meets_hydra.composing.tree import HELP, read_options


def show_commands(search_path: Sequence[str]) -> int:
    """Print the stages, and how to run them."""
    groups = read_options(search_path)
    names = [stage.name for stage in stages_of(groups)]
    print(f"This app has {[*names, HELP]} commands")
    first = " or ".join(f"c={name}" for name in names)
    several = f", or several at once, such as c={names[0]},{names[-1]} --multirun" if names[1:] else ""
    print(f"\nRun one with {first}{several}.")
    print(f"{PROGRAM} --help shows every choice, {PROGRAM} plan c=… what would run.")
    return 0
