"""What the three scripts share: a resolved run with its record, its mirrors and its model."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medvl import config, record
from medvl.config import Run
from medvl.precision import Compute
from medvl.record import Record

if TYPE_CHECKING:
    from medvl.data.encoding import Encoder
    from medvl.data.prepare import Prepared
    from medvl.data.source import Source
    from medvl.documents.render import Render
    from medvl.engine import Engine
    from medvl.evaluation import Ablation
    from medvl.hardware import Plan
    from medvl.model import Loaded
    from medvl.precision import Precision
    from medvl.types import Example

log = logging.getLogger(__name__)

Scored = tuple[list[dict[str, Any]], dict[str, Any]]  # one row an example, and their summary


@dataclass(kw_only=True)
class Job:
    """One run of a script."""

    run: Run
    record: Record
    settings: dict[str, Any]
    groups: dict[str, str]
    """The option of each group."""
    main: bool
    """Whether this process writes the record: rank 0."""
    loggers: list[Any] = field(default_factory=list)

    def open(self, text: str) -> None:
        """Start the record before anything heavy."""
        before = record.read_json(self.record.path / "environment.json") or {}
        overrides = [*before.get("overrides", ()), *config.overrides()]  # a resumed run keeps what made it
        self.record.open(text, overrides=overrides, choices={"groups": self.groups})

    def close(self, *, failed: bool) -> None:
        if self.loggers:
            from medvl.learner import tracking

            tracking.finish(self.loggers, failed=failed)

    def say(self, text: str) -> None:
        """Tell the user, on the rank that speaks."""
        if self.main:
            log.info("%s", text)

    def settle(self) -> tuple[Plan, Precision]:
        """Make the automatic choices, print and record them."""
        import torch

        from medvl.attention import choose

        if torch.cuda.is_available():
            torch.cuda.set_device(local_rank() % torch.cuda.device_count())
        plan = self.run.hardware.plan(
            attention=choose,
            compute=self.run.precision.compute.name,
            storage=self.run.precision.storage.name,
            devices=self.run.trainer.devices,
        )
        quiet_libraries()
        import lightning as L

        L.seed_everything(self.run.seed, workers=True, verbose=False)
        self.say("\n".join(plan.lines()))
        if self.main:
            environment = record.read_json(self.record.path / "environment.json") or {}
            environment["choices"] = {**environment.get("choices", {}), **plan.to_json()}
            record.write_json(self.record.path / "environment.json", environment)
        return plan, self.run.precision.settled(Compute[plan.compute.value])

    def prepare(self, encoder: Encoder, needs: Sequence[str] = ()) -> Prepared:
        """Prepare the data, and say what came of it.

        Raises:
            ValueError: One of the splits needed holds nothing.
        """
        run = self.run
        prepared = self._prepared(run.data, run.render, encoder, run.batch.tokens)
        self.say("\n".join(prepared.lines()))
        if self.main:
            self.record.result(prepared.account, "prepared")
        for name in needs:
            if not prepared.examples[name]:
                raise ValueError(f"no example is left for {name}. Set data.limit=null, or batch.tokens higher.")
        return prepared

    def _prepared(self, source: Source, render: Render, encoder: Encoder, budget: int) -> Prepared:
        from medvl.data.prepare import prepare

        return prepare(
            source,
            render,
            encoder,
            budget=budget,
            cache=Path(self.run.cache).expanduser(),
            workers=len(os.sched_getaffinity(0)),
            bar=self.run.trainer.bar and self.main,
        )

    def prepare_evaluation(self, encoder: Encoder, trained: Prepared | None = None) -> Sequence[Example]:
        """Return the examples that may be scored: the split held out, or that of eval.data, prepared here.

        Args:
            trained: The preparation of the training data, where there is one already.

        Raises:
            ValueError: The split is empty.
        """
        wanted = self.run.eval
        if wanted.data is None:
            prepared = trained or self.prepare(encoder)
        else:
            prepared = self._prepared(wanted.data, wanted.render or self.run.render, encoder, wanted.tokens)
            self.say("\n".join(["evaluated documents:", *prepared.lines()]))
            if self.main:
                self.record.result(prepared.account, "prepared_evaluation")
        if not prepared.examples[wanted.split.value]:
            raise ValueError(f"the {wanted.split.value} split is empty. Set eval.split=minitrain, or data.limit=null.")
        return prepared.examples[wanted.split.value]

    def audit(self, prepared: Prepared, evaluated: Sequence[Example]) -> None:
        """Compare training with evaluation; say, record and draw what was found.

        Raises:
            ValueError: There is a fault, and audit=strict.
        """
        from medvl.audit import Audit, audit
        from medvl.figures import audit_figure

        if self.run.audit is Audit.off:
            return
        budget = self.run.batch.tokens
        cut, lost = prepared.account["overlong"]["train"]
        report = audit(prepared.examples["train"], evaluated, lost=lost, cut=cut, budget=budget,
                       memorised=self.run.eval.data is None and self.run.eval.split.value == "minitrain")  # fmt: skip
        self.say("\n".join(report.lines()))
        if self.main:
            self.record.result(report.to_json(), "audit")
            audit_figure(report, self.record.path / "audit.png")
        if report.faults and self.run.audit is Audit.strict:
            raise ValueError(f"the audit found: {report.verdict}. Mend what it names above, or set audit=warn.")

    def load(self) -> tuple[Loaded, Engine]:
        """Load the base model and the engine that lets it answer."""
        from medvl.data.encoding import Encoder
        from medvl.engine import Engine

        plan, precision = self.settle()
        self.run.lora.check(plan.device.value)
        loaded = self.run.model.load(precision, self.run.hardware, plan)
        self.plan, self.precision, self.loaded = plan, precision, loaded
        return loaded, Engine(model=loaded.model, encoder=Encoder(loaded.processor), precision=precision)

    def load_trained(self) -> Engine:
        """Load what evaluate.py and benchmark.py were given: a run, an adapter folder, or a bare model."""
        from medvl.learner.adapters import attach

        folder = self._adapter()
        if folder is not None:
            self.check_adapter(folder)
        loaded, engine = self.load()
        if folder is not None:
            engine.model = attach(loaded.model, folder)
        return engine

    @property
    def trained(self) -> bool:
        """Whether the model comes with trained weights."""
        return self.run.run is not None or self.run.adapter is not None

    def set_checkpointing(self, model: Any) -> None:
        """Settle activation checkpointing for the rows of this run, say so, and switch it on."""
        from medvl.loss import base_of

        text = self.loaded.model.config.text_config
        choice = self.run.hardware.checkpoint(
            layers=text.num_hidden_layers, hidden=text.hidden_size, tokens=self.run.batch.tokens,
            bytes_each=4 if self.precision.compute.name == "fp32" else 2, device=self.plan.device.value,
        )  # fmt: skip
        self.say(f"checkpointing: {choice}")
        if choice.value:
            base_of(model).gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})

    def _adapter(self) -> Path | None:
        from medvl.learner.checkpoint import latest

        if self.run.adapter is not None:
            return Path(self.run.adapter)
        if self.run.run is None:
            return None
        folder = latest(Record(self.run.run).checkpoints)
        if folder is None:
            raise ValueError(f"{self.run.run} holds no checkpoint; its run did not get as far.")
        return folder

    def check_adapter(self, folder: Path) -> None:
        """Refuse trained weights that belong to another base, before the base is loaded."""
        from medvl.learner.adapters import check
        from medvl.model import config_hash

        model = self.run.model
        check(folder, base=model.name, base_hash=config_hash(model.config()), max_pixels=model.max_pixels,
              prompt=self.run.data.prompt)  # fmt: skip

    def evaluate(self, engine: Engine, examples: Sequence[Example], name: str) -> Scored:
        """Answer, score and write predictions; returns the rows and their summary."""
        from medvl.measures.scoring import summarize

        rows = self.run.eval.run(engine, examples, bar=self.run.trainer.bar)
        self.record.predictions(rows, name)
        return rows, summarize(rows)

    def ablate(self, engine: Engine, examples: Sequence[Example], how: Ablation) -> Scored:
        """Ask the same without the page."""
        from medvl.evaluation import ablated

        self.say(f"evaluating with {how.value} pages ...")
        without = ablated(examples, how, Path(self.run.cache).expanduser() / "pages")
        return self.evaluate(engine, without, f"predictions_{how.value}")

    def mirror(self, **values: float | None) -> None:
        """Send final numbers to the loggers."""
        known = {key: value for key, value in values.items() if value is not None}
        for logger in self.loggers:
            logger.log_metrics(known)

    def start_loggers(self) -> list[Any]:
        """Start the mirrors; on rank 0 only."""
        if self.main:
            self.loggers = self.run.make_logger(
                record=self.record, settings=self.settings, group=config.sweep_name(), job_type=config.script()
            )
        return self.loggers

    def conclude(self, name: str, value: float | None, headline: dict[str, Any], *, higher_is_better: bool) -> None:
        """Note the optimised number and the columns of the sweep's table."""
        objective = {"name": name, "value": value, "higher_is_better": higher_is_better}
        self.record.status("running", objective=objective, headline=headline)


def local_rank() -> int:
    """Return this process's number on this host; Lightning and torchrun set it."""
    return int(os.environ.get("LOCAL_RANK", 0))


def is_main() -> bool:
    """Whether this process is rank 0 of all nodes, under torchrun, Slurm or Lightning's own launcher."""
    for name in ("RANK", "SLURM_PROCID"):
        if name in os.environ:
            return int(os.environ[name]) == 0
    return local_rank() == 0 and int(os.environ.get("NODE_RANK", os.environ.get("GROUP_RANK", 0))) == 0


def quiet_libraries() -> None:
    """Let the libraries speak up only when something is wrong."""
    import warnings

    import transformers

    for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.WARNING)
    transformers.utils.logging.set_verbosity_error()
    if not sys.stderr.isatty():
        transformers.utils.logging.disable_progress_bar()
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers|peft|lightning")
    # True by design: rows are decoded on few workers.
    for text in (".*does not have many workers.*", ".*was configured so validation.*", ".*treespec.*"):
        warnings.filterwarnings("ignore", message=text)
