"""Training: the loop, its observers, metrics, and runs that survive interruption."""

from __future__ import annotations

from minidl.train import metrics
from minidl.train.callbacks import Callback, EarlyStopping, Progress
from minidl.train.checkpoint import Checkpoint
from minidl.train.evaluation import Loss, Metric, evaluate, predict
from minidl.train.history import History
from minidl.train.loop import Run, fit
from minidl.train.metrics import accuracy, confusion_matrix, f1, mae, precision, r2, recall, rmse

__all__ = [
    "Callback", "Checkpoint", "EarlyStopping", "History", "Loss", "Metric", "Progress", "Run",
    "accuracy", "confusion_matrix", "evaluate", "f1", "fit", "mae", "metrics", "precision", "predict",
    "r2", "recall", "rmse",
]  # fmt: skip
