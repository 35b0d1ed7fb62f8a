"""The one place where errors become exit codes and messages."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from when_ml_pipeline_meets_hydra.cli.output.formatting import RESUME_HINT
from when_ml_pipeline_meets_hydra.composing.environment import home
from when_ml_pipeline_meets_hydra.errors import BadInput, ExitCode, PipelineError, Problem, shortened
from when_ml_pipeline_meets_hydra.storage.home import make_home

_NO_BUG = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE}
_BAD_NAME = {errno.ENAMETOOLONG, errno.ELOOP}


def exit_code(work: Callable[[], int], arguments: Sequence[str]) -> int:
    """Run ``work``; print user errors as a message, and write the traceback of an unexpected error to a file."""
    from when_ml_pipeline_meets_hydra.cli.output.streams import discard_output, replace_what_cannot_be_shown

    replace_what_cannot_be_shown(sys.stdout, sys.stderr)
    code = _exit_code(work, arguments)
    try:
        sys.stdout.flush()
    except OSError as error:
        discard_output(1)  # Python would flush again at exit, and fail again
        if not isinstance(error, BrokenPipeError):
            _print_error(f"The output cannot be written: {error.strerror}")
            return code or int(ExitCode.STEP_FAILED)
    return code


def _exit_code(work: Callable[[], int], arguments: Sequence[str]) -> int:
    try:
        return work()
    except PipelineError as error:
        _show(error, as_json="--json" in arguments)
        return int(error.exit_code)
    except KeyboardInterrupt:
        _print_error(f"Interrupted. {RESUME_HINT}")
        return int(ExitCode.INTERRUPTED)
    except BrokenPipeError:  # the reader of the pipe has gone
        return int(ExitCode.DONE)
    except Exception as error:
        if isinstance(error, FileNotFoundError) and _has_no_working_folder():
            message, remedy = "the folder in which the program was started does not exist any more", "Go to another one"
            _show(BadInput(Problem(key="", message=message, remedy=remedy)), as_json="--json" in arguments)
            return int(ExitCode.BAD_INPUT)
        if isinstance(error, OSError) and error.errno in _BAD_NAME:
            name, message = str(error.filename), f"this cannot be the name of a file: {error.strerror}"
            _show(BadInput(Problem(key=name, message=message)), as_json="--json" in arguments)
            return int(ExitCode.BAD_INPUT)
        if isinstance(error, OSError) and error.errno in _NO_BUG:
            place = f": {error.filename}" if error.filename else ""
            _print_error(f"{error.strerror}{place}. {RESUME_HINT}")
            return int(ExitCode.STEP_FAILED)
        file = _write_traceback(error, arguments)
        _print_error(f"Unexpected {type(error).__name__}. The traceback is in {file}; please report it.")
        return int(ExitCode.STEP_FAILED)


def _has_no_working_folder() -> bool:
    try:
        return not Path.cwd()
    except FileNotFoundError:
        return True


def _show(error: PipelineError, *, as_json: bool) -> None:
    if as_json and isinstance(error, BadInput):
        from when_ml_pipeline_meets_hydra.cli.output.json_lines import write_problems

        write_problems(error.problems)
        return
    from rich.text import Text

    from when_ml_pipeline_meets_hydra.cli.output.consoles import console
    from when_ml_pipeline_meets_hydra.cli.output.tables import Problems

    if isinstance(error, BadInput):
        console(stderr=True, soft_wrap=True).print(Problems(error.problems))
    else:
        console(stderr=True, soft_wrap=True).print(Text.assemble(("Error ", "bold red"), shortened(str(error), 2_000)))


def _print_error(text: str) -> None:
    from when_ml_pipeline_meets_hydra.cli.output.consoles import console

    console(stderr=True, soft_wrap=True).print(text, markup=False)


def _write_traceback(error: Exception, arguments: Sequence[str]) -> Path:
    import tempfile
    import time
    import traceback

    from when_ml_pipeline_meets_hydra.masking import Redactor, is_secret_name

    # Which keys are secret by their type is unknown here, so every long value of a nested key is masked.
    pairs = [(a.partition("=")[0], a.partition("=")[2].strip("'\"")) for a in arguments]
    named = [value for name, value in os.environ.items() if is_secret_name(name) and name != "PWD"]
    given = [value for key, value in pairs if is_secret_name(key) or ("." in key and len(value) >= 8)]
    redactor = Redactor([*named, *given])
    text = redactor.text("\n".join([*arguments, "", *traceback.format_exception(error)]))
    for argument, masked in zip(arguments, map(redactor.override, arguments), strict=True):
        text = text.replace(repr(argument)[1:-1], masked).replace(argument, masked) if masked != argument else text
    for folder in (home() / "errors", Path(tempfile.gettempdir())):
        try:
            make_home(folder.parent)
            folder.mkdir(exist_ok=True)
            file = folder / f"error-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.txt"
            file.write_text(shortened(text, 100_000), encoding="utf-8", errors="backslashreplace")
        except OSError:
            continue
        return file
    return Path(os.devnull)
