"""From a Hydra composition to plain dataclasses: with composition.py, what the package knows of Hydra.

Every option of a group is a dataclass beside the thing it configures: its fields are the schema, its
`__post_init__` refuses what cannot be, its methods do the work. Third-party objects (optimizers, loggers)
use `_target_`.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.experimental.callback import Callback
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from medvl import record
from medvl.artefact import Artefact
from medvl.audit import Audit
from medvl.bench import Bench, ModelBench
from medvl.data.clinical_forms import ClinicalForms
from medvl.data.fixed_pages import FixedPages
from medvl.data.mixture import Mixture
from medvl.data.mtsamples import MTSamples
from medvl.data.pubmedvision import PubMedVision
from medvl.data.reading_pages import ReadingPages
from medvl.data.source import Source
from medvl.data.synthea import Synthea
from medvl.data.visual import ImageQuestions
from medvl.documents.render import Render
from medvl.evaluation import Ablation, Evaluation
from medvl.gate import Gate
from medvl.hardware import Hardware
from medvl.learner.tracking import Mirror, Subject
from medvl.learner.trainer import Strategy, Trainer
from medvl.lora import Adapter, FullFineTuning, Init, Lora
from medvl.model import Model
from medvl.page_bench import PageBench
from medvl.precision import Precision
from medvl.privacy import Privacy
from medvl.sweeping.conf import LAUNCHER, SWEEPERS, register_plugins
from medvl.sweeping.naming import job_name
from medvl.sweeping.plan import Plan, Repeat, State, state_of
from medvl.sweeping.table import sweep_table
from medvl.train_bench import TrainBench

# Room that a page's prompt, chat frame and shortest useful answer take beside its visual tokens.
FRAME_TOKENS = 128
GROUPS = ("model", "precision", "lora", "data", "render", "eval", "replay", "bench", "hardware", "optimizer", "logger")


@dataclass(kw_only=True, slots=True)
class Batch:
    """How much one row holds."""

    tokens: int = 4096
    """Tokens of a packed row, images included; also the longest example."""

    def __post_init__(self) -> None:
        if self.tokens < 1:
            raise ValueError(f"batch.tokens must be positive, got {self.tokens}. Set batch.tokens=4096.")


@dataclass(kw_only=True)
class Run:
    """The composition of one run."""

    model: Model = MISSING
    precision: Precision = MISSING
    lora: Adapter = MISSING
    data: Source = MISSING
    render: Render = MISSING
    hardware: Hardware = MISSING
    optimizer: dict[str, Any] = MISSING
    logger: dict[str, Any] = field(default_factory=dict)
    batch: Batch = field(default_factory=Batch)
    trainer: Trainer = field(default_factory=Trainer)
    eval: Evaluation = MISSING
    replay: Evaluation | None = None
    """What train.py scores beside it, so that forgetting shows; None: nothing."""
    gate: Gate = field(default_factory=Gate)
    bench: Bench = MISSING
    audit: Audit = Audit.warn
    """What train.py does when training and evaluation do not match: warn, strict (refuses) or off."""
    privacy: Privacy = Privacy.open
    """strict: pages and texts stay out of tracking services, console and log, which show numbers then."""
    force: bool = False
    """train.py: export the adapter even where it is worse than its base."""
    ablation: list[Ablation] = field(default_factory=list)
    """evaluate.py: score again without the page (blank), or with another one (shuffled)."""
    export: str | None = None
    """medvl prepare: a folder for the examples in the seed project's format."""
    seed: int = 42
    """Of adapters, shuffling and dropout."""
    cache: str = MISSING
    """Folder of prepared data."""
    resume: str | None = None
    """train.py: the run directory to go on with."""
    report: bool = False
    """Write the report of the run, or of the sweep, when it ends."""
    repeat: Repeat = Repeat.never
    """-m: which settled jobs of the same sweep are done again: failed ones, or all."""
    run: str | None = None
    """evaluate.py, benchmark.py: the run directory whose model is taken."""
    adapter: str | None = None
    """evaluate.py, benchmark.py: an adapter folder in peft's layout."""
    artefact: Artefact = Artefact.adapter
    """evaluate.py, benchmark.py: the adapter beside its base, merged in bf16, merged and requantised, or the base
    alone."""

    def __post_init__(self) -> None:
        self._check_training()
        self._check_page()
        if self.run is not None and self.adapter is not None:
            raise ValueError("run= brings its own adapter. Set either run or adapter.")
        for name in ("adapter", "resume", "run"):
            value = getattr(self, name)
            if value is not None and not Path(value).is_dir():
                raise ValueError(f"there is no folder {value}. Set {name}=<an existing one>.")
        if self.artefact is not Artefact.adapter and self.run is None and self.adapter is None:
            raise ValueError(
                f"artefact={self.artefact.name} is about a trained adapter, and none is named. "
                "Set run=<a run directory> or adapter=<folder>."
            )

    @property
    def live(self) -> ReadingPages | None:
        """The source that draws training pages while training goes on, if one does."""
        return self.data if isinstance(self.data, ReadingPages) and self.data.live else None

    def _check_training(self) -> None:
        storage = self.precision.storage.name
        if isinstance(self.lora, FullFineTuning) and (self.precision.quantized or storage == "fp16"):
            raise ValueError(
                f"lora=none trains the weights themselves, and {storage} weights cannot be trained. "
                "Set precision=fp32, or lora=llm."
            )
        if isinstance(self.lora, Lora) and self.lora.init is not Init.default and self.precision.quantized:
            raise ValueError(
                f"lora.init={self.lora.init.name} computes from unquantised weights; precision.storage is {storage}. "
                "Set precision=bf16, or lora.init=default."
            )
        if self.trainer.strategy is Strategy.fsdp and not isinstance(self.lora, FullFineTuning):
            raise ValueError(
                "trainer.strategy=fsdp shards a model that trains in full. Set lora=none precision=fp32, "
                "or trainer.strategy=ddp."
            )
        if self.trainer.strategy is Strategy.fsdp and self.resume is not None:
            raise ValueError(
                "a run that FSDP sharded is not resumed; its checkpoint is a whole model. "
                f"Set model.path={self.resume}/checkpoints/<step> for a new run from there."
            )

        if self.trainer.glyphs and self.live is None:
            raise ValueError(
                f"trainer.glyphs={self.trainer.glyphs} wants pages whose letters are known one by one. "
                "Set data=reading_pages, or trainer.glyphs=0."
            )

    def _check_page(self) -> None:
        limits = {"min_pixels": self.model.min_pixels, "max_pixels": self.model.max_pixels}
        need = self.render.page_tokens(**limits) + FRAME_TOKENS
        if need > self.batch.tokens:
            raise ValueError(
                f"a row of {self.batch.tokens} tokens cannot hold one page: its image and prompt take {need}. "
                f"Set batch.tokens={2 * need}, or render=slip."
            )

    def make_optimizer(self) -> Callable[..., Any]:
        """Return the optimizer's constructor; it wants the parameters."""
        return hydra.utils.instantiate(self.optimizer)

    def check_parts(self) -> None:
        """Try optimizer and devices before a model is loaded.

        Raises:
            ValueError: The optimizer cannot be built as configured, or devices are missing.
        """
        import torch

        try:
            self.make_optimizer()([torch.nn.Parameter(torch.zeros(1))])
        except Exception as error:
            reason = str(error.__cause__ or error).strip().splitlines()[0]
            raise ValueError(f"optimizer: {reason}. Set optimizer=adamw, or mend optimizer.<value>.") from error
        there = torch.cuda.device_count()
        if self.trainer.devices > 1 and torch.cuda.is_available() and self.trainer.devices > there:
            raise ValueError(f"trainer.devices={self.trainer.devices}, {there} are there. Set trainer.devices={there}.")
        if self.trainer.strategy is Strategy.fsdp and not torch.cuda.is_available():
            raise ValueError("FSDP shards over GPUs, and there is none. Set trainer.strategy=auto.")

    def check_mirror(self) -> None:
        """Try the logger before a model is loaded.

        Raises:
            ValueError: It cannot be as configured, or its package is missing.
        """
        if self.logger:
            maker = hydra.utils.instantiate(self.logger)
            kind = getattr(maker, "func", None)
            if not (isinstance(kind, type) and issubclass(kind, Mirror)):
                raise ValueError(f"logger._target_ must be a Mirror, got {self.logger['_target_']}. Set logger=wandb.")
            kind.check(**maker.keywords)

    def make_mirror(self, subject: Subject) -> Mirror:
        """Return what mirrors the run; with logger=none it tells nobody."""
        return hydra.utils.instantiate(self.logger)(subject) if self.logger else Mirror()


