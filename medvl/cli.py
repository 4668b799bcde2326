"""The `medvl` command: what stands around a run. Takes the same overrides as the scripts.

medvl doctor                                     does this machine run medvl?
medvl download model=qwen2_5_vl_7b               fetch weights, to run without a network later
medvl prepare data.path=mtsamples.jsonl          draw and measure a data set, and say what was dropped
medvl prepare data=synthea export=<folder>       ... and write train.json, val.json, test.json and images/
medvl audit data=mtsamples eval=evaluation_pages does the training data match what is evaluated?
medvl status [<sweep>]                           how far a sweep is: the newest one unless named
medvl compare <run> <run>                        better, worse or cannot tell: two runs, with intervals
medvl report <run or sweep>... [--wandb]         a page of figures, tables and examples; out=<folder>
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import hydra
from omegaconf import DictConfig

from medvl.job import Job
from medvl.launch import carry_out
from medvl.suggest import start

CONF = Path(__file__).parents[1] / "conf"


def doctor(job: Job) -> None:
    """Examine the machine; anything amiss is an error."""
    from medvl.doctor import examine

    findings = list(examine(Path(job.run.cache).expanduser()))
    job.say("\n".join(f"{'ok' if well else 'AMISS':<6}{what:<15}{found}" for what, well, found in findings))
    job.record.result({what: {"ok": well, "found": found} for what, well, found in findings}, "doctor")
    amiss = [what for what, well, _ in findings if not well]
    if amiss:
        raise ValueError(f"amiss: {', '.join(amiss)}")


def download(job: Job) -> None:
    """Fetch what the composition's model needs into the hub's cache."""
    model = job.run.model
    if model.path is None:
        raise ValueError(f"model {model.shape} comes with the package. Set model=qwen2_5_vl_7b.")
    job.say(f"{model.path} is in {model.download()}")


def prepare(job: Job) -> None:
    """Draw and measure the data of a composition, as a run would."""
    from medvl.data.encoding import Encoder
    from medvl.data.export import check, export

    folder = None if job.run.export is None else Path(job.run.export)
    if folder is not None:
        check(folder)  # before hours of drawing
    prepared = job.prepare(Encoder(job.run.model.processor()))
    if folder is not None:
        counts = export(prepared, folder)
        parts = ", ".join(f"{split}.json {count:,}" for split, count in counts.items())
        job.say(f"exported to {job.run.export}: {parts}")


def audit(job: Job) -> None:
    """Compare the training data of a composition with what it evaluates; nothing is loaded or trained."""
    from medvl.data.encoding import Encoder

    encoder = Encoder(job.run.model.processor())
    prepared = job.prepare(encoder, needs=["train"])
    job.audit(prepared, job.prepare_evaluation(encoder, prepared))


def compare(words: list[str]) -> None:
    """Print the paired comparison of two run directories."""
    from medvl.comparison import compare

    if len(words) != 2:
        sys.exit("usage: medvl compare <run directory> <run directory>")
    try:
        print(compare(Path(words[0]), Path(words[1])))
    except ValueError as error:
        sys.exit(f"error: {error}")


def status(words: list[str]) -> None:
    """Print how far a sweep is, from another terminal or after it."""
    from medvl.sweeping.plan import FILE, Plan
    from medvl.sweeping.progress import status_text

    if len(words) > 1:
        sys.exit("usage: medvl status [<sweep>]")
    found = sorted(Path("outputs").glob(f"*/*/{FILE}"), key=lambda path: path.stat().st_mtime)
    if not words and not found:
        sys.exit("error: there is no sweep below outputs/. Name its folder: medvl status <sweep>")
    folder = Path(words[0]) if words else found[-1].parent
    try:
        print(f"{folder}\n{status_text(Plan.read(folder))}")
    except ValueError as error:
        sys.exit(f"error: {error}")


def report(words: list[str]) -> None:
    """Write the report of runs and sweeps, and with --wandb a W&B report too."""
    paths = [Path(word) for word in words if not word.startswith(("out=", "--"))]
    options = [word for word in words if word.startswith(("out=", "--"))]
    try:
        if not paths or [word for word in options if word != "--wandb" and not word.startswith("out=")]:
            raise ValueError("usage: medvl report <run or sweep>... [out=<folder>] [--wandb]")
        from medvl.reporting.report import default_folder, write

        named = [word.partition("=")[2] for word in options if word.startswith("out=")]
        out = Path(named[-1]) if named else default_folder(paths)
        print(write(paths, out))
        if "--wandb" in options:
            from medvl.reporting.wandb_report import publish

            print(publish(paths, out))
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)


VERBS: dict[str, Callable[[Job], None]] = {
    "doctor": doctor, "download": download, "prepare": prepare, "audit": audit,
}  # fmt: skip
# About run directories: they take those, not overrides.
WORDS: dict[str, Callable[[list[str]], None]] = {"compare": compare, "report": report, "status": status}


def main() -> None:
    """Entry point of the console command."""
    verb = sys.argv[1] if len(sys.argv) > 1 else ""
    if verb in WORDS:
        WORDS[verb](sys.argv[2:])
        return
    if verb not in VERBS:
        print(__doc__)
        sys.exit(0 if verb in ("-h", "--help") else 2)
    if not CONF.is_dir():
        sys.exit("medvl works from its checkout: git clone it and pip install -e .")
    del sys.argv[1]
    sys.argv[0] = f"medvl {verb}"

    @hydra.main(version_base="1.3", config_path=str(CONF), config_name="run")
    def run(cfg: DictConfig) -> float:
        return carry_out(cfg, VERBS[verb])  # type: ignore[arg-type]

    sys.argv[1:1] = [f"hydra.job.name={verb}", "hydra/job_logging=medvl"]
    start(run)


if __name__ == "__main__":
    main()
