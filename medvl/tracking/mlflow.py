"""MLflow: a local database by default, or the server at `logger.tracking_uri`."""

from __future__ import annotations

import contextlib
import importlib.metadata
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from medvl.data.decoding import viewable
from medvl.record.files import PRIVATE, read_json
from medvl.tracking.pages import compared_documents, documents
from medvl.tracking.tracker import Subject, Tracker, ending, require

log = logging.getLogger(__name__)

LOCAL = "sqlite:///"
SCHEMES = ("sqlite", "postgresql", "mysql", "mssql", "http", "https", "databricks", "databricks-uc", "uc")


class MLflow(Tracker):
    """The `logger=mlflow` option. A resumed run keeps its id.

    Args:
        project: Name of the experiment, which groups runs.
        tracking_uri: A server, or a database file; then artifacts are stored next to it. MLflow 3 no longer writes
            to plain folders.
        name: None: what differs from the default composition.
        group: None: the sweep.
    """

    def __init__(
        self,
        subject: Subject,
        *,
        project: str,
        tracking_uri: str,
        name: str | None = None,
        notes: str | None = None,
        group: str | None = None,
        tags: Sequence[str] = (),
    ) -> None:
        from lightning.pytorch.loggers import MLFlowLogger

        os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
        record = subject.record
        _make_experiment(project, tracking_uri)
        about = {
            "group": group or subject.group,
            "job_type": subject.job_type,
            "tags": ", ".join(tags),
            "mlflow.note.content": notes,  # where MLflow's page shows a description
        }
        self.logger = MLFlowLogger(
            experiment_name=project,
            run_name=name or subject.name,
            tracking_uri=tracking_uri,
            tags={key: value for key, value in about.items() if value},
            run_id=_known_run(record.path, tracking_uri),
        )
        self.client, self.run_id = self.logger.experiment, self.logger.run_id
        record.status("running", mlflow=self.run_id)
        self.client.update_run(self.run_id, status="RUNNING")
        self.settle(subject.columns)
        log.info("MLflow: run %s at %s", self.run_id, tracking_uri)

    @classmethod
    def check_options(cls, **options: Any) -> None:
        uri = str(options["tracking_uri"])
        require("mlflow", "mlflow", *(("sqlalchemy", "alembic") if uri.startswith("sqlite:") else ()))
        if "://" not in uri or uri.startswith("file:"):
            raise ValueError(
                f"logger.tracking_uri must be a server or a database, got {uri}: MLflow 3 writes no plain folders. "
                "Set logger.tracking_uri=sqlite:///outputs/mlflow/mlflow.db."
            )
        known = {*SCHEMES, *(one.name for one in importlib.metadata.entry_points(group="mlflow.tracking_store"))}
        scheme = uri.partition("://")[0].partition("+")[0]  # mysql+pymysql names a driver too
        if scheme not in known:
            raise ValueError(
                f"MLflow knows no {scheme}://, only {', '.join(sorted(known))}. "
                "Set logger.tracking_uri=sqlite:///outputs/mlflow/mlflow.db."
            )

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        self.logger.log_metrics(dict(values), step=step)

    def note(self, **words: str) -> None:
        for name, word in words.items():
            self.client.set_tag(self.run_id, name, word)

    def settle(self, columns: Mapping[str, Any]) -> None:
        # MLflow parameters are write-once: a resumed run has them already, and its changes are in its config.yaml.
        known = self.client.get_run(self.run_id).data.params
        self.logger.log_hyperparams({name: value for name, value in columns.items() if name not in known})

    def pages(self, name: str, rows: Sequence[dict[str, Any]]) -> None:
        self._documents(name, documents(rows))

    def comparison(self, name: str, before: Sequence[dict[str, Any]], after: Sequence[dict[str, Any]]) -> None:
        self._documents(name, compared_documents(before, after))

    def _documents(self, name: str, told: Iterable[tuple[dict[str, Any], str]]) -> None:
        parts = []
        for example, text in told:
            page = Path(example["page"])
            shown = viewable(page)
            if isinstance(shown, Path):
                self.client.log_artifact(self.run_id, str(page), "pages")
            elif shown is not None:
                page = page.with_suffix(".png")
                self.client.log_image(self.run_id, shown, artifact_file=f"pages/{page.name}")
            parts.append(f"{text}\n![{example['id']}]({page.name})\n" if shown is not None else text)
        self.client.log_text(self.run_id, "\n".join(parts), f"pages/{name}.md")

    def picture(self, name: str, path: Path) -> None:
        self.client.log_artifact(self.run_id, str(path), "pages")

    def data(self, name: str, account: dict[str, Any]) -> None:
        self.client.log_dict(self.run_id, account, f"data/{name}.json")

    def adapter(self, files: Sequence[Path], aliases: Sequence[str], facts: dict[str, Any]) -> None:
        for alias in aliases:
            for file in files:
                self.client.log_artifact(self.run_id, str(file), f"adapter/{alias}")
            self.client.log_dict(self.run_id, facts, f"adapter/{alias}/facts.json")

    def export(self, files: Sequence[Path], facts: dict[str, Any]) -> None:
        for file in files:
            self.client.log_artifact(self.run_id, str(file), "export")

    def exported(
        self,
        source: str,
        adapter: Sequence[Path],
        files: Sequence[Path],
        facts: dict[str, Any],
        scores: dict[str, Any],
    ) -> None:
        self.export(files, facts)
        self.client.set_tag(self.run_id, "adapter", source)

    def finish(self, code: int) -> None:
        states = {"done": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}
        self.client.set_terminated(self.run_id, states[ending(code)])


def _known_run(folder: Path, uri: str) -> str | None:
    """Return the id of a resumed run if the store at the URI has it."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    identity = (read_json(folder / "status.json") or {}).get("mlflow")
    if identity is None:
        return None
    try:
        return MlflowClient(uri).get_run(str(identity)).info.run_id
    except MlflowException:
        log.warning("MLflow at %s has no run %s: the resumed run is a new one there", uri, identity)
        return None


def _make_experiment(name: str, uri: str) -> None:
    """Create the experiment if it is new. Its artifacts go next to a local database, or where the server decides.

    MLflow's default would be mlruns/ in the working directory.
    """
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    place = None
    if uri.startswith(LOCAL):
        folder = Path(uri.removeprefix(LOCAL)).resolve().parent
        folder.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
        place = (folder / "artifacts").as_uri()
    client = MlflowClient(uri)
    if client.get_experiment_by_name(name) is None:
        with contextlib.suppress(MlflowException):  # another job created it first
            client.create_experiment(name, artifact_location=place)
