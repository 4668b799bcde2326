"""The launcher for this machine: one resumable process per job, as many at a time as fit."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from hydra.core.utils import JobReturn, JobStatus, setup_globals
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from medvl.record.directory import Record
from medvl.record.files import PRIVATE, private
from medvl.record.lock import is_locked, locked
from medvl.record.reading import known_status
from medvl.record.signals import ENDING, heeded
from medvl.sweeping.gpu_slots import Slots, alone_on, gpus
from medvl.sweeping.naming import hydra_words, jobs_of, quoted
from medvl.sweeping.plan import SWEEP, Planned, SweepPlan, is_settled, state_of, value_of
from medvl.sweeping.progress import Progress

log = logging.getLogger(__name__)

POLL_S = 0.2
PR_SET_PDEATHSIG = 1  # prctl(2)


@dataclass(kw_only=True)
class Running:
    """A running job."""

    job: Planned
    process: subprocess.Popen[bytes]
    slot: int
    started: float = field(default_factory=time.monotonic)


class LocalLauncher(Launcher):
    """Starts `python <script> <overrides>` for every job that is not finished.

    Args:
        jobs: How many at a time; None: one per GPU, or one on a CPU.
        per_gpu: How many may share a GPU.
    """

    def __init__(self, jobs: int | None = None, per_gpu: int = 1) -> None:
        self.wanted, self.per_gpu = jobs, per_gpu

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.config, self.context = config, hydra_context

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        setup_globals()
        plan = SweepPlan.read(self.config.hydra.sweep.dir)
        jobs = jobs_of(plan, self.context, self.config, job_overrides)
        waiting = list({job.run: job for job in jobs}.values())  # equal compositions are one job
        self.stream(plan, lambda: waiting.pop(0) if waiting else None)
        return [returned(job, plan.folder / job.run) for job in jobs]

    def stream(
        self,
        plan: SweepPlan,
        next_job: Callable[[], Planned | None],
        *,
        ended: Callable[[Planned], None] = lambda job: None,
        tick: Callable[[Sequence[Planned], Callable[[Planned], None]], None] = lambda running, stop: None,
    ) -> None:
        """Run jobs until `next_job` has no more and the last one has ended.

        Args:
            next_job: Called when a slot is free; returns the next job, or None if there is none.
            ended: Called with every finished job, whether it ran now or before.
            tick: Called repeatedly while jobs run, with the running jobs and a function that stops one of them.

        Raises:
            SystemExit: A signal ended the sweep; every running job has saved.
        """
        slots = Slots.on(
            gpus(),
            len(os.sched_getaffinity(0)),
            jobs=self.wanted,
            per_gpu=self.per_gpu,
            each=max([self.config.trainer.devices, *_devices(plan)]),
        )
        with contextlib.ExitStack() as held:
            held.enter_context(locked(plan.folder, name=f".lock-{socket.gethostname()}"))
            for gpu in slots.gpus if self.per_gpu == 1 else ():
                held.enter_context(alone_on(gpu))
            stop = held.enter_context(_stoppable())
            progress = held.enter_context(Progress(plan, slots.jobs))
            running: list[Running] = []
            try:
                self._stream(plan, slots, running, next_job, ended, tick, stop, progress)
            finally:
                _end(running)
        if stop:
            log.warning("%s: the jobs in hand are saved. The same command goes on.", signal.Signals(stop[0]).name)
            sys.exit(128 + stop[0])

    def _stream(
        self,
        plan: SweepPlan,
        slots: Slots,
        running: list[Running],
        next_job: Any,
        ended: Any,
        tick: Any,
        stop: list[int],
        progress: Progress,
    ) -> None:
        more = True
        while (more or running) and not stop:
            while more and len(running) < slots.jobs and not stop:
                job = next_job()
                more = job is not None
                if job is None or job.run in {one.job.run for one in running}:  # a search may propose a running job
                    continue
                if is_settled(state_of(plan.folder / job.run), self.config.repeat):
                    progress.settled(job)
                    ended(job)
                    continue
                slot = min(set(range(slots.jobs)) - {one.slot for one in running})
                running.append(Running(job=job, process=self._start(plan, job, slots.environment(slot)), slot=slot))
                progress.started(job)
            tick([one.job for one in running], lambda job: _stop([r for r in running if r.job is job]))
            time.sleep(POLL_S)
            for one in [one for one in running if one.process.poll() is not None and not stop]:
                running.remove(one)
                _clean_up(one.process)
                note_end(plan.folder / one.job.run, one.process.returncode)
                progress.ended(one.job, time.monotonic() - one.started)
                ended(one.job)
            progress.refresh()

    def _start(self, plan: SweepPlan, job: Planned, limits: dict[str, str]) -> subprocess.Popen[bytes]:
        run = plan.folder / job.run
        run.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
        own = plan.script in ("train", "evaluate", "benchmark")
        script = [sys.argv[0]] if own else ["-m", "medvl.cli", plan.script]
        words = [*hydra_words(self.config), *job.overrides, f"hydra.run.dir={quoted(run)}"]
        environment = {**os.environ, **limits, SWEEP: str(plan.folder), "PYTHONUNBUFFERED": "1"}
        parent = os.getpid()
        with open(run / "output.log", "ab", opener=private) as output:
            return subprocess.Popen(
                [sys.executable, *script, *words],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=lambda: _die_with(parent),
            )


def returned(job: Planned, run: Path) -> JobReturn:
    """Return a job's number in the form that Hydra's sweepers expect."""
    value = value_of(run)
    return JobReturn(
        overrides=job.overrides, status=JobStatus.COMPLETED, _return_value=float("nan") if value is None else value
    )


def note_end(run: Path, code: int | None = None, why: str = "") -> None:
    """Record the end of a job that could not record it itself.

    Args:
        code: Exit status of its process, or the negative number of the signal that ended it.
        why: What else is known about the cause.
    """
    status = known_status(run)
    ended = status is not None and status["state"] != "running"
    if ended or is_locked(run):  # recorded, or another process is at work
        return
    if code is not None and -code in ENDING:  # stopped by someone, to resume later
        Record(run).status("interrupted", error=f"{signal.Signals(-code).name} before it could save")
        return
    how = "ended without a word" if code is None else f"exit status {code}"
    if code is not None and code < 0:
        how = f"killed by {signal.Signals(-code).name}" + ("; out of memory?" if code == -signal.SIGKILL else "")
    last = why or _last_line(run / "output.log")
    Record(run).status("failed", error=how + (f": {last}" if last else ""))


def _clean_up(process: subprocess.Popen[bytes]) -> None:
    """Kill the processes that a dead job has left: its other ranks and workers still use the GPU."""
    if process.returncode:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _last_line(path: Path) -> str:
    lines = path.read_text(errors="replace").strip().splitlines() if path.is_file() else []
    return lines[-1][-300:] if lines else ""


@contextlib.contextmanager
def _stoppable() -> Iterator[list[int]]:
    """Yield a list to which the first signal is appended; a second Ctrl-C ends the sweep at once."""
    seen: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if seen and number == signal.SIGINT:
            raise KeyboardInterrupt
        seen.append(number)

    before = {number: signal.signal(number, note) for number in heeded()}
    try:
        yield seen
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _stop(running: Sequence[Running]) -> None:
    for one in running:
        one.process.terminate()  # it finishes its step, saves and ends


def _end(running: Sequence[Running]) -> None:
    """Let jobs save and wait for them; if the wait is interrupted, kill them."""
    _stop(running)
    try:
        for one in running:
            one.process.wait()
    except BaseException:
        for one in running:
            os.killpg(one.process.pid, signal.SIGKILL)
        raise


def _die_with(parent: int) -> None:
    """Have the kernel send a job SIGTERM when the sweep's process ends, even by SIGKILL."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGTERM)


def _devices(plan: SweepPlan) -> list[int]:
    """Return the number of devices of each job whose overrides set it."""
    words = [word for job in plan.jobs for word in job.overrides if word.startswith("trainer.devices=")]
    return [int(count) for word in words if (count := word.partition("=")[2]).isdecimal()]
