"""The downloader against a server on this machine: resumed, mirrors in turn, verified before use."""

from __future__ import annotations

import errno
import gzip
import hashlib
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from minidl import data
from minidl.data import DataError, published
from minidl.data.download import RemoteFile, cache_folder, download

CONTENT = np.random.default_rng(0).integers(0, 40, 300_000).astype(np.uint8).tobytes()
PACKED = gzip.compress(CONTENT, 1, mtime=0)
FILE = RemoteFile("f.gz", unpacked=hashlib.md5(CONTENT).hexdigest())


class Handler(BaseHTTPRequestHandler):
    """/good/ serves ranges, /plain/ ignores them, /cut/ stops after 50,000 bytes each time, /dead/ at once;
    /wrong/ has another file, /broken/ half of it, /html/ a page that is none."""

    def do_GET(self):
        log = self.server.log
        place = self.path.split("/")[1]
        wanted = self.headers.get("Range")
        log.append((place, wanted))
        body = {
            "wrong": gzip.compress(b"other"),
            "html": b"<html>log in</html>",
            "broken": PACKED[:-100],
        }.get(place, PACKED)
        if place not in ("good", "plain", "cut", "wrong", "html", "broken", "dead"):
            self.send_error(404)
            return
        start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted and place != "plain" else 0
        if start >= len(body):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(body)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        end = start + 50_000 if place == "cut" else start if place == "dead" else len(body)
        self.wfile.write(body[start:end])

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.log = []
        thread = threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield running
        running.shutdown()


@pytest.fixture
def mirror(server):
    server.log.clear()
    return lambda *places: [f"http://127.0.0.1:{server.server_port}/{place}/" for place in places]


def test_fetched_verified_and_named_at_the_end(tmp_path, mirror):
    assert download(FILE, mirror("good"), tmp_path) == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == ["f.gz"]
    assert (tmp_path / "f.gz").read_bytes() == PACKED


def test_a_cut_connection_is_resumed_where_it_stopped(tmp_path, mirror, server):
    assert download(FILE, mirror("cut"), tmp_path) == CONTENT
    starts = [0 if wanted is None else int(wanted[6:-1]) for _, wanted in server.log]
    assert starts == list(range(0, len(PACKED), 50_000)) and len(starts) > 2


def test_a_part_of_an_earlier_run_is_used(tmp_path, mirror, server):
    with pytest.raises(DataError):
        download(FILE, mirror("dead"), tmp_path)
    url = mirror("good")[0] + FILE.name
    part = tmp_path / f"f.gz.{hashlib.sha256(url.encode()).hexdigest()[:8]}.part"
    part.write_bytes(PACKED[:1234])
    server.log.clear()
    assert download(FILE, mirror("good"), tmp_path) == CONTENT
    assert server.log == [("good", "bytes=1234-")]
    part.write_bytes(PACKED)  # complete, but never renamed
    assert download(FILE, mirror("good"), tmp_path) == CONTENT


@pytest.mark.parametrize("stale", [b"x" * 1000, PACKED + b"more", b"x" * len(PACKED)])
def test_a_bad_part_is_thrown_away(tmp_path, mirror, stale):
    url = mirror("good")[0] + FILE.name
    (tmp_path / f"f.gz.{hashlib.sha256(url.encode()).hexdigest()[:8]}.part").write_bytes(stale)
    assert download(FILE, mirror("good"), tmp_path) == CONTENT


def test_a_server_without_ranges_starts_over(tmp_path, mirror):
    url = mirror("plain")[0] + FILE.name
    (tmp_path / f"f.gz.{hashlib.sha256(url.encode()).hexdigest()[:8]}.part").write_bytes(PACKED[:777])
    assert download(FILE, mirror("plain"), tmp_path) == CONTENT


@pytest.mark.parametrize("first", ["absent", "wrong", "html", "broken", "dead"])
def test_the_next_mirror_is_tried(tmp_path, mirror, server, first):
    assert download(FILE, mirror(first, "good"), tmp_path) == CONTENT
    assert server.log[0][0] == first and server.log[-1][0] == "good"


