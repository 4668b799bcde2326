"""Tracking services. They only get what is also in the run directory, so nothing is lost without one.

tracker      the interface of all trackers; `logger=none` is the one that does nothing
wandb        Weights & Biases, online or offline
tensorboard  an event file in the run directory
mlflow       a local store or a server
names        names of runs and numbers
pages        examples as trackers show them: page, reference, answer, differences
"""

from __future__ import annotations

from medvl.tracking.mlflow import MLflow
from medvl.tracking.tensorboard import TensorBoard
from medvl.tracking.tracker import Subject, Tracker
from medvl.tracking.wandb import Wandb

SERVICES: dict[str, type[Tracker]] = {"MLflow": MLflow, "TensorBoard": TensorBoard, "Wandb": Wandb}

__all__ = ["SERVICES", "MLflow", "Subject", "TensorBoard", "Tracker", "Wandb"]
