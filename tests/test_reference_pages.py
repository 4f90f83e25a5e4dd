"""`minidl formulas`: every public name has its formula and its place, in the terminal and on the page."""

from __future__ import annotations

import inspect
import os
import re
import subprocess
import sys
import unicodedata
import xml.etree.ElementTree as ET
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest

from minidl import losses, nn, ops, optim, penalties
from minidl.cli import main
from minidl.cli.formulas import wrapped
from minidl.explain import in_mathml
from minidl.explain.catalogue import BASES, Entry, catalogue
from minidl.explain.in_mathml import mathml
from minidl.optim import lr_scheduler

ENTRIES = catalogue()
NO_FORMULA = {
    "Sequential": "its result is that of the modules in it, one after the other",
    "TransformerEncoder": "its result is that of the layers in it, one after the other",
    "ModuleDict": "holds modules and computes nothing",
    "ModuleList": "holds modules and computes nothing",
    "SequentialLR": "its rate is that of the schedules in it, one after the other",
}


def public() -> set[str]:
    """The names that the modules offer: functions and classes, without the bases."""
    names = {
        name
        for module in (ops, losses, nn, nn.init, optim, lr_scheduler, penalties)
        for name in module.__all__
        if inspect.isfunction(getattr(module, name)) or inspect.isclass(getattr(module, name))
    }
    return names - BASES


def test_the_catalogue_holds_every_public_name_once() -> None:
    names = [entry.name for entry in ENTRIES]
    assert sorted(names) == sorted(public())


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_every_name_has_its_formula(entry: Entry) -> None:
    if entry.name in NO_FORMULA:
        assert not entry.lines, f"{entry.name} states a formula now: take it out of NO_FORMULA"
        assert entry.sentence
    else:
        assert entry.lines, f"{entry.name} ({entry.source.place}) states no formula in its docstring"


def test_every_reason_belongs_to_a_name() -> None:
    assert set(NO_FORMULA) <= public()


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_the_place_is_where_it_is_defined(entry: Entry) -> None:
    file, _, line = entry.source.place.rpartition(":")
    text = (Path(inspect.getfile(ops)).parents[2] / file).read_text(encoding="utf-8").splitlines()
    head = next(text[n] for n in range(int(line) - 1, len(text)) if not text[n].startswith("@"))
    assert re.match(rf"(def|class) {entry.owner.__name__}\b", head), head


# ------------------------------------------------------------------------------------------------ terminal


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    assert main(["formulas", *arguments]) == 0
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    capsys.readouterr()
    assert main(["formulas", *arguments]) == 2
    printed = capsys.readouterr()
    assert not printed.out and printed.err.count("\n") == 1 and printed.err.startswith("minidl formulas: ")
    return printed.err


def columns(line: str) -> int:
    return sum(not unicodedata.combining(letter) for letter in line)


def test_everything_fits_into_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    printed = run(capsys)
    for line in printed.splitlines():
        assert columns(line) <= 80, line
    for entry in ENTRIES:
        assert re.search(rf"^{entry.name} +{re.escape(entry.source.place)}$", printed, re.M), entry.name


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_a_cut_line_is_the_same_formula(entry: Entry) -> None:
    for line in entry.lines:
        rows = list(wrapped(str(line)))
        assert " ".join(row.strip() for row in rows) == str(line)
        assert all(columns(row) > 16 for row in rows[:-1]), rows


def test_a_line_is_cut_at_its_loosest_sign() -> None:
    line = 'Y = mean[...] ℓ[...] if reduction == "mean" else Σ[...] ℓ[...] if reduction == "sum" else ℓ'
    assert list(wrapped(line)) == [
        '    Y = mean[...] ℓ[...] if reduction == "mean"',
        '        else Σ[...] ℓ[...] if reduction == "sum" else ℓ',
    ]
    assert list(wrapped("Y = " + "x" * 100)) == ["    Y =", "        " + "x" * 100]


def test_names_are_taken_as_they_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    printed = run(capsys, "adam", "layer_norm")
    assert printed.startswith("Operations: normalize\n") and "\nlayer_norm " in printed and "\nAdam " in printed
    assert "w ← w - lr * m̂ / (sqrt(v̂) + eps)" in printed and "AdamW" not in printed and "LayerNorm" not in printed
    assert run(capsys, "nn.LayerNorm") == run(capsys, "LayerNorm") == run(capsys, "layernorm")
    assert run(capsys, "cross-entropy") == run(capsys, "cross_entropy")
    assert run(capsys, "softmax") != run(capsys, "Softmax")
    assert re.findall(r"^(\w+) +minidl", run(capsys, "penalties"), re.M) == ["ElasticNet", "L1", "L2"]
    assert "max_pool2d" in run(capsys, "pool") and run(capsys, "relu", "relu") == run(capsys, "relu")


