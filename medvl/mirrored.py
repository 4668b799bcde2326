"""What a job tells its mirror when it starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medvl import composition, record
from medvl.learner.tracking import Mirror, Subject
from medvl.learner.tracking.mirror import columns

if TYPE_CHECKING:
    from medvl.job import Job

UNSORTABLE = ("cache", "export", "logger", "resume")  # say nothing about what was computed


def mirrored(job: Job) -> Mirror:
    """Start the mirror of a job with its composition, and say which data it uses."""
    run, accounts = job.run, job.accounts
    if not run.privacy.shows:
        job.say(f"privacy=strict: pages and texts stay in {job.record.near()} and in the cache; they are neither "
                "printed nor sent")  # fmt: skip
    environment = record.read_json(job.record.path / "environment.json") or {}
    settings = {name: value for name, value in job.settings.items() if name not in UNSORTABLE}
    hashes = {f"hash.{name}": account["fingerprint"] for name, account in accounts.items()}
    about = {"group": job.groups, "commit": environment.get("commit"), **hashes}
    mirror = run.make_mirror(Subject(
        record=job.record, columns=columns({**settings, **about}), group=composition.sweep_name(),
        job_type=composition.script(), private=not run.privacy.shows,
    ))  # fmt: skip
    for name, account in accounts.items():
        mirror.data(name, run.privacy.account(account))
    return mirror