SCHEMAS: dict[str, Any] = {
    "run": Run, "model": Model, "precision": Precision, "lora": Lora, "full_fine_tuning": FullFineTuning,
    "clinical_forms": ClinicalForms, "fixed_pages": FixedPages, "image_questions": ImageQuestions, "mixture": Mixture,
    "mtsamples": MTSamples, "pubmedvision": PubMedVision, "reading_pages": ReadingPages, "synthea": Synthea,
    "render": Render, "eval": Evaluation, "hardware": Hardware, "model_bench": ModelBench, "page_bench": PageBench,
    "train_bench": TrainBench,
}  # fmt: skip


def register() -> None:
    """Put the schemas where the defaults lists under conf/ can name them, and the resolvers those files use."""
    store = ConfigStore.instance()
    for name, schema in SCHEMAS.items():
        # In a group of their own, so that `data=glob(*)` sweeps data sets, not schemas.
        store.store(group="hydra/schema", name=name, node=schema)
    store.store(group="hydra/launcher", name="local", node=LAUNCHER)
    for name, sweeper in SWEEPERS.items():
        store.store(group="hydra/sweeper", name=name, node=sweeper)
    OmegaConf.register_new_resolver("medvl.run_dir", record.run_dir, replace=True)
    OmegaConf.register_new_resolver("medvl.job_name", job_name, replace=True)
    register_plugins()


def resolve(cfg: DictConfig) -> Run:
    """Turn the composition into plain dataclasses; their checks run here.

    Raises:
        ValueError: A field or a pair of fields cannot be; the message names the override that mends it.
    """
    try:
        return OmegaConf.to_object(cfg)  # type: ignore[return-value]
    except OmegaConfBaseException as error:
        cause = error.__cause__ or error.__context__
        raise ValueError(str(cause if isinstance(cause, ValueError) else error)) from error


class SweepTable(Callback):
    """Prints the table of a multirun at its end."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        from medvl.reporting.report import report_line

        folder = Path(config.hydra.sweep.dir)
        states = Counter(state_of(run) for run in Plan.read(folder).runs())
        print(f"\n{sweep_table(folder)}\n\n{folder}/sweep.txt")
        if config.report:
            print(report_line(folder))
        if states[State.failed]:
            print(f"{states[State.failed]} failed; the same command with repeat=failed does them again.")
        if any(not state.settled or state is State.failed for state in states):
            sys.exit(1)


register()