def test_a_layer_has_the_formulas_of_its_operation(capsys: pytest.CaptureFixture[str]) -> None:
    own = run(capsys, "linear").splitlines()
    layer = run(capsys, "Linear")
    assert "computed by linear:" in layer
    assert [line for line in own if line.startswith("    ")] == [
        line for line in layer.splitlines() if line.startswith("    ")
    ]
    assert "Y = fₙ" in run(capsys, "Sequential")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("layernrm", "did you mean layer_norm or LayerNorm?"),
        ("cross_entropi", "did you mean cross_entropy"),
        ("F.sofmax", "did you mean softmax or Softmax"),
        ("attention_", "scaled_dot_product_attention"),
        ("zzz", "without a name prints all"),
        ("", "without a name prints all"),
    ],
)
def test_an_unknown_name_gets_one_sentence(capsys: pytest.CaptureFixture[str], name: str, hint: str) -> None:
    sentence = refused(capsys, "softmax", name)
    assert f"there is no {name!r}" in sentence and hint in sentence


@pytest.mark.parametrize("arguments", [(), ("relu",)])
def test_a_reader_may_go(arguments: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "minidl", "formulas", *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=Path(inspect.getfile(ops)).parents[2]
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()  # before the first line is written
        assert process.stderr.read() == b""


# ----------------------------------------------------------------------------------------------- mathematics

CHILDREN = {"mfrac": 2, "msup": 2, "msub": 2, "msubsup": 3, "munder": 2, "mover": 2}
WITHIN = {"mtable": {"mtr"}, "mtr": {"mtd"}}
LEAVES = {"mi", "mn", "mo", "mtext", "mspace"}
KNOWN = {*CHILDREN, *WITHIN, *LEAVES, "math", "mrow", "msqrt", "mtd"}


def check(element: ET.Element, text: str) -> None:
    """MathML Core: known elements, each with the children that it needs, no text outside leaves."""
    children = list(element)
    assert element.tag in KNOWN, f"{element.tag} in {text}"
    assert len(children) == CHILDREN.get(element.tag, len(children)), f"{element.tag} in {text}"
    assert {child.tag for child in children} <= WITHIN.get(element.tag, KNOWN), f"{element.tag} in {text}"
    if element.tag in LEAVES:
        assert not children and (element.tag == "mspace" or element.text), f"empty {element.tag} in {text}"
    else:
        assert not (element.text or "").strip() and all(not (child.tail or "").strip() for child in children), text
    for child in children:
        check(child, text)


@pytest.mark.parametrize(
    "entry", [entry for entry in ENTRIES if entry.name not in NO_FORMULA], ids=lambda entry: entry.name
)
def test_the_mathematics_is_well_formed(entry: Entry) -> None:
    whole = ET.fromstring(mathml(entry.lines))
    check(whole, entry.name)
    assert whole.get("alttext") == "; ".join(map(str, entry.lines))
    for line in entry.lines:
        check(ET.fromstring(mathml(line)), str(line))


def inside(line: str) -> str:
    """The right side's markup, without the marks that are not seen."""
    markup = mathml(line)
    right = markup.rpartition("<mtd>")[2].removesuffix("</mtd></mtr></mtable></math>")
    return re.sub(r"<mo>&#x2062;</mo>|<mspace[^>]*></mspace>", "", right)


NORMAL = (
    '<mrow><mi>N</mi><mo>&#x2061;</mo><mrow><mo form="prefix" fence="true" stretchy="true">(</mo><mn>0</mn>'
    '<mo separator="true">,</mo><mn>1</mn><mo form="postfix" fence="true" stretchy="true">)</mo></mrow></mrow>'
)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("Y = a * b", "<mrow><mi>a</mi><mi>b</mi></mrow>"),
        ("Y = lr * b", "<mrow><mi>lr</mi><mo>·</mo><mi>b</mi></mrow>"),
        ("Y = a / (b - c)", "<mfrac><mi>a</mi><mrow><mi>b</mi><mo>−</mo><mi>c</mi></mrow></mfrac>"),
        ("Y = sqrt(β1**t)", "<msqrt><msup><msub><mi>β</mi><mn>1</mn></msub><mi>t</mi></msup></msqrt>"),
        ("Y = σ²[c]", "<msubsup><mi>σ</mi><mi>c</mi><mn>2</mn></msubsup>"),
        ("Y = m̂", '<mover accent="true"><mi>m</mi><mo stretchy="false">^</mo></mover>'),
        ("W ~ N(0, 1)", NORMAL),
        ("Y = 1e-5", "<msup><mn>10</mn><mrow><mo>−</mo><mn>5</mn></mrow></msup>"),
        (
            "Y = Σ[j] a * b",
            '<mrow><munder><mo largeop="true" movablelimits="false">∑</mo><mi>j</mi></munder>'
            "<mrow><mi>a</mi><mi>b</mi></mrow></mrow>",
        ),
        (
            "Y = a < b",
            "<mrow><mi>a</mi><mo>&lt;</mo><mi>b</mi></mrow>",
        ),
    ],
)
def test_mathml(line: str, expected: str) -> None:
    assert inside(line) == expected


