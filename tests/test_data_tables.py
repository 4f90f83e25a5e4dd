"""CSV tables: what is understood, and the sentence for what is not, with file, line, column and remedy."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from minidl import data
from minidl.data import DataError, DataNotFoundError, read_csv

PLAIN = "width,height,kind\n1,2.5,cat\n3,-4e1,dog\n5,6,cat\n"


@pytest.fixture
def write(tmp_path):
    def file(text, name="t.csv"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return file


def test_plain(write):
    table = read_csv(write(PLAIN))
    np.testing.assert_array_equal(table.x, [[1, 2.5], [3, -40], [5, 6]])
    assert table.labels == ("cat", "dog", "cat")
    assert table.features == ("width", "height") and table.label == "kind"
    assert table.lines == (2, 3, 4)
    assert table.missing() == ""


@pytest.mark.parametrize(
    "text",
    [
        PLAIN.replace(",", ";"),
        PLAIN.replace(",", "\t"),
        PLAIN.replace(",", "|"),
        PLAIN.replace("\n", "\r\n"),
        "\ufeff" + PLAIN,
        PLAIN.replace("\n", "\n\n"),
        PLAIN.replace(",", ", "),
        PLAIN.rstrip("\n"),
        PLAIN.replace("width", '"width"').replace("\n1,", '\n"1",').replace("cat", '"cat"'),
        gzip.compress(PLAIN.encode()),
    ],
    ids=[
        "semicolon",
        "tab",
        "bar",
        "crlf",
        "bom",
        "blank lines",
        "spaces",
        "no last newline",
        "quotes",
        "gzip",
    ],
)
def test_forms_of_the_same_table(write, text):
    table = read_csv(write(text))
    np.testing.assert_array_equal(table.x, [[1, 2.5], [3, -40], [5, 6]])
    assert table.labels == ("cat", "dog", "cat") and table.features == ("width", "height")


def test_quotes_hold_delimiters_and_line_breaks(write):
    table = read_csv(write('"a, b","c ""d""",y\n1,2,"x,\ny"\n3,4,z\n'))
    assert table.features == ("a, b", 'c "d"') and table.labels == ("x,\ny", "z")
    assert table.lines == (3, 4)


@pytest.mark.parametrize(
    "text, label, header, names",
    [
        ("1,2,3\n4,5,6\n", -1, None, False),
        ("a,b,c\n4,5,6\n", -1, None, True),
        ("a,b,yes\n1,2,yes\n", -1, None, True),
        ("1,2,yes\n1,2,no\n", -1, None, False),
        ("0,1,label\n4,5,6\n", "label", None, True),
        ("0,1,label\n4,5,x\n", -1, False, False),
        ("1,2,3\n4,5,6\n", -1, True, True),
    ],
)
def test_header(write, text, label, header, names):
    table = read_csv(write(text), label, header)
    rows = text.strip().split("\n")
    assert len(table.x) == len(rows) - names
    assert table.features[0] == (rows[0].split(",")[0] if names else "column 1")


def test_label_columns_and_ignored_ones(write):
    table = read_csv(write("id,y,a,b\n9,1,2,3\n8,0,4,5\n"), "y", ignore=["id"])
    np.testing.assert_array_equal(table.x, [[2, 3], [4, 5]])
    assert table.labels == ("1", "0")
    table = read_csv(write("id,y,a,b\n9,1,2,3\n8,0,4,5\n"), None, columns=["b", 2])
    np.testing.assert_array_equal(table.x, [[3, 2], [5, 4]])
    assert table.labels is None and table.label is None
    assert read_csv(write("1,2\n3,4\n"), "0").labels == ("1", "3")


def test_missing_values_are_nan(write):
    table = read_csv(write("a,b,c,y\n1,,?,u\nNA,nan,N/A,v\n4,null,None,u\n"))
    np.testing.assert_array_equal(np.isnan(table.x), [[0, 1, 1], [1, 1, 1], [0, 1, 1]])
    assert "7 missing values, the first in line 2, column 'b'" in table.missing()


