"""What a run of W&B was made from: inputs that also hold for offline runs.

An artifact is its name and its contents: one that is logged again, with the same files, is the version that is there
already. So a run that declares the adapter it exports needs no server to name it, and W&B draws the line from the
training run over the adapter to the export once both runs are synchronised.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)


MOST_FACTS = 100  # that W&B takes of an artifact


def within(facts: dict[str, Any]) -> dict[str, Any]:
    """Return as many facts as an artifact may have, the first ones: W&B refuses one with more."""
    if len(facts) > MOST_FACTS:
        log.warning("W&B keeps %d of %d facts of an artifact; all are in the run's files", MOST_FACTS, len(facts))
    return dict(list(facts.items())[:MOST_FACTS])


def use(run: Any, artifact: Any) -> None:
    """Declare an artifact as an input of a run."""
    # This is what use_artifact does with a new artifact, without its wait for the server, because of which it refuses
    # to work offline. The offline file keeps the mark, and wandb sync applies it.
    try:
        run._log_artifact(artifact, is_user_created=True, use_after_commit=True)
    except (AttributeError, TypeError) as error:  # private API: may change with versions of W&B
        import wandb

        log.warning("W&B %s cannot mark %s as an input of the run (%s)", wandb.__version__, artifact.name, error)
        run.log_artifact(artifact)


def log_export(
    run: Any, source: str, adapter: Sequence[Path], files: Sequence[Path], facts: dict[str, Any], scores: dict[str, Any]
) -> None:
    """Log an export as the output of a run, and the adapter that it was made of as its input.

    Args:
        source: W&B's id of the training run, or another name of the adapter.
        adapter: Its files, as the training run sent them; none: a base was exported as it is.
        files: What is kept of the export.
        facts: About the export.
        scores: Of the adapter.
    """
    name = re.sub(r"[^\w.-]+", "-", source)
    if adapter:
        use(run, _artifact(f"adapter-{name}", "adapter", adapter, scores))
    run.log_artifact(_artifact(f"export-{name}-{facts['format']}", "export", files, facts))


def _artifact(name: str, kind: str, files: Sequence[Path], facts: dict[str, Any]) -> Any:
    import wandb

    artifact = wandb.Artifact(name, type=kind, metadata=within(facts))
    for file in files:
        artifact.add_file(str(file))
    return artifact
