"""``runs sync``: send a recorded run to a tracker."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from when_ml_pipeline_meets_hydra.binding.trackers import SWITCHES, is_on, options_of, problems_of
from when_ml_pipeline_meets_hydra.composing.environment import home
from when_ml_pipeline_meets_hydra.errors import BadInput, ExitCode, Problem, did_you_mean

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.records.record import Record


def sync(
    run: Annotated[str, typer.Argument(help="A run's id, a unique part of it, or 'last'")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Settings of the tracker, such as mlflow.tracking_uri=…")
    ] = None,
    to: Annotated[str, typer.Option("--to", help=f"The tracker: {', '.join(SWITCHES)}")] = "",
) -> None:
    """Send a recorded run to a tracker, with the settings of the run; what is there already is not sent twice."""
    from when_ml_pipeline_meets_hydra.records.lookup import find_record
    from when_ml_pipeline_meets_hydra.records.record import RunStatus
    from when_ml_pipeline_meets_hydra.tracking.processes import has_failed, result, start

    if to not in SWITCHES:
        message, remedy = f"expected a tracker: {', '.join(SWITCHES)}", did_you_mean(to, SWITCHES)
        raise BadInput(Problem(key="--to", value=to, message=message, remedy=remedy))
    record = find_record(home(), run)
    if record.status is RunStatus.RUNNING:
        message, remedy = "the run has not ended", "Its trackers get it while it runs; send it again when it has ended"
        raise BadInput(Problem(key=run, message=message, remedy=remedy))
    process = start(record.folder, to, _settings(record, to, overrides or []))
    process.wait()
    text = result(record.folder, to)
    print(text, file=sys.stderr if has_failed(record.folder, to) else sys.stdout)
    raise typer.Exit(int(ExitCode.STEP_FAILED if has_failed(record.folder, to) else ExitCode.DONE))


def _settings(record: Record, name: str, overrides: Sequence[str]) -> Mapping[str, Any]:
    """Return the settings of a tracker: those of the run, changed by overrides. Raises ``BadInput``."""
    from when_ml_pipeline_meets_hydra.binding.validation import validate

    config = next(config for _, config in record.configs([0]))
    node = {**(config.get(name) or {}), **dict(_value(line, name) for line in overrides)}
    options = validate(options_of(name), node, key=name, origin=lambda _: None)
    stages = tuple(key.removesuffix("_sub") for key in config if key.endswith("_sub"))
    if problems := list(problems_of(name, options, stages, lambda _: None)):
        raise BadInput(*problems)
    if not is_on(name, node):
        key = f"{name}.{SWITCHES[name]}"
        value = "offline" if name == "wandb" else "…"
        message, remedy = "the run does not say where it is to be sent", f"Add {key}={value}"
        raise BadInput(Problem(key=key, message=message, remedy=remedy))
    return node


def _value(line: str, name: str) -> tuple[str, Any]:
    """Return key and value of an override of the tracker's settings. Raises ``BadInput``."""
    from when_ml_pipeline_meets_hydra.composing.override_grammar import plain_value

    key, separator, _ = line.partition("=")
    if not separator or not key.startswith(f"{name}.") or key.count(".") > 1:
        message, remedy = f"expected a setting of {name}", f"Write {name}.{SWITCHES[name]}=…"
        raise BadInput(Problem(key=key, message=message, remedy=remedy))
    return key.partition(".")[2], plain_value(line)
