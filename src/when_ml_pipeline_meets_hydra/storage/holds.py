"""Results that running runs hold: they are in use, so nothing may remove them.

Each run has a file in ``<store>/holds/``, locked as long as its process lives, with the keys of its steps. While a run
plans, it shares the lock of the folder: what it has found stored is not removed before it can say that it needs it.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, ExitStack, suppress
from pathlib import Path
from typing import Self
from uuid import uuid4

from when_ml_pipeline_meets_hydra.storage.locks import LockHeld, hold

_FOLDER, _PLANNING = "holds", "planning.lock"


class Hold:
    """What one run holds, from its planning to its end; a context manager.

    In a store that cannot be written nothing is held, and nothing can be removed either.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._ends, self._planning = ExitStack(), ExitStack()
        self._file: Path | None = None

    def __enter__(self) -> Self:
        if self._root.is_dir():  # otherwise nothing is stored yet, and nothing is created before the run starts
            self._start_planning()
        return self

    def keep(self, keys: Iterable[str]) -> None:
        """Hold the results of the planned steps, besides those that are held, until the end; planning is over."""
        self._start_planning()
        with suppress(OSError):
            if self._file is None:
                file = self._root / _FOLDER / uuid4().hex
                self._ends.enter_context(hold(file))
                self._ends.callback(file.unlink, missing_ok=True)
                self._file = file
            with self._file.open("ab", buffering=0) as stream:
                stream.write("".join(f"{key}\n" for key in keys).encode())
        self._planning.close()

    def __exit__(self, *error: object) -> None:
        self._planning.close()
        with suppress(OSError):
            self._ends.close()

    def _start_planning(self) -> None:
        with suppress(OSError):
            shared = hold(self._root / _PLANNING, shared=True, patience=float("inf"))
            self._planning.enter_context(shared)


def without_runs(root: Path) -> AbstractContextManager[None]:
    """Return the context manager during which no run is planning: each has recorded what it needs."""
    return hold(root / _PLANNING, "store gc", patience=float("inf"))


def held_keys(root: Path) -> set[str]:
    """Return the keys that running runs hold; the files of those that were killed are removed.

    To be called during ``without_runs``, since a run that is about to lock its file must find it.
    """
    keys: set[str] = set()
    for file in (root / _FOLDER).glob("*"):
        try:
            with hold(file, "store gc"):
                file.unlink(missing_ok=True)
        except LockHeld:
            with suppress(FileNotFoundError):  # the run has just ended
                keys |= set(file.read_text(encoding="ascii", errors="replace").split())
    return keys
