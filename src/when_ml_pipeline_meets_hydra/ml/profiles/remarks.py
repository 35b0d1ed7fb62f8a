"""What stands out in a profile: columns that give nothing, or too much, and rows that are left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from when_ml_pipeline_meets_hydra.ml.artifacts import DType, Task
from when_ml_pipeline_meets_hydra.ml.datasets.table import Table
from when_ml_pipeline_meets_hydra.ml.profiles.leakage import suspects

MOST_SHOWN = 10
FEW = 30  # values of which it means nothing that all are different
LEAKAGE, LOOKS = "suspicion of leakage", "looks like "


def add_remarks(table: Table, rows: int, columns: Sequence[dict[str, Any]], fewest: int) -> dict[str, Any]:
    """Add ``remarks`` to the profile of each column, and return those of the whole table.

    ``fewest`` are the rows that a text needs to get a feature.
    """
    leaking = suspects(table, rows)
    like_dates = {name: f"dates {form}" for name, form in table.remarks.like_dates.items()}
    looks = {**table.remarks.looks, **like_dates}
    for described in columns:
        described["remarks"] = [*_of_column(described, rows, fewest, looks)]
        if described["role"] == "feature" and described["name"] in leaking:
            described["remarks"].append(f"{LEAKAGE}: {leaking[described['name']]}")
    without = round(columns[-1]["missing"] * rows)
    found: dict[str, Any] = {"rows_without_target": without, "left_out": list(table.remarks.left_out)}
    found |= {"merged": list(table.remarks.merged), "formats": dict(table.remarks.formats)}
    found |= {"zones": dict(table.remarks.zones)}
    if table.task is Task.CLASSIFICATION and columns[-1]["distinct"]:
        found |= {"classes": columns[-1]["distinct"], "largest_class": _largest(columns[-1], rows - without)}
    return found


def _largest(target: Mapping[str, Any], known: int) -> float:
    """The share of the most frequent class."""
    return float(max(bar["count"] for bar in target["histogram"] if bar.get("value", "") is not None)) / known


def _of_column(described: Mapping[str, Any], rows: int, fewest: int, looks: Mapping[str, str]) -> Sequence[str]:
    if described["role"] != "feature":
        return [f"{LOOKS}{looks[described['name']]}"] if described["name"] in looks else []
    count = round((1 - described["missing"]) * rows)
    distinct, is_text = described["distinct"], described["dtype"] == DType.STRING.value
    found = []
    if distinct <= 1:
        found.append("constant" if distinct else "no value")
    elif distinct == count > FEW and (is_text or _is_running(described, count)):
        found.append("id-like: all different")
    elif is_text and _most_frequent(described) < fewest:
        found.append("no feature: no text is frequent enough")
    if described["name"] in looks:
        found.append(f"{LOOKS}{looks[described['name']]}")
    return found


def _most_frequent(described: Mapping[str, Any]) -> int:
    return max((bar["count"] for bar in described["histogram"] if bar["value"] is not None), default=0)


def _is_running(described: Mapping[str, Any], count: int) -> bool:
    """Whether a column holds each whole number of a range, as row numbers do."""
    return described["dtype"] == DType.INT.value and bool(described["max"] - described["min"] == count - 1)


def line(found: Mapping[str, Any], columns: Sequence[Mapping[str, Any]]) -> str:
    """Return what stands out as one line; "" if nothing does."""
    groups: dict[str, list[str]] = {}
    for described in columns:
        for remark in described["remarks"]:
            what, _, more = remark.partition(": ")
            read = "read as texts" if described["dtype"] == DType.STRING.value else "read as numbers"
            what, more = (read, remark) if remark.startswith(LOOKS) else (what, more)
            is_own = what in (read, LEAKAGE)
            groups.setdefault(what, []).append(f"{described['name']} ({more})" if is_own else described["name"])
    without = found["rows_without_target"]
    parts = [f"{without:,} row{'' if without == 1 else 's'} without target" if without else ""]
    parts += [f"left out: {', '.join(found['left_out'][:MOST_SHOWN])}" if found["left_out"] else ""]
    parts += [f"{what}: {_some(names)}" for what, names in groups.items()]
    parts.append(f"different texts are the same value: {_some(found['merged'])}" if found["merged"] else "")
    for what, named in (("read as dates", found["formats"]), ("time zones", found["zones"])):
        parts.append(f"{what}: {_some([f'{name} ({how})' for name, how in named.items()])}" if named else "")
    if "largest_class" in found:
        parts.append(f"largest class: {found['largest_class']:.0%} of the rows")
    return "; ".join(filter(None, parts))


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:MOST_SHOWN]) + (f" and {len(names) - MOST_SHOWN:,} more" if len(names) > MOST_SHOWN else "")
