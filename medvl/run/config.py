"""From a Hydra composition to plain dataclasses. Besides this module, composition.py handles Hydra.

Every option of a group is a dataclass, defined in the module it configures: its fields are the schema, its
`__post_init__` refuses invalid values, its methods do the work. targets.py has what `_target_` can name.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from medvl.benchmarks.bench import Bench
from medvl.benchmarks.generation import GenerateBench
from medvl.benchmarks.model import ModelBench
from medvl.benchmarks.pages import PageBench
from medvl.benchmarks.training import TrainBench
from medvl.data.audit import Audit
from medvl.data.sources.clinical_forms import ClinicalForms
from medvl.data.sources.fixed_pages import FixedPages
from medvl.data.sources.mixture import Mixture
from medvl.data.sources.mtsamples import MTSamples
from medvl.data.sources.own import OWN
from medvl.data.sources.pubmedvision import PubMedVision
from medvl.data.sources.reading_pages import ReadingPages
from medvl.data.sources.source import Source
from medvl.data.sources.synthea import Synthea
from medvl.data.sources.visual import ImageQuestions
from medvl.documents.render import Render
from medvl.evaluation.evaluation import Ablation, Evaluation
from medvl.evaluation.gate import Gate
from medvl.export.formats import Format
from medvl.generation.endpoint import Endpoint
from medvl.generation.llama_cpp import gguf_too
from medvl.geometry import MAX_IMAGE_PIXELS
from medvl.hardware.plan import Hardware
from medvl.model.loading import Model
from medvl.model.lora import Adapter, FullFineTuning, Lora, LoraInit
from medvl.model.merging import Artefact, MergeInto
from medvl.model.precision import Precision
from medvl.readers.rapidocr import RapidOcr
from medvl.readers.reader import Reader
from medvl.readers.tesseract import Tesseract
from medvl.record.directory import run_dir
from medvl.record.privacy import Privacy
from medvl.run.option_names import of
from medvl.run.store import SharedSchemas
from medvl.run.targets import check_options, check_targets, optimizer_of, tracker_of
from medvl.run.values import check_layers, check_values, unless
from medvl.serving.options import Serve
from medvl.sweeping.conf import LAUNCHER, SWEEPERS, register_plugins
from medvl.sweeping.naming import job_name
from medvl.sweeping.plan import Repeat
from medvl.tracking import Subject, Tracker
from medvl.training.trainer import Strategy, Trainer

FRAME_TOKENS = 128  # of a page's prompt, chat template and shortest useful answer, besides its visual tokens
GROUPS: tuple[str, ...] = ("model", "precision", "lora", "data", "render", "eval", "replay", "reader", "engine")
GROUPS += ("bench", "serve", "hardware", "optimizer", "logger")


@dataclass(kw_only=True, slots=True)
class Batch:
    """The capacity of one row."""

    tokens: int = 4096
    """Tokens per packed row, including images; also the most tokens of an example."""

    def __post_init__(self) -> None:
        if self.tokens < 1:
            raise ValueError(f"batch.tokens must be positive, got {self.tokens}. Set batch.tokens=4096.")


@dataclass(kw_only=True)
class RunConfig:
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
    """The replay set, which train.py also scores to detect forgetting; None: no such set."""
    reader: Reader | None = None
    """evaluate.py: an OCR program that answers; None: the model."""
    engine: Endpoint | None = None
    """evaluate.py, benchmark.py: a server that answers; None: this process."""
    gate: Gate = field(default_factory=Gate)
    bench: Bench = MISSING
    serve: Serve = MISSING
    audit: Audit = Audit.warn
    """What train.py does if training and evaluation data do not match: warn, strict (refuse) or off."""
    privacy: Privacy = Privacy.open
    """strict: tracking services, console and log show only numbers, no pages and texts."""
    force: bool = False
    """Export a model even if it is worse than what it is compared with; medvl export also replaces an earlier one."""
    ablation: list[Ablation] = field(default_factory=list)
    """evaluate.py: also score without the page (blank) or with a wrong page (shuffled)."""
    export: str | None = None
    """The folder to write: of medvl prepare, the examples; of medvl export, the model (default: in the run)."""
    format: Format = Format.merged
    """medvl export: how the weights are written."""
    seed: int = 42
    """Seed of adapters, shuffling and dropout."""
    cache: str = MISSING
    """Folder of prepared data."""
    resume: str | None = None
    """train.py: the directory of the run to resume."""
    report: bool = False
    """Write a report when the run or the sweep ends."""
    repeat: Repeat = Repeat.never
    """-m: which finished jobs of the same sweep run again: failed ones, or all."""
    run: str | None = None
    """evaluate.py, benchmark.py: the directory of the run whose model to use."""
    adapter: str | None = None
    """evaluate.py, benchmark.py: the folder of an adapter in peft's layout."""
    artefact: Artefact = Artefact.adapter
    """evaluate.py, benchmark.py: the adapter on its base, merged, merged and requantised, an export, or the base."""
    merge_into: MergeInto = MergeInto.auto
    """The values of the base that an adapter is merged into: original, or dequantised, those it was trained on."""

    def __post_init__(self) -> None:
        if not self.cache.strip():  # an unset variable in a shell script; "" is the working directory
            raise ValueError("cache names no folder. Set cache=<a folder>, or MEDVL_CACHE.")
        if not 0 <= self.seed < 2**32:  # numpy's range
            raise ValueError(f"seed must lie in [0, 2^32), got {self.seed}. Set seed=42.")
        check_options(self.optimizer)
        self._check_training()
        self._check_page()
        if self.run is not None and self.adapter is not None:
            raise ValueError("run= brings its own adapter. Set either run or adapter.")
        for name in ("adapter", "resume", "run"):
            if (value := getattr(self, name)) is not None and not Path(value).is_dir():
                raise ValueError(f"there is no folder {value}. Set {name}=<an existing one>.")
        if self.artefact is not Artefact.adapter and self.run is None and self.adapter is None:
            raise ValueError(
                f"artefact={self.artefact.name} is about a trained adapter, and none is named. "
                "Set run=<a run directory> or adapter=<folder>."
            )

    @property
    def live(self) -> ReadingPages | None:
        """The source that renders pages during training, if any."""
        return self.data if isinstance(self.data, ReadingPages) and self.data.live else None

    @property
    def loads_trained(self) -> bool:
        """Whether trained weights are loaded with the model."""
        return (self.run is not None or self.adapter is not None) and self.artefact is not Artefact.base

    def _check_training(self) -> None:
        shape = self.model.architecture()
        self.lora.check_shape(shape)
        check_layers(self.hardware.checkpointing, shape)
        storage = self.precision.storage.name
        if isinstance(self.lora, FullFineTuning) and (self.precision.quantized or storage == "fp16"):
            raise ValueError(
                f"lora=none trains the weights themselves, and {storage} weights cannot be trained. "
                "Set precision=fp32, or lora=llm."
            )
        if isinstance(self.lora, Lora) and self.lora.init is not LoraInit.default and self.precision.quantized:
            raise ValueError(
                f"lora.init={self.lora.init.name} computes from unquantised weights; precision.storage is {storage}. "
                "Set precision=bf16, or lora.init=default."
            )
        if self.trainer.strategy is Strategy.fsdp and not isinstance(self.lora, FullFineTuning):
            raise ValueError(
                "FSDP shards a model that trains in full. Set lora=none precision=fp32, or trainer.strategy=ddp."
            )
        if self.trainer.strategy is Strategy.fsdp and self.resume is not None:
            raise ValueError(
                "a run that FSDP sharded is not resumed; its checkpoint is a whole model. "
                f"Set model.path={self.resume}/checkpoints/<step> for a new run from there."
            )
        if self.trainer.glyphs and self.live is None:
            raise ValueError(
                f"trainer.glyphs={self.trainer.glyphs} wants known glyphs. Set data=reading_pages, or trainer.glyphs=0."
            )

    def _check_page(self) -> None:
        limits = {"min_pixels": self.model.min_pixels, "max_pixels": self.model.max_pixels}
        rows = [("batch", self.batch.tokens, self.render)]
        for name, scored in (("eval", self.eval), ("replay", self.replay)):
            if scored is not None and scored.data is not None:
                rows.append((name, scored.tokens, scored.render or self.render))
        for name, tokens, render in rows:
            if (drawn := math.prod(render.size_px)) > (most := self.model.max_image_pixels):
                raise ValueError(
                    f"a drawn page of {drawn} pixels is above model.max_image_pixels={most}. "
                    f"Set model.max_image_pixels={MAX_IMAGE_PIXELS}, or render=slip."
                )
            if (need := render.page_tokens(**limits) + FRAME_TOKENS) > tokens:
                raise ValueError(
                    f"{name}.tokens={tokens} cannot hold one page: its image and prompt take {need}. "
                    f"Set {name}.tokens={2 * need}, or render=slip."
                )

    def make_optimizer(self) -> Callable[..., Any]:
        """Return the optimizer's constructor, which takes the parameters.

        Raises:
            ValueError: There is no such optimizer.
        """
        return optimizer_of(self.optimizer)

    def check_tracker(self) -> None:
        """Check the logger.

        Raises:
            ValueError: Its options are invalid, or its package is missing.
        """
        if self.logger:
            kind, options = tracker_of(self.logger)
            kind.check_options(**options)

    def make_tracker(self, subject: Subject) -> Tracker:
        """Return the run's tracker; with logger=none it does nothing."""
        if not self.logger:
            return Tracker()
        kind, options = tracker_of(self.logger)
        return kind(subject, **options)  # type: ignore[call-arg]  # a service takes the run


