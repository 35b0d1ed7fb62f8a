"""Gate: required files."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated

from pydantic import AfterValidator, Field

from when_ml_pipeline_meets_hydra.contracts import frozen
from when_ml_pipeline_meets_hydra.deploy.gates.interface import Candidate, GateResult


def _inside(name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise ValueError("expected the name of a file inside the result, such as model.onnx")
    return name


Names = Annotated[tuple[Annotated[str, AfterValidator(_inside)], ...], Field(description="Names of files")]


@frozen
class FilesPresent:
    """Passes if the results have these files, none of them empty."""

    preprocessing: Names = ()
    modeling: Names = ()
    prediction: Names = ()

    def judge(self, candidate: Candidate) -> GateResult:
        """Look for each file."""
        wanted = {
            f"{stage}/{name}": getattr(candidate, stage).path / name
            for stage in ("preprocessing", "modeling", "prediction")
            for name in getattr(self, stage)
        }
        missing = [name for name, path in wanted.items() if not path.is_file()]
        empty = [name for name, path in wanted.items() if name not in missing and not path.stat().st_size]
        wrong = [f"missing: {', '.join(missing)}"] if missing else []
        wrong += [f"empty: {', '.join(empty)}"] if empty else []
        present = len(wanted) - len(missing) - len(empty)
        return GateResult(passed=not wrong, why="; ".join(wrong) or f"all {len(wanted)} files are there", found=present)
