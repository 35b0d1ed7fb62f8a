"""``store``: list, verify and clean the stored results."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from when_ml_pipeline_meets_hydra.cli.output.consoles import console, print_json, print_rows
from when_ml_pipeline_meets_hydra.composing.environment import home
from when_ml_pipeline_meets_hydra.errors import ExitCode
from when_ml_pipeline_meets_hydra.storage.shared_files import unreferenced

if TYPE_CHECKING:
    from when_ml_pipeline_meets_hydra.storage.store import Store, Stored


def list_results(as_json: Annotated[bool, typer.Option("--json", help="For machines")] = False) -> None:
    """List the stored results, the oldest first."""
    results = list(_store().results())
    if as_json:
        print_json([asdict(r) for r in results])
        return
    print_rows(("key", "function", "size", "created", "last used"), map(_row, results))
    if results:
        key = results[-1].key
        print(f"The files of {key[:12]} are in {_store().root}/{key[:2]}/{key[:12]}*/files")


def verify() -> None:
    """Verify every stored file; exit code 1 if any is missing or was changed."""
    store = _store()
    wrong = list(store.verify())
    out = console(soft_wrap=True)
    for line in wrong:
        out.print(line, style="red", markup=False)
    left = store.unfinished()
    if left:
        out.print(f"{len(left)} unfinished results of failed or killed runs (harmless; 'store gc' removes them)")
    out.print(f"{sum(1 for _ in store.results())} results, {len(wrong)} problems")
    if wrong:
        raise typer.Exit(int(ExitCode.STEP_FAILED))


def gc(
    unused_for: Annotated[
        float | None, typer.Option("--unused-for", min=0, help="Also remove results unused for this many days")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only report what would be removed")] = False,
) -> None:
    """Remove unfinished results of failed or killed runs, and results that were not used for long.

    What a running run needs is spared. Files that only removed records have had, such as bundles, are removed as well.
    """
    store = _store()
    left = store.unfinished(remove=not dry_run)
    limit = None if unused_for is None else time.time() - unused_for * 86_400
    old = [r for r in store.results() if limit is not None and r.used < limit]
    if not dry_run:
        old = [result for result in old if store.remove(result.key)]
    files = list(unreferenced(store.root, remove=not dry_run))
    verb = "would be removed" if dry_run else "removed"
    size = _size(sum(r.size for r in old))
    also = f", {len(files)} files of removed records ({_size(sum(files))})" if files else ""
    console(soft_wrap=True).print(f"{len(left)} unfinished and {len(old)} results ({size}){also} {verb}")


def _row(result: Stored) -> tuple[str, ...]:
    function = result.function.rpartition(".")[2]
    return result.key[:12], function, _size(result.size), _when(result.created), _when(result.used)


def _store() -> Store:
    from when_ml_pipeline_meets_hydra.storage.store import Store

    return Store(home() / "store")


def _size(size: int) -> str:
    value, unit = float(size), "B"
    for larger in ("kB", "MB", "GB"):
        if value >= 1000:
            value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"


def _when(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
