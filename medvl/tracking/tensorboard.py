"""TensorBoard: an event file in the run directory."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medvl.data.decoding import shown_image
from medvl.tracking.pages import compared_documents, documents
from medvl.tracking.tracker import Subject, Tracker, ending, require

log = logging.getLogger(__name__)


class TensorBoard(Tracker):
    """The `logger=tensorboard` option. It stores no artifacts, as adapters are already in the run directory.

    Args:
        name: None: what differs from the default composition.
        group: None: the sweep.
    """

    def __init__(
        self,
        subject: Subject,
        *,
        project: str,
        name: str | None = None,
        notes: str | None = None,
        group: str | None = None,
        tags: Sequence[str] = (),
    ) -> None:
        from lightning.pytorch.loggers import TensorBoardLogger

        from medvl.record.checkpoints import latest_checkpoint, step_of

        record = subject.record
        checkpoint = latest_checkpoint(record.checkpoints)
        # A resumed run rewrites the steps after its checkpoint.
        again = step_of(checkpoint) + 1 if checkpoint is not None else None
        self.logger = TensorBoardLogger(
            record.path, name="tensorboard", version="", default_hp_metric=False, purge_step=again
        )
        self.writer = self.logger.experiment
        self.step = 0
        self.columns = dict(subject.columns)
        about = {
            "project": project,
            "run": name or subject.name,
            "notes": notes,
            "group": group or subject.group,
            "job_type": subject.job_type,
            "tags": ", ".join(tags),
        }
        self.note(**{key: word for key, word in about.items() if word})
        log.info("TensorBoard: tensorboard --logdir %s/tensorboard", record.display_path())

    @classmethod
    def check_options(cls, **options: Any) -> None:
        require("tensorboard", "tensorboard")

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        if step is None:  # columns and final numbers form a row of TensorBoard's table
            self.logger.log_hyperparams(self.columns, dict(values), step=self.step)
        else:
            self.step = step
            self.logger.log_metrics(dict(values), step=step)

    def note(self, **words: str) -> None:
        for name, word in words.items():
            self.writer.add_text(name, word, self.step)

    def settle(self, columns: Mapping[str, Any]) -> None:
        self.columns |= columns

    def pages(self, name: str, rows: Sequence[dict[str, Any]]) -> None:
        for example, text in documents(rows):
            self.writer.add_text(f"{name}/{example['id']}", text, self.step)
            self.picture(f"{name}/{example['id']}", Path(example["page"]))

    def comparison(self, name: str, before: Sequence[dict[str, Any]], after: Sequence[dict[str, Any]]) -> None:
        for example, text in compared_documents(before, after):
            self.writer.add_text(f"{name}/{example['id']}", text, self.step)

    def picture(self, name: str, path: Path) -> None:
        import numpy as np

        if (page := shown_image(path)) is not None:
            self.writer.add_image(name, np.asarray(page), self.step, dataformats="HWC")

    def data(self, name: str, account: dict[str, Any]) -> None:
        self.writer.add_text(f"data/{name}", account["fingerprint"], self.step)

    def finish(self, code: int) -> None:
        self.note(state=ending(code))
        self.logger.finalize("success" if code == 0 else "failed")
