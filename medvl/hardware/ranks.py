"""The rank of this process, and how much its libraries may print."""

from __future__ import annotations

import logging
import os
import sys


def local_rank() -> int:
    """Return this process's rank on its host, as set by Lightning or torchrun."""
    return int(os.environ.get("LOCAL_RANK", 0))


def is_main() -> bool:
    """Whether this process is rank 0 of all nodes, under torchrun, Slurm or Lightning's own launcher."""
    for name in ("RANK", "SLURM_PROCID"):
        if name in os.environ:
            return int(os.environ[name]) == 0
    return local_rank() == 0 and int(os.environ.get("NODE_RANK", os.environ.get("GROUP_RANK", 0))) == 0


def quiet_imports() -> None:
    """Set the variables that libraries read when first used or imported."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # else it warns for every worker
    # bitsandbytes logs a line at import about a kernel we do not use, and one for every int8 product on a CPU.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)


def quiet_libraries() -> None:
    """Let libraries print only when something is wrong."""
    import warnings

    import transformers

    for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.WARNING)
    transformers.utils.logging.set_verbosity_error()
    if not sys.stderr.isatty():
        transformers.utils.logging.disable_progress_bar()
    warnings.filterwarnings("ignore", category=FutureWarning, module="transformers|peft|lightning")
    # These warnings are true but expected: few workers decode the rows.
    for text in (".*does not have many workers.*", ".*was configured so validation.*", ".*treespec.*"):
        warnings.filterwarnings("ignore", message=text)
