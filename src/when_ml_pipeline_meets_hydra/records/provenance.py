"""What a run was made with: versions of libraries, and the state of the git repository."""

from __future__ import annotations

import os
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

_LIBRARIES = ("hydra-core", "omegaconf", "pydantic", "polars", "scikit-learn", "onnx", "onnxruntime", "skl2onnx")


@cache
def versions() -> dict[str, str]:
    """Return the versions of Python, of this program and of the libraries that it computes with."""
    import platform
    from importlib import metadata

    # ``platform.platform()`` starts a process for the name of the processor.
    machine = "-".join((platform.system(), platform.release(), platform.machine()))
    found = {"python": platform.python_version(), "platform": machine}
    for name in (__name__.partition(".")[0], *_LIBRARIES):
        with suppress(metadata.PackageNotFoundError):
            # The version is in the first lines; ``metadata.version`` would parse the whole text, with the README.
            distribution = metadata.distribution(name)
            text = distribution.read_text("METADATA") or distribution.read_text("PKG-INFO") or ""
            found[name] = text.partition("\nVersion: ")[2].partition("\n")[0].strip()
    return found


def git_state(folder: Path) -> dict[str, Any] | None:
    """Return commit and state of the git repository of ``folder``; None outside of one."""
    if "GIT_DIR" not in os.environ and not any((f / ".git").exists() for f in (folder, *folder.parents)):
        return None
    import subprocess

    command = ["git", "--no-optional-locks", "status", "--porcelain=v2", "--branch", "--no-ahead-behind"]
    try:
        lines = subprocess.run(
            [*command, "--untracked-files=no"], capture_output=True, text=True, timeout=5, check=True, cwd=folder
        ).stdout.splitlines()
    except (OSError, subprocess.SubprocessError):
        return None
    commit = lines[0].removeprefix("# branch.oid ")
    changed = any(not line.startswith("#") for line in lines)
    return None if commit == "(initial)" else {"commit": commit, "changed": changed}