@pytest.mark.parametrize(
    "text, options, words",
    [
        ("", {}, "the file is empty"),
        ("\n \n", {}, "the file is empty"),
        ("\ufeff", {}, "the file is empty"),
        ("a,b,y\n1,2,3\n1,2\n", {}, "line 3 has 2 fields and line 1 has 3.*same number"),
        ("1,2,3\n1,2,3,4\n", {}, "line 2 has 4 fields"),
        ("a,b,y\n1,2,3\n1,red,3\n", {}, r"line 3, column 2 \('b'\): 'red' is not a number; .*ignore="),
        ("1,2,3\n1,2;5,3\n", {}, r"line 2, column 2 \('column 2'\): '2;5' is not a number"),
        ("a,b,y\n1,2,3\n", {"label": "z"}, "no column 'z'; it has 'a', 'b', 'y'"),
        ("1,2,3\n1,2,3\n", {"label": "z"}, "no column 'z'; it has no header line"),
        ("1,2,3\n1,2,3\n", {"label": 3}, "no column number 3; the 3 columns are numbered from 0 to 2"),
        ("1,2,3\n1,2,3\n", {"ignore": ["w"]}, "no column 'w'"),
        ("a,b,y\n1,2,3\n1,2,\n", {}, r"line 3, column 3 \('y'\): the label is missing; fill it in or delete"),
        ("a,b,y\n1,inf,3\n", {}, r"line 2, column 2 \('b'\): the value is infinite"),
        ("a,b,y\n", {"header": True}, "a header and no rows"),
        ("a,a,y\n1,2,3\n", {}, "line 1: two columns are called 'a'"),
        ("1\n2\n", {}, "no feature columns are left"),
        ("a,y\n1,2\n", {"ignore": ["a"]}, "no feature columns are left"),
        ('a,y\n1,"2\n3,4\n', {}, "line 3: .*check the quotes"),
        (b"a,y\n1,\xff\n", {}, "not UTF-8 text"),
        (b"a,y\n1,\x00\n", {}, "zero bytes"),
        (gzip.compress(PLAIN.encode())[:-9], {}, "gzip file is cut short"),
    ],
)
def test_bad_tables(write, text, options, words):
    path = write(text)
    with pytest.raises(DataError, match=words) as caught:
        read_csv(path, **options)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_such_table(tmp_path):
    with pytest.raises(DataNotFoundError, match="no such file"):
        read_csv(tmp_path / "absent.csv")


def rows(count, line):
    return "a,b,y\n" + "".join(line(i) for i in range(count))


def test_classes_or_values(write):
    text = write(rows(40, lambda i: f"{i},{i * i},{'pq'[i % 2]}\n"))
    parts = data.load(text)
    assert parts.classes == ("p", "q") and parts.features == ("a", "b") and parts.shape == (2,)
    assert parts.train.y.dtype == np.int64
    assert (len(parts.train), len(parts.valid), len(parts.test)) == (32, 4, 4)
    whole = write(rows(40, lambda i: f"{i},{i * i},{3 * (i % 4)}\n"))
    assert data.load(whole).classes == ("0", "3", "6", "9")
    assert data.load(whole, task="regression").classes is None
    values = data.load(write(rows(40, lambda i: f"{i},{i * i},{i / 4}\n")))
    assert values.classes is None
    assert values.train.y.shape == (32, 1) and values.train.y.dtype == np.float32
    many = data.load(write(rows(40, lambda i: f"{i},{i * i},{i}\n")))
    assert many.classes is None


def test_cleaning_on_the_way(write):
    holes = write(rows(60, lambda i: f"{'' if i == 7 else i},{i * i},{'pq'[i % 2]}\n"))
    with pytest.raises(DataError, match="1 missing values, the first in line 9, column 'a'; .*missing="):
        data.load(holes)
    dropped = data.load(holes, missing="drop")
    assert sum(len(part) for part in dropped) == 59
    filled = data.load(holes, missing="mean")
    assert sum(len(part) for part in filled) == 60
    assert not any(part.missing for part in filled)
    x = np.array([[np.nan, 1.0]])
    train_mean = data.load(holes, missing=-1).train.x[:, 0]
    train_mean = train_mean[train_mean >= 0].mean()
    np.testing.assert_allclose(filled.transform.transform(x), [[train_mean, 1.0]])

    twice = write(rows(60, lambda i: f"{i % 30},{i % 30},{'pq'[i % 2]}\n"))
    assert sum(len(part) for part in data.load(twice, duplicates="drop", valid=0.2, test=0.2)) == 30

    wild = write(rows(60, lambda i: f"{1e9 if i % 20 == 3 else i},{i},{'pq'[i % 2]}\n"))
    clipped = data.load(wild, outliers="clip")
    assert max(part.x.max() for part in clipped) < 1000
    pruned = data.load(wild, outliers="drop")
    assert pruned.train.x.max() < 100
    assert len(pruned.valid) + len(pruned.test) == 12


@pytest.mark.parametrize(
    "options, words",
    [
        ({"task": "cluster"}, "task='cluster'; expected one of"),
        ({"missing": "guess"}, "strategy='guess'"),
        ({"outliers": "hide"}, "outliers='hide'"),
        ({"outlier_rule": "x"}, "outlier_rule='x'"),
        ({"duplicates": "x"}, "duplicates='x'"),
        ({"shuffle": True}, "has no option 'shuffle'; it has .*seed"),
        ({"valid": 0.6, "test": 0.5}, "leave some rows to train on"),
        ({"valid": -0.1}, "expected fractions"),
        ({"task": "regression"}, "'p' is not; name another label column"),
    ],
)
def test_bad_options(write, options, words):
    path = write(rows(40, lambda i: f"{i},{i * i},{'pq'[i % 2]}\n"))
    with pytest.raises(DataError, match=words):
        data.load(path, **options)


def test_a_class_with_too_few_rows(write):
    path = write(rows(40, lambda i: f"{i},{i * i},{'rare' if i == 11 else 'common'}\n"))
    with pytest.raises(DataError, match="class 'rare' has 1 rows, too few"):
        data.load(path)
