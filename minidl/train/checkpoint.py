"""A run on disk: one safetensors file from which it goes on as if it had never stopped.

The tensors are the model's weights and buffers, the optimizer's moments and the best weights so far. Everything else
(epoch, learning rates, the random generators' seeds and offsets, which also give the order of the data, early stopping,
the history) is JSON in the file's metadata, whose numbers read back exactly. The file replaces its forerunner in one
step, so that a kill at any moment leaves the last whole one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from minidl import Tensor, from_numpy, random
from minidl.serialization import load_arrays, save_arrays
from minidl.train.callbacks import Callback
from minidl.train.history import History

if TYPE_CHECKING:
    from minidl.train.loop import Run

__all__ = ["Checkpoint"]

FORMAT = 1


class Checkpoint(Callback):
    """Writes a run's whole state after each epoch, and brings it back.

    Args:
        path: the file.
        resume: go on from the file where it exists.
    """

    def __init__(self, path: str | os.PathLike[str], resume: bool = False) -> None:
        self.path, self.resume = Path(path), resume

    def fit_begins(self, run: Run) -> None:
        if self.resume and self.path.exists():
            self.restore(run)

    def epoch_ends(self, run: Run) -> None:
        self.write(run)

    def write(self, run: Run) -> None:
        """Save the run as it stands at the end of `run.epoch`."""
        state = {
            "format": FORMAT,
            "epoch": run.epoch,
            "stopped": run.stopped,
            "model": dict(run.model.state_dict()),
            "optimizer_kind": type(run.optimizer).__name__,
            "optimizer": run.optimizer.state_dict(),
            "scheduler": run.scheduler.state_dict() if run.scheduler is not None else None,
            "early_stopping": run.early_stopping.state_dict() if run.early_stopping else None,
            "random": [list(generator.get_state()) for generator in generators(run.train_loader)],
            "history": list(run.history),
        }
        arrays: dict[str, np.ndarray] = {}
        text = json.dumps(_pack(state, "", arrays))
        save_arrays(arrays, self.path, {"minidl.epoch": str(run.epoch), "minidl.checkpoint": text})

    def restore(self, run: Run) -> None:
        """Bring the saved state back into the run's model, optimizer, scheduler, generators and history.

        Raises:
            ValueError: the file is damaged, not a checkpoint, or of another model or optimizer.
        """
        arrays, metadata = load_arrays(self.path)
        if "minidl.checkpoint" not in metadata:
            raise ValueError(
                f"resume: {self.path} holds weights but is no checkpoint; load it with"
                " model.load_state_dict(load(path))"
            )
        state = _unpack(json.loads(metadata["minidl.checkpoint"]), arrays)
        if state["format"] != FORMAT:
            raise ValueError(
                f"resume: {self.path} is a checkpoint of format {state['format']}, and this version reads {FORMAT};"
                " train anew"
            )
        self._same_model(state["model"], run.model.state_dict())
        found = generators(run.train_loader)
        if state["optimizer_kind"] != type(run.optimizer).__name__:
            raise ValueError(
                f"resume: {self.path} was written with {state['optimizer_kind']}, this run has"
                f" {type(run.optimizer).__name__}; use the same"
            )
        for name, part in (("scheduler", run.scheduler), ("early_stopping", run.early_stopping)):
            if (state[name] is None) != (part is None):
                raise ValueError(
                    f"resume: {self.path} was written {'with' if part is None else 'without'} {name}; call fit in the"
                    " same way"
                )
        if len(state["random"]) != len(found):
            raise ValueError(
                f"resume: {self.path} knows {len(state['random'])} random generators and this run has {len(found)}; use"
                " the same loader"
            )
        run.model.load_state_dict(state["model"])
        run.optimizer.load_state_dict(state["optimizer"])
        if run.scheduler is not None:
            run.scheduler.load_state_dict(state["scheduler"])
        if run.early_stopping:
            run.early_stopping.load_state_dict(state["early_stopping"])
        for generator, numbers in zip(found, state["random"], strict=True):
            generator.set_state(tuple(numbers))
        run.epoch, run.stopped, run.history = state["epoch"], state["stopped"], History(state["history"])

    @staticmethod
    def epoch_of(path: str | os.PathLike[str]) -> int:
        """The epoch after which a checkpoint was written. Raises ValueError for a damaged file."""
        return int(load_arrays(path)[1].get("minidl.epoch", 0))

    def _same_model(self, saved: Mapping[str, Tensor], model: Mapping[str, Tensor]) -> None:
        def kinds(entries: Mapping[str, Tensor]) -> dict[str, str]:
            return {name: f"{name} {tuple(entry.shape)} {entry.array.dtype.name}" for name, entry in entries.items()}

        theirs, ours = kinds(saved), kinds(model)
        for name in [*ours, *theirs]:
            if theirs.get(name) != ours.get(name):
                raise ValueError(
                    f"resume: {self.path} is a checkpoint of another model: it has {theirs.get(name, f'no {name}')}, "
                    f"this model has {ours.get(name, f'no {name}')}; build the model that was trained"
                )


def generators(loader: Any) -> list[Any]:
    """The default generator, and those that a loader, its sampler or its data set keep for themselves."""
    found = [random.default_generator]
    for part in (loader, *(getattr(loader, name, None) for name in ("sampler", "batch_sampler", "dataset"))):
        generator = getattr(part, "generator", None)
        if generator is not None and all(generator is not other for other in found):
            found.append(generator)
    return found


def _pack(value: Any, name: str, arrays: dict[str, np.ndarray]) -> Any:
    """A tree as JSON can hold it: tensors go to `arrays` and leave their names; dicts and tuples are marked."""
    if isinstance(value, (Tensor, np.ndarray)):
        arrays[name] = value.detach().cpu().array if isinstance(value, Tensor) else value
        return {"tensor": name, "kind": "Tensor" if isinstance(value, Tensor) else "array"}
    if isinstance(value, dict):
        return {
            "dict": [[key, _pack(item, f"{name}.{key}" if name else str(key), arrays)] for key, item in value.items()]
        }
    if isinstance(value, (list, tuple)):
        items = [_pack(item, f"{name}.{index}", arrays) for index, item in enumerate(value)]
        return {"tuple": items} if isinstance(value, tuple) else items
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(
        f"Checkpoint: {name} is {type(value).__name__}, which cannot be saved; expected tensors, numbers, text, lists"
        " or dicts"
    )


def _unpack(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    if isinstance(value, list):
        return [_unpack(item, arrays) for item in value]
    if isinstance(value, dict):
        if "tensor" in value:
            array = arrays[value["tensor"]]
            return from_numpy(array) if value["kind"] == "Tensor" else array
        if "tuple" in value:
            return tuple(_unpack(item, arrays) for item in value["tuple"])
        return {key: _unpack(item, arrays) for key, item in value["dict"]}
    return value
