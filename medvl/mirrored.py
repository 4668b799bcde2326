"""What a job tells its mirror when it starts."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from medvl import composition, record
from medvl.learner.tracking import Mirror, Subject
from medvl.learner.tracking.mirror import Guarded, columns
from medvl.privacy import Privacy
from medvl.sweeping.plan import ASIDE

if TYPE_CHECKING:
    from medvl.job import Job

UNSORTABLE = (*ASIDE, "export")  # say nothing about what was computed


def mirrored(job: Job) -> Mirror:
    """Start the mirror of a job with its composition, and say which data it uses."""
    run, accounts = job.run, job.accounts
    if not run.privacy.shows:
        job.say(f"privacy=strict: pages, texts and prompts stay in {job.record.near()} and in the cache; they are "
                "neither printed nor sent")  # fmt: skip
    environment = record.read_json(job.record.path / "environment.json") or {}
    settings = {name: value for name, value in job.settings.items() if name not in UNSORTABLE}
    hashes = {f"hash.{name}": account["fingerprint"] for name, account in accounts.items()}
    about = {"group": job.groups, "commit": environment.get("commit"), **hashes}
    mirror = Guarded(run.make_mirror(Subject(
        record=job.record, columns=run.privacy.columns(columns({**settings, **about})), group=composition.sweep_name(),
        job_type=composition.script(), private=not run.privacy.shows,
    )))  # fmt: skip
    for name, account in accounts.items():
        mirror.data(name, run.privacy.account(account))
    return mirror


@contextlib.contextmanager
def sendable(files: Sequence[Path], privacy: Privacy) -> Iterator[list[Path]]:
    """Yield the files of an adapter as they may be sent: in strict with a copy of the passport that has no prompt."""
    from medvl.learner.module import PASSPORT

    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch, PASSPORT)
        sent = [file if privacy.shows or file.name != PASSPORT else copy for file in files]
        for file in set(files) - set(sent):
            facts = record.read_json(file) or {}
            record.write_json(copy, {name: fact for name, fact in facts.items() if name != "prompt"})
        yield sent
