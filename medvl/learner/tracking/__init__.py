"""Tracking services as mirrors of the run directory; nothing is lost without one.

mirror       what a run tells a service; `logger=none` tells nobody
wandb        Weights & Biases, online or offline
tensorboard  an event file in the run directory
mlflow       a local store or a server
pages        examples as they are shown: page, reference, answer, differences
"""

from __future__ import annotations

from medvl.learner.tracking.mirror import Mirror, Subject
from medvl.learner.tracking.mlflow import MLflow
from medvl.learner.tracking.tensorboard import TensorBoard
from medvl.learner.tracking.wandb import Wandb

wandb_logger = Wandb  # as the configurations of earlier runs name it

__all__ = ["MLflow", "Mirror", "Subject", "TensorBoard", "Wandb", "wandb_logger"]