def test_all_mirrors_fail_in_one_sentence(tmp_path, mirror):
    places = mirror("absent", "wrong", "broken", "dead")
    with pytest.raises(DataError) as caught:
        download(FILE, [*places, "http://127.0.0.1:9/"], tmp_path / "mnist")
    message = str(caught.value)
    assert "\n" not in message
    for words in (*places, "HTTP 404", "its checksum is", "cut short", "connection broke off", "refused"):
        assert words in message, words
    assert "MINIDL_DATA" in message and "mnist/f.gz" in message
    assert not (tmp_path / "mnist" / "f.gz").exists()


def test_checksums_over_packed_or_unpacked_bytes(tmp_path, mirror):
    sha = RemoteFile("f.gz", unpacked=hashlib.sha256(CONTENT).hexdigest())
    assert download(sha, mirror("good"), tmp_path) == CONTENT
    packed = RemoteFile("f.gz", packed=hashlib.md5(PACKED).hexdigest())
    assert download(packed, mirror("html", "good"), tmp_path) == CONTENT
    anew = gzip.compress(CONTENT, 9, mtime=1)
    assert FILE.problem(CONTENT, anew) == "", "packed anew, the same content"
    assert "its checksum is" in packed.problem(CONTENT, anew)
    assert packed.problem(CONTENT, None) == "", "nothing is published about the unpacked bytes"


def test_a_progress_bar(tmp_path, mirror, capsys):
    pytest.importorskip("tqdm")
    download(FILE, mirror("good"), tmp_path, progress=True)
    assert "f.gz" in capsys.readouterr().err
    download(FILE, mirror("good"), tmp_path / "quiet", progress=False)
    assert capsys.readouterr().err == ""


def test_a_full_disk_is_no_fault_of_the_mirrors(tmp_path, mirror, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("minidl.data.download.os.fsync", full)
    with pytest.raises(DataError, match="cannot write .*No space left on device.*MINIDL_CACHE"):
        download(FILE, mirror("good", "good"), tmp_path)


def test_a_folder_that_is_a_file(tmp_path, mirror):
    (tmp_path / "cache").write_text("")
    with pytest.raises(DataError, match="cannot write"):
        download(FILE, mirror("good"), tmp_path / "cache")


def test_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("MINIDL_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("MINIDL_CACHE")
    assert cache_folder().name == "minidl"


@pytest.fixture
def small(mirror, tmp_path, monkeypatch):
    """A source of four small IDX files, and the folder a good mirror serves."""
    monkeypatch.delenv("MINIDL_DATA", raising=False)
    monkeypatch.setenv("MINIDL_CACHE", str(tmp_path / "cache"))
    file = RemoteFile("f.gz", unpacked=hashlib.md5(CONTENT).hexdigest())
    return published.IdxSource("small-set", ("a",), tuple(mirror("good")), (file,) * 4), file


def test_a_source_looks_on_the_disk_first(small, tmp_path, monkeypatch, server):
    source, file = small
    assert source.content(file) == CONTENT and len(server.log) == 1
    assert source.content(file) == CONTENT and len(server.log) == 1, "the second time from the cache"
    cached = tmp_path / "cache" / "small-set" / "f.gz"
    cached.write_bytes(PACKED[:-5])
    assert source.content(file) == CONTENT and len(server.log) == 2, "a damaged file of the cache is fetched again"
    for folder, name, content in (("small-set", "f.gz", PACKED), ("small_set", "f", CONTENT)):
        root = tmp_path / name
        (root / folder).mkdir(parents=True)
        (root / folder / name).write_bytes(content)
        monkeypatch.setenv("MINIDL_DATA", str(root))
        monkeypatch.setenv("MINIDL_CACHE", str(tmp_path / "no cache"))
        assert source.content(file) == CONTENT and len(server.log) == 2
        (root / folder / name).write_bytes(content[:-5])
        with pytest.raises(DataError, match="cut short|its checksum is"):
            source.content(file)
        assert (root / folder / name).exists(), "the user's file is left alone"


def test_mnist_without_network_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.delenv("MINIDL_DATA", raising=False)
    monkeypatch.setenv("MINIDL_CACHE", str(tmp_path))
    closed = published.IdxSource("mnist", ("a",), ("http://127.0.0.1:9/",), published.MNIST.files)
    monkeypatch.setattr("minidl.data.sources.MNIST", closed)
    with pytest.raises(DataError, match="127.0.0.1:9.*set MINIDL_DATA to the folder that holds mnist/train-images"):
        data.load("mnist")
