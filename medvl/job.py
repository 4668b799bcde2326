"""What the three scripts share: a resolved run with its record, its mirrors and its model."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medvl import composition, record
from medvl.artefact import Artefact
from medvl.config import Run
from medvl.data.splits import SPLITS
from medvl.evaluation import Scored, Split
from medvl.learner.tracking import Mirror
from medvl.measures import summarize
from medvl.mirrored import mirrored
from medvl.process import local_rank, quiet_libraries
from medvl.record import Record

if TYPE_CHECKING:
    from medvl.data.encoding import Encoder
    from medvl.data.prepare import Prepared
    from medvl.data.source import Source
    from medvl.documents.render import Render
    from medvl.engine import Engine
    from medvl.evaluation import Ablation, Evaluation
    from medvl.hardware import Plan
    from medvl.model import Loaded
    from medvl.precision import Precision
    from medvl.tuning import Tuning
    from medvl.types import Choice, Example

log = logging.getLogger(__name__)


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
    mirror: Mirror = field(default_factory=Mirror)
    accounts: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Of the data that were prepared, by the name of their file in the record."""

    def open(self, text: str) -> None:
        """Start the record before anything heavy."""
        before = record.read_json(self.record.path / "environment.json") or {}
        made, typed = before.get("overrides", []), composition.overrides()
        overrides = made if made == typed else [*made, *typed]  # a resumed run keeps what made it
        self.record.open(text, overrides=overrides, choices={"groups": self.groups})

    def close(self, *, failed: bool) -> None:
        """End the mirror; what is being raised tells an interrupted run from a failed one."""
        stopped = isinstance(sys.exception(), KeyboardInterrupt | SystemExit)
        self.mirror.finish(128 if failed and stopped else int(failed))

    def say(self, text: str) -> None:
        """Tell the user, on the rank that speaks."""
        if self.main:
            log.info("%s", text)

    def settle(self) -> tuple[Plan, Precision]:
        """Make the automatic choices, print and record them."""
        import torch

        from medvl.tuning import settle

        if torch.cuda.is_available():
            torch.cuda.set_device(local_rank() % torch.cuda.device_count())
        plan, precision, choices = settle(self.run)
        quiet_libraries()
        import lightning as L

        L.seed_everything(self.run.seed, workers=True, verbose=False)
        self.tell(choices)
        return plan, precision

    def prepare(self, encoder: Encoder, needs: Sequence[str] = ()) -> Prepared:
        """Prepare the data, and say what came of it.

        Raises:
            ValueError: One of the splits needed holds nothing.
        """
        run = self.run
        prepared = self._prepared(run.data, run.render, encoder, run.batch.tokens)
        self.say("\n".join(prepared.lines(named=run.privacy.shows)))
        self._account("prepared", prepared)
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
            named=self.run.privacy.shows,
        )

    def _account(self, name: str, prepared: Prepared) -> None:
        if self.main:
            self.accounts[name] = {"fingerprint": prepared.fingerprint, **prepared.account}
            self.record.result(self.accounts[name], name)

    def prepare_evaluation(self, encoder: Encoder, trained: Prepared | None = None) -> Sequence[Example]:
        """Return the examples that may be scored: the split held out, or that of eval.data, prepared here.

        Args:
            trained: The preparation of the training data, where there is one already.

        Raises:
            ValueError: The split is empty.
        """
        if self.run.eval.data is None:
            trained = trained or self.prepare(encoder)
        return self._held_out("eval", self.run.eval, encoder, trained)

    def prepare_replay(self, wanted: Evaluation, encoder: Encoder, trained: Prepared) -> Sequence[Example]:
        """Return the examples that show forgetting: of no document that is trained on.

        Raises:
            ValueError: There are none.
        """
        learned = {example.document for example in trained.examples["train"]}
        held_out = self._held_out("replay", wanted, encoder, trained)
        kept = [example for example in held_out if example.document not in learned]
        if not kept:
            raise ValueError("all documents of the replay set are trained on. Set replay=none, or other replay.data.")
        return kept

    def _held_out(self, name: str, wanted: Evaluation, encoder: Encoder, trained: Prepared | None) -> Sequence[Example]:
        """Return the split that an evaluation names, of its own documents or of those trained on."""
        if wanted.data is None:
            prepared = trained
        else:
            prepared = self._prepared(wanted.data, wanted.render or self.run.render, encoder, wanted.tokens)
            kind = {"eval": "evaluation"}.get(name, name)
            lines = prepared.lines(named=self.run.privacy.shows)
            self.say("\n".join([f"documents of the {kind} set:", *lines]))
            self._account(f"prepared_{kind}", prepared)
        assert prepared is not None
        splits = SPLITS if wanted.split is Split.all else (wanted.split.value,)
        examples = [example for split in splits for example in prepared.examples[split]]
        if not examples:
            raise ValueError(f"{wanted.split} is empty. Set {name}.split=minitrain, or data.limit=null.")
        return examples

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
                       named=self.run.privacy.shows,
                       memorised=self.run.eval.data is None and self.run.eval.split.value == "minitrain")  # fmt: skip
        self.say("\n".join(report.lines()))
        if self.main:
            self.record.result(report.to_json(), "audit")
            audit_figure(report, self.record.path / "audit.png")
        if report.faults and self.run.audit is Audit.strict:
            raise ValueError(f"the audit found: {report.verdict}. Mend what it names above, or set audit=warn.")

    def load(self, trained: Path | None = None) -> tuple[Loaded, Engine]:
        """Load the base model and the engine that lets it answer.

        Args:
            trained: Folder of trained weights that go with it, in the form that artefact= names.
        """
        from medvl.data.encoding import Encoder
        from medvl.engine import Engine

        plan, precision = self.settle()
        self.run.lora.check(plan.device.value)
        how = (precision, self.run.hardware, plan)
        if trained is None:
            loaded = self.run.model.load(*how)
        else:
            loaded = self.run.artefact.load(self.run.model, trained, *how, scratch=Path(self.run.cache).expanduser())
        self.plan, self.precision, self.loaded = plan, precision, loaded
        return loaded, Engine(model=loaded.model, encoder=Encoder(loaded.processor), precision=precision)

    def load_trained(self) -> Engine:
        """Load what evaluate.py and benchmark.py were given: a run, an adapter folder, or a bare model."""
        self.run.check_mirror()
        folder = self._adapter() if self.trained else None
        if folder is not None:
            self.check_adapter(folder)
            self.run.artefact.check(folder)
        return self.load(folder)[1]

    @property
    def trained(self) -> bool:
        """Whether the model comes with trained weights."""
        named = self.run.run is not None or self.run.adapter is not None
        return named and self.run.artefact is not Artefact.base

    def tune(self, model: Any) -> Tuning:
        """Settle how the model trains on this machine, say so, and switch it on."""
        from medvl.tuning import tune

        tuning = tune(
            model, self.run.hardware, device=self.plan.device.value, precision=self.precision,
            tokens=self.run.batch.tokens, optimizer=self.run.make_optimizer(),
        )  # fmt: skip
        self.tell(tuning.choices)
        return tuning

    def tell(self, choices: dict[str, Choice]) -> None:
        """Say and record choices."""
        self.say("\n".join(f"{name:>14}: {choice}" for name, choice in choices.items()))
        if self.main:
            self.record.choices({name: {"value": str(c.value), "reason": c.reason} for name, c in choices.items()})

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
              prompt=self.run.data.prompt, named=self.run.privacy.shows)  # fmt: skip

    def evaluate(self, engine: Engine, examples: Sequence[Example], name: str, how: Evaluation | None = None) -> Scored:
        """Answer, score and write predictions; returns the rows and their summary.

        Args:
            how: None: as `eval` says.
        """
        rows = (how or self.run.eval).run(engine, examples, bar=self.run.trainer.bar)
        self.record.predictions(rows, name)
        if self.run.privacy.shows:
            self.mirror.pages(name, rows)
        return rows, summarize(rows)

    def ablated(self, examples: Sequence[Example]) -> dict[Ablation, list[Example]]:
        """Return the same questions without their page, for every ablation of the run.

        Raises:
            ValueError: There is no other page to ask about.
        """
        from medvl.evaluation import ablated

        pages = Path(self.run.cache).expanduser() / "pages"
        return {how: ablated(examples, how, pages) for how in self.run.ablation}

    def mirror_numbers(self, **values: float | None) -> None:
        """Send final numbers to the mirror."""
        self.mirror.metrics({key: value for key, value in values.items() if value is not None})

    def start_mirror(self) -> None:
        """Start the mirror; on rank 0 only."""
        if self.main:
            self.mirror = mirrored(self)

    def conclude(self, name: str, value: float | None, headline: dict[str, Any], *, higher_is_better: bool) -> None:
        """Note the optimised number and the columns of the sweep's table."""
        objective = {"name": name, "value": value, "higher_is_better": higher_is_better}
        self.record.status("running", objective=objective, headline=headline)
