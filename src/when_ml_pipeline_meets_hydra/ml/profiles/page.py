"""A profile as one page that needs nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

_STYLE = """
body { font: 15px/1.4 system-ui, sans-serif; margin: 2rem auto; max-width: 60rem; padding: 0 1rem }
section { border-top: 1px solid #ccc; padding: .5rem 0 1rem; display: grid; grid-template-columns: 1fr 1fr; gap: 1rem }
h2 { font-size: 1.1rem; margin: .3rem 0 } p { margin: .2rem 0; color: #555 }
table { border-spacing: 0 } td { padding: 0 .8rem 0 0 } td + td { font-variant-numeric: tabular-nums }
svg { width: 100%; height: 8rem } rect { fill: #4878a8 } .target h2::after { content: " (target)"; color: #a33 }
meter { width: 8rem } ul { list-style: none; padding: 0 }
li { display: flex; gap: .6rem; justify-content: space-between }
@media (prefers-color-scheme: dark) { body { background: #111; color: #ddd } p { color: #aaa } }
"""


def render(profile: Mapping[str, Any]) -> str:
    """The page, in HTML."""
    name = escape(profile["dataset"])
    head = f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{name}</title><style>{_STYLE}</style>'
    count = f"{profile['rows']:,} rows, {len(profile['columns'])} columns, {escape(profile['task'])}"
    return "\n".join([head, f"<h1>{name}</h1><p>{count}</p>", *map(_section, profile["columns"]), "</html>\n"])


def _section(column: Mapping[str, Any]) -> str:
    rows = "".join(f"<tr><td>{label}</td><td>{escape(text)}</td></tr>" for label, text in _facts(column))
    head = f"<h2>{escape(column['name'])}</h2><p>{escape(column['description'])}</p>"
    shown = _values(column) if column["dtype"] in ("string", "bool") else _bars(column)
    return f'<section class="{column["role"]}"><div>{head}<table>{rows}</table></div><div>{shown}</div></section>'


def _facts(column: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "type", column["dtype"]
    yield "missing", f"{column['missing']:.1%}"
    yield "distinct", f"{column['distinct']:,}"
    for label in ("min", "median", "max"):
        if label in column:
            value = column[label]
            yield label, value if isinstance(value, str) else f"{value:,.6g}"


def _bars(column: Mapping[str, Any]) -> str:
    counts = [b["count"] for b in column["histogram"]]
    most, width = max(counts, default=1) or 1, 100 / max(len(counts), 1)
    bars = "".join(
        f'<rect x="{k * width:.2f}" y="{100 - 100 * n / most:.2f}" width="{width * 0.92:.2f}" '
        f'height="{100 * n / most:.2f}"><title>{n:,}</title></rect>'
        for k, n in enumerate(counts)
    )
    label = escape(f"Histogram of {column['name']}")
    return f'<svg viewBox="0 0 100 100" preserveAspectRatio="none" role="img" aria-label="{label}">{bars}</svg>'


def _values(column: Mapping[str, Any]) -> str:
    most = max((v["count"] for v in column["histogram"]), default=1)
    items = "".join(
        f"<li><span>{'<i>all others</i>' if v['value'] is None else escape(v['value'])}</span>"
        f'<span>{v["count"]:,} <meter max="{most}" value="{v["count"]}"></meter></span></li>'
        for v in column["histogram"]
    )
    return f"<ul>{items}</ul>"