def said(element: ET.Element) -> str:
    """What is to be read, without the signs of multiplication."""
    return re.sub(r"[·\u2062\s]", "", "".join(element.itertext()))


@pytest.mark.parametrize("entry", [entry for entry in ENTRIES if entry.name not in NO_FORMULA], ids=lambda e: e.name)
def test_a_line_over_several_rows_says_the_same(entry: Entry, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = [ET.fromstring(mathml(line)) for line in entry.lines]
    monkeypatch.setattr(in_mathml, "_WIDTH", 10_000)
    whole = [ET.fromstring(mathml(line)) for line in entry.lines]
    assert [said(one) for one in broken] == [said(one) for one in whole]
    assert all(len(one[0]) == 1 for one in whole)


def test_a_long_line_goes_on_in_the_next_row() -> None:
    line = f"Y = Σ[j] -a * ({' + '.join(f'factor{n} * term{n}' for n in range(8))}) * (b - -c)"
    table = ET.fromstring(mathml(line))[0]
    rows = list(table)
    assert len(rows) > 2 and [len(row) for row in rows] == [3] * len(rows)
    assert all(not list(row[0]) and not list(row[1]) for row in rows[1:])
    assert said(table).startswith("Y=∑j−a(factor0term0+") and said(table).endswith("term7)(b−(−c))")


# ---------------------------------------------------------------------------------------------------- page


class Page(HTMLParser):
    """What a page holds: ids, links, what it fetches, and the sources in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.sources: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = dict(attributes)
        self.ids += [found["id"] or ""] if "id" in found else []
        self.links += [found["href"] or ""] if tag == "a" else []
        self.fetched += [tag] if tag in ("script", "link", "img", "iframe", "object") or "src" in found else []
        if tag == "pre":
            self.sources.append("")
        if tag not in ("meta",):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "pre" in self.open:
            self.sources[-1] += data


@pytest.fixture
def html(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    file = tmp_path / "formulas.html"
    assert f"{len(ENTRIES)} names" in run(capsys, "--html", str(file))
    return file.read_text(encoding="utf-8")


def test_the_page_is_whole_and_fetches_nothing(html: str) -> None:
    page = Page(html)
    assert not page.open and not page.fetched
    assert "url(" not in html and "@import" not in html and "http" not in page.links
    assert len(set(page.ids)) == len(page.ids)
    assert {link.removeprefix("#") for link in page.links} <= set(page.ids)
    assert {entry.name for entry in ENTRIES} <= set(page.ids)
    assert "prefers-color-scheme: dark" in html and "@media print" in html and 'name="viewport"' in html


def test_each_formula_stands_beside_the_source_that_runs(html: str) -> None:
    assert Page(html).sources == [inspect.getsource(entry.owner).rstrip() for entry in ENTRIES]
    for entry in ENTRIES:
        section = html.partition(f'<section id="{entry.name}">')[2].partition("</section>")[0]
        assert entry.source.place in section
        assert all(str(line) in unescape(section) for line in entry.lines), entry.name


def test_some_names_make_a_small_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "two.html"
    assert "2 names" in run(capsys, "Linear", "softmax", "--html", str(file))
    page = Page(file.read_text(encoding="utf-8"))
    assert sorted(page.ids) == ["Linear", "softmax", "top"]
    assert {link.removeprefix("#") for link in page.links} <= set(page.ids)


def test_a_page_replaces_a_page_and_nothing_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "formulas.html"
    run(capsys, "relu", "--html", str(file))
    run(capsys, "tanh", "--html", str(file))
    assert 'id="tanh"' in file.read_text(encoding="utf-8")
    notes = tmp_path / "notes.html"
    notes.write_text("<p>mine</p>")
    assert "is no page of formulas" in refused(capsys, "relu", "--html", str(notes))
    assert notes.read_text() == "<p>mine</p>"
    assert "is no plain file" in refused(capsys, "relu", "--html", os.devnull)
    assert "is a folder" in refused(capsys, "relu", "--html", str(tmp_path))
    assert "no folder" in refused(capsys, "relu", "--html", str(tmp_path / "missing" / "f.html"))
    assert "nonsense" in refused(capsys, "nonsense", "--html", str(tmp_path / "new.html"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["formulas.html", "notes.html"]
