"""Files from the network: several mirrors, resumed where a connection broke, verified, kept in a cache folder."""

from __future__ import annotations

import hashlib
import http.client
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import DataError
from .idx import unpack

_BLOCK = 1 << 16
_TIMEOUT = 20.0  # seconds without a byte


@dataclass(frozen=True)
class RemoteFile:
    """A file that mirrors offer, and the checksum (md5 or sha256, in hex) to know it by.

    Over the unpacked bytes, since a gzip file may be packed anew while what is in it may not change; or over
    the packed bytes, where only that is published.
    """

    name: str
    unpacked: str | None = None
    packed: str | None = None

    def problem(self, content: bytes, raw: bytes | None) -> str:
        """What is wrong with the bytes, unpacked (`content`) and packed (`raw`, if there); empty if nothing is."""
        if self.unpacked is not None:
            expected, found = self.unpacked, _digest(content, self.unpacked)
        elif self.packed is not None and raw is not None:
            expected, found = self.packed, _digest(raw, self.packed)
        else:
            return ""
        return "" if found == expected else f"its checksum is {found}, expected {expected}"


def _digest(content: bytes, like: str) -> str:
    algorithm = hashlib.md5 if len(like) == 32 else hashlib.sha256
    return algorithm(content, usedforsecurity=False).hexdigest()


def cache_folder() -> Path:
    """Where downloads are kept: the folder MINIDL_CACHE names, or `minidl` in the platform's cache folder."""
    if chosen := os.environ.get("MINIDL_CACHE"):
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA", "~/AppData/Local")
    elif sys.platform == "darwin":
        base = "~/Library/Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "minidl"


def download(file: RemoteFile, mirrors: Sequence[str], folder: Path, progress: bool | None = None) -> bytes:
    """Fetch the file into `folder` from the first mirror that has it whole; its unpacked bytes.

    mirrors: addresses that end in /; the file's name is added to them. What arrives is written beside the
    target as `<name>.<mirror>.part`, and a later try goes on from there (HTTP Range). Only a file whose
    checksum is right is renamed to its name, in one step. progress: a bar on stderr; by default where it
    is a terminal.

    Raises DataError, naming every mirror with its failure, if none has it, and if the folder cannot be
    written.
    """
    target = folder / file.name
    failures = []
    for mirror in mirrors:
        url = mirror + file.name
        part = folder / f"{file.name}.{hashlib.sha256(url.encode()).hexdigest()[:8]}.part"
        with _writing(part):
            folder.mkdir(parents=True, exist_ok=True)
            resumed = part.exists()
        for _ in range(1 + resumed):  # a bad part from an earlier day is worth a fresh try
            try:
                _pull(url, part, file.name, progress)
            except _Broken as error:
                problem = str(error)
                break
            raw = part.read_bytes()
            try:
                content = unpack(raw, url)
                problem = file.problem(content, raw)
            except DataError as error:
                problem = str(error).removeprefix(f"{url}: ")
            if not problem:
                with _writing(target):
                    os.replace(part, target)
                return content
            part.unlink(missing_ok=True)
        failures.append(f"{url} ({problem})")
    raise DataError(
        f"download: {file.name} could not be fetched from {'; '.join(failures)}; check the network and "
        "try again (it goes on where it stopped), or fetch it elsewhere and set MINIDL_DATA to the folder "
        f"that holds {folder.name}/{file.name}"
    )


class _Broken(Exception):
    """A mirror that failed; what arrived of the file stays for another try."""


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DataError(
            f"download: cannot write {path} ({error.strerror or error}); free some space there, or set "
            "MINIDL_CACHE to a folder that can be written"
        ) from None


def _pull(url: str, part: Path, name: str, progress: bool | None, tries: int = 3) -> None:
    """Bring `part` to its full length. After `tries` connections in a row that brought nothing: _Broken."""
    left, problem = tries, ""
    while left:
        have = part.stat().st_size if part.exists() else 0
        try:
            if _connect(url, part, have, name, progress):
                return
            problem = "the connection broke off"
        except urllib.error.HTTPError as error:
            raise _Broken(f"HTTP {error.code} {error.reason}") from None
        except (OSError, http.client.HTTPException) as error:
            problem = str(getattr(error, "reason", "") or error or type(error).__name__)
        grown = part.exists() and part.stat().st_size > have
        left = tries if grown else left - 1
    raise _Broken(problem)


def _connect(url: str, part: Path, have: int, name: str, progress: bool | None) -> bool:
    """One connection, from byte `have` on; whether the file is whole afterwards."""
    headers = {"User-Agent": "minidl"} | ({"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=_TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != 416:  # 416: there is nothing from byte `have` on
            raise
        if error.headers.get("Content-Range", "").endswith(f"/{have}"):
            return True
        part.unlink()
        return False
    with response:
        start = have if response.headers.get("Content-Range", "").startswith(f"bytes {have}-") else 0
        length = response.headers.get("Content-Length")
        total = None if length is None else start + int(length)
        with _writing(part):
            output = open(part, "ab" if start else "wb")
        with output, _bar(name, start, total, progress) as bar:
            while block := response.read(_BLOCK):
                with _writing(part):
                    output.write(block)
                bar.update(len(block))
            with _writing(part):
                output.flush()
                os.fsync(output.fileno())
            return total is None or output.tell() == total


class _NoBar:
    def __enter__(self) -> _NoBar:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def update(self, count: int) -> None:
        """Nothing to draw."""


def _bar(name: str, start: int, total: int | None, progress: bool | None) -> Any:
    """tqdm's bar, or none where tqdm is missing or nobody watches."""
    try:
        from tqdm import tqdm
    except ImportError:
        return _NoBar()
    disable = None if progress is None else not progress  # None: shown on a terminal only
    return tqdm(desc=name, initial=start, total=total, unit="B", unit_scale=True, unit_divisor=1024, disable=disable)
