"""Weights & Biases, online or offline."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from medvl.data.decoding import viewable
from medvl.record.errors import first_line
from medvl.record.files import read_json, write_json
from medvl.tracking.inputs import log_export, use, within
from medvl.tracking.pages import compared_table, table
from medvl.tracking.tracker import STEP, Subject, Tracker, best_is, ending

log = logging.getLogger(__name__)

MODES = ("auto", "online", "offline")
LONGEST_WORD, LONGEST_TAG = 128, 64  # characters of names and groups, and of tags


class Wandb(Tracker):
    """The `logger=wandb` option: online if an API key is available, else offline with one line on how to sync.

    A resumed run keeps its id. All files stay below the run directory.

    Args:
        mode: auto, online or offline; the environment's WANDB_MODE wins, as W&B users expect.
        name: None: what differs from the default composition.
        group: None: the sweep.
    """

    def __init__(
        self,
        subject: Subject,
        *,
        project: str,
        entity: str | None = None,
        mode: str = "auto",
        name: str | None = None,
        notes: str | None = None,
        group: str | None = None,
        tags: Sequence[str] = (),
    ) -> None:
        os.environ.setdefault("WANDB_SILENT", "true")  # we print one line with the run's location
        import wandb

        record = subject.record
        identity = (read_json(record.path / "status.json") or {}).get("wandb") or secrets.token_hex(4)
        record.status("running", wandb=identity)
        self.folder = record.path / "wandb"
        facts: dict[str, Any] = {
            "project": project,
            "entity": entity,
            "name": name or subject.name,
            "notes": notes,
            "id": identity,
            "save_dir": record.path,
            "group": group or subject.group,
            "job_type": subject.job_type,
            "tags": list(tags),
            "config": subject.columns,
            "log_model": False,
            "resume": "allow",
            # W&B's metadata include the command line, with prompts and paths.
            "settings": wandb.Settings(console="off", x_disable_meta=True) if subject.private else None,
        }
        with contextlib.ExitStack() as held:
            held.enter_context(_data_in(self.folder))
            self.logger = _start(facts, mode, f"{record.display_path()}/wandb/offline-run-*")
            self.run = self.logger.experiment
            self.held = held.pop_all()  # until the run ends
        self.known: set[str] = set()

    @classmethod
    def check_options(cls, **options: Any) -> None:
        mode = options.get("mode", "auto")
        if mode not in MODES:
            raise ValueError(f"logger.mode must be auto, online or offline, got {mode!r}. Set logger.mode=auto.")
        project = str(options["project"])
        if len(project) > LONGEST_WORD or set(project) & set("/\\#?%:"):
            raise ValueError(
                f"W&B takes project names of up to 128 characters without / \\ # ? % :, got {project!r}. "
                "Set logger.project=medvl, and the team by logger.entity."
            )
        for option in ("name", "group"):
            if len(options.get(option) or "") > LONGEST_WORD:
                raise ValueError(
                    f"W&B takes a {option} of up to {LONGEST_WORD} characters. Set logger.{option}=<a shorter one>."
                )
        if not all(0 < len(tag) <= LONGEST_TAG for tag in options.get("tags", ())):
            raise ValueError(f"W&B takes tags of 1 to {LONGEST_TAG} characters. Set logger.tags=[<shorter ones>].")

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        for name in values.keys() - self.known:
            self.known.add(name)
            if best := best_is(name):
                self.run.define_metric(name, step_metric=STEP, summary=f"{best},last")
        self.logger.log_metrics(dict(values), step=step)

    def note(self, **words: str) -> None:
        self.run.summary.update(words)

    def settle(self, columns: Mapping[str, Any]) -> None:
        self.run.config.update(dict(columns), allow_val_change=True)  # a resumed run may choose anew

    def pages(self, name: str, rows: Sequence[dict[str, Any]]) -> None:
        self._table(name, *table(rows))

    def comparison(self, name: str, before: Sequence[dict[str, Any]], after: Sequence[dict[str, Any]]) -> None:
        self._table(name, *compared_table(before, after))

    def _table(self, name: str, columns: Sequence[str], cells: list[list[Any]]) -> None:
        import wandb

        at = columns.index("page")
        pages = [viewable(Path(row[at])) for row in cells]
        images = [None if page is None else wandb.Image(page) for page in pages]
        data = [[*row[:at], image, *row[at + 1 :]] for row, image in zip(cells, images, strict=True)]
        self.run.log({name: wandb.Table(columns=list(columns), data=data)})

    def picture(self, name: str, path: Path) -> None:
        import wandb

        self.run.log({name: wandb.Image(str(path))})

    def data(self, name: str, account: dict[str, Any]) -> None:
        """Declare the data as an input. The artifact is named by its fingerprint, so runs on the same data share it."""
        import wandb

        if self.run.disabled:  # by WANDB_MODE: then there is no folder
            return
        path = self.folder / f"{name}.json"
        write_json(path, account)
        sizes = {key: account[key] for key in ("fingerprint", "examples", "pages", "tokens")}
        artifact = wandb.Artifact(f"data-{account['fingerprint']}", type="dataset", metadata=sizes)
        artifact.add_file(str(path), name="prepared.json")
        use(self.run, artifact)

    def adapter(self, files: Sequence[Path], aliases: Sequence[str], facts: dict[str, Any]) -> None:
        self._keep("adapter", files, facts, aliases)

    def export(self, files: Sequence[Path], facts: dict[str, Any]) -> None:
        self._keep("export", files, facts)

    def exported(
        self,
        source: str,
        adapter: Sequence[Path],
        files: Sequence[Path],
        facts: dict[str, Any],
        scores: dict[str, Any],
    ) -> None:
        log_export(self.run, source, adapter, files, facts, scores)

    def _keep(self, kind: str, files: Sequence[Path], facts: dict[str, Any], aliases: Sequence[str] = ()) -> None:
        import wandb

        artifact = wandb.Artifact(f"{kind}-{self.run.id}", type=kind, metadata=within(facts))
        for file in files:
            artifact.add_file(str(file))
        self.run.log_artifact(artifact, aliases=list(aliases))

    def finish(self, code: int) -> None:
        """End the run, since the next job of a multirun starts its own."""
        import wandb

        with self.held as held:
            held.callback(wandb.finish, exit_code=code)
            self.note(state=ending(code))  # W&B only knows finished and failed


@contextlib.contextmanager
def _data_in(folder: Path) -> Iterator[None]:
    """Stage artifacts for upload in a folder rather than in the user's home, unless the user named one."""
    if "WANDB_DATA_DIR" in os.environ:
        yield
        return
    os.environ["WANDB_DATA_DIR"] = str(folder.resolve())
    try:
        yield
    finally:
        del os.environ["WANDB_DATA_DIR"]


def _start(facts: dict[str, Any], mode: str, files: str) -> Any:
    """Return Lightning's logger with its run started, and log where the run is."""
    import wandb
    from lightning.pytorch.loggers import WandbLogger

    wanted = os.environ.get("WANDB_MODE")
    offline = mode == "offline" or wanted in ("offline", "dryrun", "disabled")
    if mode == "auto" and not offline:
        offline = not wandb.login(prompt=False, verify=False)
    if not offline:
        try:
            logger = WandbLogger(**facts, mode="online")
            log.info("W&B: %s", logger.experiment.url)
            return logger
        except wandb.errors.Error as error:  # such as no network: the tracker must not fail the run
            log.warning("W&B cannot be reached (%s); going on offline", first_line(error))
            wandb.teardown()
    logger = WandbLogger(**facts, offline=True, mode="disabled" if wanted == "disabled" else "offline")
    assert logger.experiment is not None
    log.info("W&B is offline; to upload: wandb sync %s", files)
    return logger
