"""The fields above the list of runs, and the filter that they are."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping
from urllib.parse import urlencode

from when_ml_pipeline_meets_hydra.errors import BadInput, Problem
from when_ml_pipeline_meets_hydra.records.facts import STARTED
from when_ml_pipeline_meets_hydra.records.find_runs import Order
from when_ml_pipeline_meets_hydra.records.record import RunStatus
from when_ml_pipeline_meets_hydra.records.where import Where

SIZE = 50  # runs of a page
STATUSES = tuple(RunStatus)
# Fields of the form: each a part of the filter.
FIELDS = ("where", "q", "status", "stage", "tag", "since", "until", "key", "value", "metric", "least", "most")
_PLAIN = ("where", "q")  # the fields that are always shown
_BOUNDS = (("least", ">="), ("most", "<="))
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", re.ASCII)


class RunFilters:
    """What is looked for, in which order, and the page."""

    def __init__(self, query: Mapping[str, str]) -> None:
        self.fields = {name: query.get(name, "").strip() for name in FIELDS}
        self.sort = query.get("sort", "").strip() or STARTED
        self.descending = query.get("order", "") != "up"
        number = query.get("page", "1")
        self.page = max(int(number), 1) if number.isascii() and number.isdigit() and len(number) < 8 else 1

    @property
    def is_open(self) -> bool:
        """Whether one of the fields is used that are folded away."""
        return any(value for name, value in self.fields.items() if name not in _PLAIN)

    @property
    def is_used(self) -> bool:
        """Whether anything is looked for."""
        return any(self.fields.values())

    @property
    def order(self) -> Order:
        """The order of the list."""
        return Order(name=self.sort, descending=self.descending)

    @property
    def start(self) -> int:
        """The number of the first run of the page."""
        return (self.page - 1) * SIZE

    @property
    def text(self) -> str:
        """The filter as one expression."""
        return " and ".join(self._conditions())

    @property
    def command(self) -> str:
        """The command line that lists the same runs."""
        return shlex.join(["wmh", "runs", "list", *(["--where", text] if (text := self.text) else [])])

    def filters(self) -> list[Where]:
        """Return the filters. Raises ``BadInput``."""
        if self.fields["where"]:
            Where(self.fields["where"], "Filter")  # by itself, so that its places are those in the field
        return [Where(text, "Filter")] if (text := self.text) else []

    def link(self, **changes: object) -> str:
        """Return the address of the same list with some changes."""
        order = "down" if self.descending else "up"
        shown = {**self.fields, "sort": self.sort, "order": order, "page": self.page, **changes}
        usual = {"sort": STARTED, "order": "down", "page": 1}
        return f"/runs?{urlencode({n: v for n, v in shown.items() if v not in ('', usual.get(n))})}".rstrip("?")

    def sorted_by(self, name: str) -> str:
        """Return the address of the same list sorted by something else, or the other way round."""
        is_same = self.sort == name and self.descending
        return self.link(sort=name, order="up" if is_same else "down", page=1)

    def _conditions(self) -> Iterator[str]:
        given = {name: value for name, value in self.fields.items() if value}
        if text := given.get("where"):
            yield f"({text})" if len(given) > 1 else text
        if text := given.get("q"):
            yield "(" + " or ".join(f"{_quoted(text)} in {name}" for name in ("command", "note", "tags", "id")) + ")"
        for name, condition in (
            *(("status", "status == {}"), ("stage", "{} in stages"), ("tag", "{} in tags")),
            *(("since", "started >= {}"), ("until", "started <= {}")),
        ):
            if name in given:
                yield condition.format(_quoted(given[name]))
        if "key" in given:
            key = _name(given["key"])
            yield f"{key} == {_value(given['value'])}" if "value" in given else f"exists({key})"
        if "metric" in given:
            metric = _name(given["metric"])
            limits = [f"{sign} {_bound(bound, given[bound])}" for bound, sign in _BOUNDS if bound in given]
            yield " and ".join(f"{metric} {limit}" for limit in limits) or f"exists({metric})"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _name(text: str) -> str:
    """A name as a person types it, also one that has to be quoted."""
    return text if Where.is_name(text) else f"key[{_quoted(text)}]"


def _value(text: str) -> str:
    """A value in the notation of overrides."""
    return text if text in ("true", "false", "null") or _NUMBER.fullmatch(text) else _quoted(text.strip("'\""))


def _bound(name: str, text: str) -> str:
    if not _NUMBER.fullmatch(text):
        raise BadInput(Problem(key=f"at {name}", value=text, message="expected a number, such as 0.8"))
    return text
