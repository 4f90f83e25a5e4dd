"""Optimizers, and schedules for their learning rates (`lr_scheduler`)."""

from minidl.optim import lr_scheduler
from minidl.optim.adam import Adam, AdamW
from minidl.optim.adaptive import Adadelta, Adagrad, RMSprop
from minidl.optim.optimizer import Optimizer
from minidl.optim.sgd import GD, SGD

__all__ = ["GD", "SGD", "Adadelta", "Adagrad", "Adam", "AdamW", "Optimizer", "RMSprop", "lr_scheduler"]
