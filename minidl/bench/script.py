"""The scripts in benchmarks/: measure one part, keep figures and pictures there, and write them into the README."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from minidl.bench.libraries import PEERS
from minidl.bench.report import between_markers, caption, keep
from minidl.bench.results import family_table, limits_table, missed_table, summary_table
from minidl.bench.suite import PARTS, Results, choose_peers, plan, run

__all__ = ["main", "readme_text"]


def main(part: str, description: str, results_folder: Path, arguments: Sequence[str] | None = None) -> int:
    """Run a part with the command line's options."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", default="numpy,torch,jax", help=f"of {', '.join(PEERS)}")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", default="", help="only the rows with this in their name; nothing is kept")
    parser.add_argument("--quick", action="store_true", help="to see that it runs; nothing is kept")
    parser.add_argument("--full", action="store_true", help="more rounds, and matrix products of many sizes")
    parser.add_argument("--readme", action="store_true", help="write tables and pictures into README.md")
    options = parser.parse_args(arguments)
    names = [name for name in options.peers.split(",") if name]
    try:
        plan([part], options.full, options.only)
        choose_peers(names)
    except ValueError as error:
        parser.error(str(error).removeprefix("bench: "))
    results = run([part], names, options.threads, quick=options.quick, full=options.full, only=options.only,
                  say=lambda text: print(text, flush=True))  # fmt: skip
    if options.quick or options.only:
        return 0
    from minidl.bench.pictures import draw

    path = keep(results_folder / f"{part}.json", results.to_json())
    pictures = draw(results, results_folder)
    print(f"kept: {', '.join(each.name for each in [path, *pictures])}")
    if options.readme:
        readme = results_folder.parent.parent / "README.md"
        shown = [picture.relative_to(readme.parent) for picture in pictures]
        text, rest = readme_text(part, results, shown)
        if rest:
            (results_folder / f"{part}.md").write_text(rest + "\n", encoding="utf-8")
        between_markers(readme, part, text)
    return 0


def readme_text(part: str, results: Results, pictures: Sequence[Path]) -> tuple[str, str]:
    """Machine and conditions, the summary and the pictures; and, of many rows, what goes into a file of its own."""
    families, columns = PARTS[part].FAMILIES, results.columns()
    text = [caption(), results.conditions()]
    found = [(title, results.of(family)) for family, title in families.items()]
    tables = [f"{title}\n\n{family_table(rows, columns)}" for title, rows in found if rows]
    if results.limits:
        text.append(limits_table(results.limits))
    alt = {
        "roofline": "The kernels under the machine's limits",
        "sizes": "Matrix products over their sizes",
        "ladders": "The ladders, rung by rung",
    }
    images = [f"![{alt.get(p.stem, 'Ratios to each peer, row by row')}]({p.as_posix()})" for p in pictures]
    if len(results.rows) > 20:
        text += [summary_table(results.rows, columns, families), *images]
        missed = [v for v in results.verdicts() if v.score < 1]
        count = f"{len(missed)} of {len(results.verdicts())} goals are missed"
        file = f"benchmarks/results/{part}.md"
        text.append(f"Every row: [{file}]({file}). {count}; it says by how much, and why.")
        rest = [*text[:2], f"{count}, the worst first:\n\n{missed_table(missed)}", *tables]
        return "\n\n".join(text), "\n\n".join(rest)
    return "\n\n".join([*text, *tables, *images]), ""