SCHEMAS: dict[str, Any] = {
    "run": RunConfig,
    "model": Model,
    "precision": Precision,
    "lora": Lora,
    "full_fine_tuning": FullFineTuning,
    "clinical_forms": ClinicalForms,
    "fixed_pages": FixedPages,
    "image_questions": ImageQuestions,
    **OWN,
    "mixture": Mixture,
    "mtsamples": MTSamples,
    "pubmedvision": PubMedVision,
    "reading_pages": ReadingPages,
    "synthea": Synthea,
    "render": Render,
    "eval": Evaluation,
    **{kind.name: kind for kind in (Tesseract, RapidOcr, Endpoint)},
    "hardware": Hardware,
    "model_bench": ModelBench,
    "page_bench": PageBench,
    "train_bench": TrainBench,
    "generate_bench": GenerateBench,
    "serve": Serve,
}


def register() -> None:
    """Register the schemas that the defaults lists under conf/ name, and the resolvers that those files use."""
    store = ConfigStore.instance()
    for name, schema in SCHEMAS.items():
        # Schemas have their own group, so that `data=glob(*)` sweeps data sets, not schemas.
        store.store(group="hydra/schema", name=name, node=schema)
    store.store(group="hydra/launcher", name="local", node=LAUNCHER)
    for name, sweeper in SWEEPERS.items():
        store.store(group="hydra/sweeper", name=name, node=sweeper)
    for resolver in (run_dir, job_name, unless, gguf_too):
        OmegaConf.register_new_resolver(f"medvl.{resolver.__name__}", resolver, replace=True)
    register_plugins()
    store.repo = SharedSchemas(store.repo)


def resolve(cfg: DictConfig) -> RunConfig:
    """Convert the composition to plain dataclasses, which run their checks.

    Raises:
        ValueError: A field or a pair of fields is invalid; the message names the override that fixes it.
    """
    try:
        values: Any = OmegaConf.to_container(cfg, resolve=True)
        check_targets(values)
        for place in ("eval", "replay"):
            if OmegaConf.select(cfg, f"{place}.data") is not None:
                with of(place):
                    OmegaConf.to_object(cfg[place].data)
        config = OmegaConf.to_object(cfg)
        check_values(values)  # last, as the classes name better mends
        return config  # type: ignore[return-value]
    except OmegaConfBaseException as error:
        cause = error.__cause__ or error.__context__
        raise ValueError(str(cause if isinstance(cause, ValueError) else error)) from error


register()
