"""The reference as one page of HTML: mathematics beside the source that runs, nothing to fetch, no script."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import groupby

from .catalogue import Entry
from .in_mathml import mathml
from .source import coloured

__all__ = ["MARK", "page"]

MARK = '<meta name="generator" content="minidl formulas">'  # by which a page of ours is known again
_STYLE = """
:root { color-scheme: light dark; --ink: #1c2128; --quiet: #667080; --line: #d5dae1; --paper: #fff; --link: #1f66b0 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e3e7ec; --quiet: #98a2b0; --line: #3a424d; --paper: #14181d; --link: #79b4f2 }
}
* { box-sizing: border-box }
html { scroll-behavior: smooth }
body { margin: 0 auto; padding: 1rem; max-width: 100rem; color: var(--ink); background: var(--paper);
  font: 1rem/1.5 system-ui, sans-serif }
a { color: var(--link); text-decoration: none }
a:hover, a:focus { text-decoration: underline }
nav h2 { margin: .9rem 0 0; font-size: .85rem; color: var(--quiet); font-weight: 600 }
nav ul { margin: 0; padding: 0; list-style: none; display: flex; flex-wrap: wrap; gap: 0 .9rem }
nav a { font: .85rem/1.9 ui-monospace, monospace; overflow-wrap: anywhere }
main h2 { margin: 2.5rem 0 0; padding-top: .6rem; border-top: 3px solid var(--line) }
section { padding: .3rem 0 1rem; border-bottom: 1px solid var(--line) }
h3 { margin: .5rem 0; display: flex; flex-wrap: wrap; gap: 0 1rem; align-items: baseline }
h3 a { color: var(--ink) }
h3 .place, h3 .top { font: .8rem ui-monospace, monospace; color: var(--quiet); overflow-wrap: anywhere }
h3 .top { margin-left: auto }
.pair { display: grid; gap: .5rem 2rem; grid-template-columns: minmax(0, 1fr) }
.formulas { overflow-x: auto; padding-bottom: .5rem }
.formulas p { margin: .4rem 0; color: var(--quiet) }
pre { margin: 0; padding: .2rem 0 .2rem .8rem; border-left: 3px solid var(--line); overflow: auto; max-height: 34rem;
  font: .78rem/1.5 ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; tab-size: 4 }
math { margin: 0; text-align: left; font-size: 1.05rem;
  font-family: "STIX Two Math", "Cambria Math", "Latin Modern Math", "Noto Sans Math", "DejaVu Math TeX Gyre", math }
math[display="block"] { display: block math; width: max-content }
mtd { padding: .22em .12em; text-align: left }
mtd > mfrac { vertical-align: middle }
.cases mtd { padding: .1em .6em .1em .1em }
.typed { font-family: ui-monospace, monospace; font-size: .85em }
@media (max-width: 40rem) { math { font-size: .9rem } }
@media (min-width: 75rem) { .pair { grid-template-columns: minmax(0, 11fr) minmax(0, 10fr) } }
@media print {
  :root { --ink: #000; --quiet: #444; --line: #bbb; --paper: #fff; --link: #000; color-scheme: light }
  body { padding: 0; max-width: none; font-size: 9pt }
  h3 .top { display: none }
  .pair { display: block }
  .formulas { overflow: visible }
  math { font-size: 8.5pt }
  pre { max-height: none; overflow: visible; white-space: pre-wrap; overflow-wrap: anywhere; font-size: 7pt }
  h2, h3 { break-after: avoid }
  mtr { break-inside: avoid }
}
"""


def page(entries: Sequence[Entry], version: str) -> str:
    """The whole page; names that it explains elsewhere are links."""
    known = {entry.name for entry in entries}
    families = [(family, list(group)) for family, group in groupby(entries, key=lambda entry: entry.family)]
    index = "\n".join(
        f"<h2>{escape(family)}</h2>\n<ul>{''.join(f'<li>{_link(entry.name)}</li>' for entry in group)}</ul>"
        for family, group in families
    )
    body = "\n".join(
        f"<h2>{escape(family)}</h2>\n" + "\n".join(_section(entry, known) for entry in group)
        for family, group in families
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
{MARK}
<title>minidl: formulas</title>
<style>{_STYLE}</style>
</head>
<body>
<header id="top">
<h1>minidl: formulas</h1>
<p>Each formula is read from the docstring of the code beside it, which is the code that runs: minidl {escape(version)}.
X, A, B and the like are the inputs, Y is the result, L the loss and G = <i>∂L/∂Y</i>. A condition in brackets is 1
where it holds and 0 elsewhere; … stands for the dimensions that are not named.</p>
</header>
<nav>
{index}
</nav>
<main>
{body}
</main>
</body>
</html>
"""


def _section(entry: Entry, known: set[str]) -> str:
    parts = [mathml(entry.own)] if entry.own else []
    for name, lines in entry.operations.items():
        parts.append(f"<p>computed by {_link(name) if name in known else escape(name)}:</p>{mathml(lines)}")
    if not entry.lines:
        parts = [f"<p>{escape(entry.sentence)}</p>"]
    name = escape(entry.name)
    return (
        f'<section id="{name}">\n<h3>{_link(entry.name)}<span class="place">{escape(entry.source.place)}</span>'
        f'<a class="top" href="#top" aria-label="to the index">↑</a></h3>\n'
        f'<div class="pair"><div class="formulas" tabindex="0">{"".join(parts)}</div>\n'
        f'<pre tabindex="0">{coloured(entry.source.text)}</pre></div>\n</section>'
    )


def _link(name: str) -> str:
    return f'<a href="#{escape(name)}">{escape(name)}</a>'
