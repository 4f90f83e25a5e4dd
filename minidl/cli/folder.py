"""A run's folder: made whole, locked while in use, never overwritten.

    config.json               every setting, written before anything else
    checkpoint.safetensors    the whole state after the last epoch, to go on from
    history.csv               a row an epoch
    model.safetensors         the best weights, and in the metadata what it takes to use them
    result.json               the test part's loss and metrics
    curves.png, confusion.png pictures

Each file is replaced in one step, so that a kill at any moment leaves whole ones.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from minidl.cli.options import UsageError
from minidl.serialization import atomic_write

__all__ = ["RunFolder"]


class RunFolder:
    """Paths of a run, and its config."""

    def __init__(self, path: Path, config: dict[str, Any]) -> None:
        self.path, self.config = path, config
        self.checkpoint, self.model = path / "checkpoint.safetensors", path / "model.safetensors"
        self.history, self.result = path / "history.csv", path / "result.json"
        self.curves, self.confusion = path / "curves.png", path / "confusion.png"

    @classmethod
    def create(cls, config: dict[str, Any], wanted: str | None, name: str) -> RunFolder:
        """Make a folder with its config.json: `wanted`, or runs/NAME-NNN with the first free number.

        The folder is filled under a temporary name and then renamed, so that it never stands there without its config.

        Raises:
            UsageError: `wanted` is there already and not empty.
            OSError: the folder cannot be made.
        """
        if wanted is not None:
            target = Path(wanted)
            if target.exists() and not (target.is_dir() and not any(target.iterdir())):
                remedy = (
                    f", or go on with it: minidl train --resume {wanted}" if (target / "config.json").exists() else ""
                )
                raise UsageError(
                    f"minidl train: {wanted} exists and is not an empty folder; choose another --out{remedy}"
                )
        else:
            target = Path("runs") / f"{name}-001"
        temporary = target.parent / f".{target.name}.{os.getpid()}.partial"
        try:
            temporary.mkdir(parents=True)
            write_json(temporary / "config.json", config)
            while True:
                try:
                    os.rename(temporary, target)  # fails on a folder that has files, so two runs never share one
                    break
                except OSError:
                    if wanted is not None or not target.exists():
                        raise
                    number = 1 + max([0, *(_number(path.name, name) for path in target.parent.iterdir())])
                    target = target.parent / f"{name}-{number:03d}"
        except OSError as error:
            shutil.rmtree(temporary, ignore_errors=True)
            reason = error.strerror or str(error)
            kind = OSError if error.errno == errno.ENOSPC else UsageError
            raise kind(
                f"minidl train: cannot make the run folder {target}: {reason}; choose another place with --out"
            ) from error
        return cls(target, config)

    @classmethod
    def open(cls, path: str, command: str) -> RunFolder:
        """A run that is there.

        Raises:
            UsageError: there is no such folder, or it is no run, or its config cannot be read.
        """
        folder = Path(path)
        if not folder.is_dir():
            others = [str(found.parent) for found in sorted(Path("runs").glob("*/config.json"))]
            hint = f"there are {', '.join(others[-4:])}" if others else "minidl train makes one"
            raise UsageError(f"minidl {command}: there is no run folder {path}; {hint}")
        try:
            config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            if not isinstance(config, dict) or not {"settings", "model", "data"} <= config.keys():
                raise ValueError("it does not describe a run")
        except FileNotFoundError:
            raise UsageError(
                f"minidl {command}: {path} is no run folder, for it has no config.json; minidl train makes one"
            ) from None
        except (OSError, ValueError) as error:
            raise UsageError(
                f"minidl {command}: {folder / 'config.json'} cannot be read ({error}); put it right or train anew"
            ) from None
        return cls(folder, config)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder, at most until the process ends, however it ends; clear away what a killed one left.

        Raises:
            UsageError: another process trains there.
        """
        handle = -1
        try:
            import fcntl

            handle = os.open(self.path, os.O_RDONLY)
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError:  # Windows
            pass
        except BlockingIOError:
            os.close(handle)
            raise UsageError(
                f"minidl train: another process trains in {self.path}; wait for it or stop it first"
            ) from None
        except OSError:  # a file system without locks
            pass
        try:
            for leftover in self.path.glob(".*.partial"):
                leftover.unlink(missing_ok=True)
            yield
        finally:
            if handle >= 0:
                os.close(handle)


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Readable JSON, replaced in one step."""
    with atomic_write(path) as file:
        file.write((json.dumps(values, indent=2, ensure_ascii=False) + "\n").encode())


def _number(folder: str, name: str) -> int:
    tail = folder.removeprefix(f"{name}-")
    return int(tail) if tail != folder and tail.isdigit() else 0
