"""The LightningDataModule: prepared examples, packed on workers, resumable in the middle of an epoch."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from torch.utils.data import DataLoader, Dataset

from medvl.data.encoding import Encoder
from medvl.data.features import FeatureCache
from medvl.data.live import Curriculum, LiveRows, LiveSampler
from medvl.data.packing import PackedSampler, fill_rows, pack
from medvl.data.prepare import Prepared
from medvl.data.sources.reading_pages import ReadingPages
from medvl.record.signals import leave_to_parent
from medvl.types import IGNORE, Batch, Example

PATIENCE_S = 600  # for a row of a worker; much longer than any takes to encode


class Rows(Dataset[Batch]):
    """Packed rows of examples; images are decoded and encoded in the loader's workers.

    Args:
        features: Cache of the vision tower's outputs; None: images are always decoded.
    """

    def __init__(self, examples: list[Example], encoder: Encoder, features: FeatureCache | None = None) -> None:
        self.examples, self.encoder, self.features = examples, encoder, features

    def __getitem__(self, row: dict[str, Any]) -> Batch:
        examples = [self.examples[index] for index in row["indices"]]
        batch = self._pack(examples, row["window_tokens"])
        if row.get("mute"):
            batch["labels"].fill_(IGNORE)
        return batch

    def _pack(self, examples: list[Example], window_tokens: int) -> Batch:
        keys: list[str] = []
        if self.features is not None:
            keys = [self.features.key(image) for example in examples for image in example.images]
            seen = [one for key in keys if (one := self.features.read(key)) is not None]
            if len(seen) == len(keys):
                parts = iter(seen)
                return pack(
                    [
                        self.encoder.encode_cached(example, [next(parts) for _ in example.images])
                        for example in examples
                    ],
                    window_tokens,
                )
        batch = pack([self.encoder.encode(example) for example in examples], window_tokens)
        if keys:
            batch["image_keys"] = keys
        return batch


class Loader(DataLoader):
    """A DataLoader that ends, with one sentence, when its workers hang or die, as they do without shared memory."""

    _iterator: Any

    def __iter__(self) -> Any:
        try:
            yield from super().__iter__()
        except (Exception, SystemExit, KeyboardInterrupt) as error:
            if self._iterator is not None:  # workers, which ignore the signal to end that an exit sends and waits for
                self._iterator._shutdown_workers()
                for worker in self._iterator._workers:
                    worker.kill()
            what = str(error).split(". ")[0].rstrip(".")
            if isinstance(error, RuntimeError) and what.startswith("DataLoader "):  # else raised in the data set
                raise ValueError(f"{what}. Set hardware.workers=0, or allow more shared memory.") from error
            raise


class ResumableLoader(Loader):
    """A DataLoader whose state counts the rows that were used, not those that were prefetched."""

    used = 0
    sampler: Any

    def __iter__(self) -> Any:
        self.used = self.sampler.start
        for batch in super().__iter__():
            self.used += 1
            yield batch

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.used, **self.sampler.state_dict(self.used)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.sampler.start = self.used = state["rows"]
        self.sampler.load_state_dict(state)


def _ignore_signals(worker: int) -> None:
    leave_to_parent()


class DocumentData(L.LightningDataModule):
    """Training and validation rows of a prepared source.

    Args:
        budget: Maximum tokens per row.
        steps, epochs: End of the run, whichever comes first.
        val_rows: Maximum rows per validation.
        reading: Draws training rows during training; None: the prepared examples are used.
        features: Cache of the vision tower's outputs.
    """

    def __init__(
        self,
        prepared: Prepared,
        encoder: Encoder,
        *,
        budget: int,
        seed: int,
        accumulate: int,
        steps: int | None,
        epochs: float | None,
        workers: int,
        pin: bool,
        val_rows: int,
        reading: ReadingPages | None = None,
        features: FeatureCache | None = None,
    ) -> None:
        super().__init__()
        self.reading, self.features = reading, features
        self.curriculum = None if reading is None else Curriculum(reading)
        self.prepared, self.encoder = prepared, encoder
        self.budget, self.seed, self.accumulate = budget, seed, accumulate
        self.steps, self.epochs = steps, epochs
        self.val_rows = val_rows
        self.loading: dict[str, Any] = {"num_workers": workers, "pin_memory": pin, "batch_size": None}
        if workers:
            # A signal to the process group ends the run after it has saved; until then it needs its workers.
            self.loading |= {"prefetch_factor": 4, "persistent_workers": True, "worker_init_fn": _ignore_signals}
            self.loading["timeout"] = PATIENCE_S

    def sampler(self, *, ranks: int, rank: int) -> PackedSampler | LiveSampler:
        """Return the stream of training rows of one rank."""
        if self.reading is not None and self.curriculum is not None:
            if self.steps is None:
                raise ValueError("pages are drawn without end. Set trainer.max_steps=1000, or data.live=false.")
            if self.budget < self.reading.longest:
                raise ValueError(
                    f"a row of {self.budget} tokens may not hold a page of the last stage. "
                    f"Set batch.tokens={self.reading.longest}."
                )
            return LiveSampler(
                self.curriculum, seed=self.seed, accumulate=self.accumulate, ranks=ranks, rank=rank, steps=self.steps
            )
        return PackedSampler(
            self.prepared.examples["train"],
            budget=self.budget,
            seed=self.seed,
            accumulate=self.accumulate,
            ranks=ranks,
            rank=rank,
            steps=self.steps,
            epochs=self.epochs,
        )

    def train_dataloader(self) -> ResumableLoader:
        assert self.trainer is not None
        sampler = self.sampler(ranks=self.trainer.world_size, rank=self.trainer.global_rank)
        if self.reading is not None:
            return ResumableLoader(LiveRows(self.reading, self.encoder, self.budget), sampler=sampler, **self.loading)
        examples = self.prepared.examples["train"]
        return ResumableLoader(Rows(examples, self.encoder, self.features), sampler=sampler, **self.loading)

    def val_dataloader(self) -> DataLoader:
        assert self.trainer is not None
        examples = self.prepared.examples["val"]
        rows = fill_rows(examples, range(len(examples)), self.budget)[: self.val_rows]
        sampler = [{"indices": row, "window_tokens": 0} for row in rows]
        # All ranks must take equally many steps: missing rows are filled up with rows without labels.
        while len(sampler) % self.trainer.world_size:
            sampler.append({"indices": rows[0], "window_tokens": 0, "mute": True})
        mine = sampler[self.trainer.global_rank :: self.trainer.world_size]
        # Its own generator: validation must not advance the run's random state, or a resumed run would differ.
        data = Rows(examples, self.encoder, self.features)
        return Loader(data, sampler=mine, generator=torch.Generator(), **self.loading)
