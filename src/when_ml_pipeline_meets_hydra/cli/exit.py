"""The one place where errors become exit codes and messages."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from when_ml_pipeline_meets_hydra.cli.output.formatting import GOES_ON
from when_ml_pipeline_meets_hydra.composing.environment import home
from when_ml_pipeline_meets_hydra.errors import BadInput, ExitCode, PipelineError, Problem

_NO_BUG = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE}
_BAD_NAME = {errno.ENAMETOOLONG, errno.ELOOP}


def exit_code(work: Callable[[], int], words: Sequence[str]) -> int:
    """Run ``work``; show what a person did wrong as a message, and keep what nobody expected in a file."""
    from when_ml_pipeline_meets_hydra.cli.output.streams import let_go

    code = _ended(work, words)
    try:
        sys.stdout.flush()
    except OSError as error:
        let_go(1)  # Python would try again, and complain, when it ends
        if not isinstance(error, BrokenPipeError):
            _say(f"The output cannot be written: {error.strerror}")
            return code or int(ExitCode.STEP_FAILED)
    return code


def _ended(work: Callable[[], int], words: Sequence[str]) -> int:
    try:
        return work()
    except PipelineError as error:
        _show(error, as_json="--json" in words)
        return int(error.exit_code)
    except KeyboardInterrupt:
        _say(f"Interrupted. {GOES_ON}")
        return int(ExitCode.INTERRUPTED)
    except BrokenPipeError:  # nobody reads any more
        return int(ExitCode.DONE)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _BAD_NAME:
            name, message = str(error.filename), f"this cannot be the name of a file: {error.strerror}"
            _show(BadInput(Problem(key=name, message=message)), as_json="--json" in words)
            return int(ExitCode.BAD_INPUT)
        if isinstance(error, OSError) and error.errno in _NO_BUG:
            place = f": {error.filename}" if error.filename else ""
            _say(f"{error.strerror}{place}. {GOES_ON}")
            return int(ExitCode.STEP_FAILED)
        _say(f"Unexpected {type(error).__name__}. The whole of it is in {_keep(error, words)}; please report it.")
        return int(ExitCode.STEP_FAILED)


def _show(error: PipelineError, *, as_json: bool) -> None:
    if as_json and isinstance(error, BadInput):
        from when_ml_pipeline_meets_hydra.cli.output.json_lines import tell_problems

        tell_problems(error.problems)
        return
    from rich.text import Text

    from when_ml_pipeline_meets_hydra.cli.output.consoles import console
    from when_ml_pipeline_meets_hydra.cli.output.tables import Problems

    if isinstance(error, BadInput):
        console(stderr=True, soft_wrap=True).print(Problems(error.problems))
    else:
        console(stderr=True, soft_wrap=True).print(Text.assemble(("Error ", "bold red"), str(error)))


def _say(text: str) -> None:
    from when_ml_pipeline_meets_hydra.cli.output.consoles import console

    console(stderr=True, soft_wrap=True).print(text, markup=False)


def _keep(error: Exception, words: Sequence[str]) -> Path:
    import tempfile
    import time
    import traceback

    from when_ml_pipeline_meets_hydra.masking import Redactor, is_secret_name

    # Which keys are secret by their type is not known here: better too much is masked than too little.
    pairs = [(w.partition("=")[0], w.partition("=")[2].strip("'\"")) for w in words]
    masks = Redactor(value for key, value in pairs if is_secret_name(key) or ("." in key and len(value) >= 8))
    text = masks.text("\n".join([*map(masks.override, words), "", *traceback.format_exception(error)]))
    for folder in (home() / "errors", Path(tempfile.gettempdir())):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            file = folder / f"error-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.txt"
            file.write_text(text, encoding="utf-8")
        except OSError:
            continue
        return file
    return Path(os.devnull)
