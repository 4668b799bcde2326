"""Runs scripts in forks of a process with their modules imported, which saves eight seconds of imports per call."""

import atexit
import multiprocessing
import os
import runpy
import sys
import tempfile
from pathlib import Path

IMPORTS = [
    "medvl.run.training_run",
    "medvl.training.tuning",
    "medvl.evaluation.evaluation",
    "medvl.model.merging",
    "torch._dynamo",
    "bitsandbytes",
    "matplotlib.pyplot",
    "transformers.models.qwen2_5_vl.modeling_qwen2_5_vl",
]
"""Not wandb: its import creates a temporary folder, which the first process to end deletes."""


def start_script(script, words, cwd, environment, seconds=500):
    """Run a script of the repository to its end; return its exit status and output."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(IMPORTS)
    with tempfile.TemporaryDirectory() as folder:
        printed = Path(folder) / "printed"
        process = context.Process(target=_be, args=(str(script), words, str(cwd), environment, str(printed)))
        process.start()
        process.join(seconds)
        if process.is_alive():
            process.kill()
            raise TimeoutError(f"{script} {words}: {printed.read_text()}")
        return process.exitcode, printed.read_text(encoding="utf-8")


def _be(script, words, cwd, environment, printed):
    multiprocessing.set_start_method("fork", force=True)  # Linux's default; this process was started by another method
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    for number in (1, 2):
        os.dup2(os.open(printed, os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    sys.stdout, sys.stderr = (open(number, "w", buffering=1, encoding="utf-8") for number in (1, 2))  # noqa: SIM115
    sys.argv, sys.path[0] = [script, *words], str(Path(script).parent)
    try:
        runpy.run_path(script, run_name="__main__")
    finally:
        atexit._run_exitfuncs()  # multiprocessing exits without them
