"""The report as one page that needs nothing else."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping, Sequence
from html import escape

from when_ml_pipeline_meets_hydra.analyses.interface import Finding, Picture, Table

_LONG = 12  # rows of a table that are shown without being asked for

_STYLE = """
:root { color-scheme: light; --ink: #1f2733; --soft: #566070; --line: #dfe3e9; --accent: #0b5c95 }
* { box-sizing: border-box }
body { margin: 0; background: #f6f7f9; color: var(--ink); font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto,
  "Helvetica Neue", Arial, sans-serif }
main, header { max-width: 68rem; margin: 0 auto; padding: 0 1.25rem }
header { padding-top: 2rem } h1 { font-size: 1.75rem; line-height: 1.2; margin: 0 0 .3rem; overflow-wrap: anywhere }
h2 { font-size: 1.2rem; margin: 0 0 .4rem } p { margin: 0 0 1rem; color: var(--soft); max-width: 46rem }
nav ul { display: flex; flex-wrap: wrap; gap: .3rem 1.1rem; padding: 0; margin: 0 0 1rem; list-style: none }
nav a { color: var(--accent) }
dl { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: .75rem; margin: 1.2rem 0 }
dl div, section { background: #fff; border: 1px solid var(--line); border-radius: .6rem }
dl div { padding: .7rem .95rem } dt { color: var(--soft); font-size: .88rem }
dd { margin: 0; font-size: 1.5rem; font-weight: 600; font-variant-numeric: tabular-nums }
dd small { display: block; font-size: .82rem; font-weight: 400; color: var(--soft) }
section { padding: 1.2rem 1.25rem; margin: 0 0 1.1rem }
.found { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); gap: 1rem 2rem;
  align-items: center } .found > * { min-width: 0 }
figure { margin: 0 } img { display: block; width: 100%; max-width: 32rem; height: auto }
.table { overflow-x: auto } summary { cursor: pointer; color: var(--accent) } details[open] { align-self: start }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums }
th, td { padding: .32rem .9rem .32rem 0; text-align: right; border-bottom: 1px solid var(--line) }
th:first-child { text-align: left } thead th { color: var(--soft); font-weight: 500 }
tbody th { font-weight: 400 } footer { max-width: 68rem; margin: 0 auto; padding: 0 1.25rem 2rem; color: var(--soft) }
@media (max-width: 30rem) { main, header, footer { padding-left: .8rem; padding-right: .8rem }
  section { padding: 1rem .85rem } h1 { font-size: 1.4rem } }
"""


def render(
    title: str,
    about: str,
    scores: Mapping[str, float],
    baseline: Mapping[str, float],
    findings: Mapping[str, Finding],
    footer: str,
) -> str:
    """The page, in HTML."""
    head = (
        f'<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{escape(title)}</title>'
        f"<style>{_STYLE}</style></head>\n<body>"
    )
    links = "".join(f'<li><a href="#{_id(n)}">{escape(f.title)}</a></li>' for n, f in findings.items())
    parts = [
        head,
        f"<header><h1>{escape(title)}</h1><p>{escape(about)}</p>",
        f'<nav aria-label="Sections"><ul>{links}</ul></nav></header>' if links else "</header>",
        f"<main>{_scores(scores, baseline)}",
        *(_section(name, finding) for name, finding in findings.items()),
        f"</main>\n<footer>{escape(footer)}</footer>\n</body>\n</html>\n",
    ]
    return "\n".join(parts)


def _scores(scores: Mapping[str, float], baseline: Mapping[str, float]) -> str:
    def tile(name: str, value: float) -> str:
        naive = f"<small>a naive guess: {baseline[name]:.4g}</small>" if name in baseline else ""
        return f"<div><dt>{escape(name)}</dt><dd>{value:.4g}{naive}</dd></div>"

    return f"<dl>{''.join(tile(n, v) for n, v in scores.items())}</dl>" if scores else ""


def _section(name: str, finding: Finding) -> str:
    pictures = "".join(map(_figure, finding.pictures))
    shown = "".join(_table(finding.table)) if finding.table else ""
    return (
        f'<section id="{_id(name)}"><h2>{escape(finding.title)}</h2><p>{escape(finding.text)}</p>'
        f'<div class="found">{pictures}{shown}</div></section>'
    )


def _figure(picture: Picture) -> str:
    data = base64.b64encode(picture.svg).decode()
    return f'<figure><img src="data:image/svg+xml;base64,{data}" alt="{escape(picture.alt)}"></figure>'


def _table(table: Table) -> Iterator[str]:
    many = len(table.rows) > _LONG
    if many:
        yield f"<details><summary>All {len(table.rows)} rows</summary>"
    head = "".join(f'<th scope="col">{escape(c)}</th>' for c in table.columns)
    yield f'<div class="table"><table><thead><tr>{head}</tr></thead><tbody>'
    yield from map(_row, table.rows)
    yield "</tbody></table></div>" + ("</details>" if many else "")


def _row(cells: Sequence[str]) -> str:
    first, *rest = map(escape, cells)
    return f'<tr><th scope="row">{first}</th>{"".join(f"<td>{cell}</td>" for cell in rest)}</tr>'


def _id(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "-", f"section-{name}")
