"""Scripts in processes forked from one that has imported what they import: a user's call without its eight seconds."""

import atexit
import multiprocessing
import os
import runpy
import sys
import tempfile
from pathlib import Path

IMPORTS = ["medvl.session", "medvl.tuning", "medvl.evaluation", "medvl.artefact", "torch._dynamo", "bitsandbytes",
           "matplotlib.pyplot", "transformers.models.qwen2_5_vl.modeling_qwen2_5_vl"]  # fmt: skip
"""Not wandb: it makes a temporary folder as it is imported, and the first process that ends takes it away."""


def start_script(script, words, cwd, environment, seconds=500):
    """Run a script of the repository to its end; return its exit status and what it printed."""
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
    multiprocessing.set_start_method("fork", force=True)  # Linux's default; this process came by another
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
        atexit._run_exitfuncs()  # multiprocessing leaves without them
