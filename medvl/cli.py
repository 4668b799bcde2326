"""The `medvl` command: tasks before and after a run. Takes the same overrides as the scripts.

medvl doctor                                     can this machine run medvl?
medvl download model=qwen2_5_vl_7b               fetch weights, to run offline later
medvl prepare data.path=mtsamples.jsonl          render and tokenise a data set, and report what was dropped
medvl prepare data=synthea export=<folder>       ... and write train.json, val.json, test.json and images/
medvl audit data=mtsamples eval=evaluation_pages does the training data match what is evaluated?
medvl calibrate run=<run>                        how far can the values that its model extracts be trusted?
medvl export run=<run>                           write its model for other engines, with scores and a model card
medvl serve run=<run>                            answer requests with its model; also adapter=<folder>, model=...
medvl runs [<folder>...]                         every run and sweep: state, score, size; state=killed sort=score
medvl status [<run or sweep>]                    progress of a run or sweep (default: the newest sweep)
medvl show <run> [<example>]                     a page of its answers, worst first: page, reference, what differs
medvl compare <run> <run>                        two runs, with intervals: better, worse or cannot tell
medvl report <run or sweep>... [--wandb]         a page of figures, tables and examples; out=<folder>
"""

from __future__ import annotations

import medvl.record.early  # noqa: F401 (signals are heeded while the others are imported)

import sys
from collections.abc import Callable
from pathlib import Path

import hydra
from omegaconf import DictConfig

from medvl.record.console import console
from medvl.run.context import RunContext
from medvl.run.launch import carry_out
from medvl.run.suggest import start

CONF = Path(__file__).parents[1] / "conf"


def doctor(context: RunContext) -> None:
    """Check the machine; any problem is an error."""
    from medvl.doctor import examine

    findings = list(examine(Path(context.config.cache).expanduser()))
    context.say("\n".join(f"{'ok' if well else 'AMISS':<6}{what:<15}{found}" for what, well, found in findings))
    context.record.result({what: {"ok": well, "found": found} for what, well, found in findings}, "doctor")
    amiss = [what for what, well, _ in findings if not well]
    if amiss:
        raise ValueError(f"amiss: {', '.join(amiss)}")


def download(context: RunContext) -> None:
    """Download the files of the composition's model into the hub's cache."""
    model = context.config.model
    if model.path is None:
        raise ValueError(f"model {model.shape} comes with the package. Set model=qwen2_5_vl_7b.")
    context.say(f"{model.path} is in {model.download()}")


def prepare(context: RunContext) -> None:
    """Render and tokenise the data of a composition, as a run would."""
    from medvl.data.export import check_export, export
    from medvl.run.datasets import prepare_training
    from medvl.run.loading import encoder_of

    folder = None if context.config.export is None else Path(context.config.export)
    if folder is not None:
        check_export(folder)  # before hours of rendering
    prepared = prepare_training(context, encoder_of(context.config.model))
    if folder is not None:
        counts = export(prepared, folder)
        parts = ", ".join(f"{split}.json {count:,}" for split, count in counts.items())
        context.say(f"exported to {context.config.export}: {parts}")


def audit(context: RunContext) -> None:
    """Compare the training and evaluation data of a composition; no model is loaded or trained."""
    from medvl.run.datasets import audit_sets, prepare_evaluation, prepare_training
    from medvl.run.loading import encoder_of

    encoder = encoder_of(context.config.model)
    prepared = prepare_training(context, encoder, needs=["train"])
    audit_sets(context, prepared, prepare_evaluation(context, encoder, prepared))


def calibrate(context: RunContext) -> None:
    """Measure how far the values that a run's model extracts can be trusted."""
    from medvl.run.calibrating import calibrate

    calibrate(context)


def export(context: RunContext) -> float | None:
    """Write a trained model in a form that other engines load, and score what was written."""
    from medvl.run.exporting import export

    return export(context)


def serve(context: RunContext) -> None:
    """Serve a model over HTTP until a signal comes."""
    from medvl.run.serving_run import serve

    serve(context)


def compare(words: list[str]) -> None:
    """Print the paired comparison of two run directories."""
    from medvl.evaluation.comparison import compare

    a, b = _folders(words, "medvl compare <run directory> <run directory>", least=2, most=2)
    print(compare(a, b))


def runs(words: list[str]) -> None:
    """List runs and sweeps."""
    from medvl.inventory.listing import runs

    print(runs(words))


def status(words: list[str]) -> None:
    """Print the progress of a run or sweep, from another terminal or after its end."""
    from medvl.inventory.listing import status

    print(status(words))


def show(words: list[str]) -> None:
    """Write a page with a run's answers, worst first, and print where it is."""
    from medvl.reporting.answers import show

    print(show(words))


def report(words: list[str]) -> None:
    """Write the report of runs and sweeps, and with --wandb also a W&B report."""
    from medvl.reporting.report import write

    usage = "medvl report <run or sweep>... [out=<folder>] [--wandb]"
    named = [word.partition("=")[2] for word in words if word.startswith("out=")]
    paths = _folders([word for word in words if word != "--wandb" and not word.startswith("out=")], usage, least=1)
    if "" in named:
        raise ValueError("out= names no folder. Set out=<a folder>.")
    page = write(paths, Path(named[-1]) if named else None)
    print(page)
    if "--wandb" in words:
        from medvl.reporting.wandb_report import publish

        print(publish(paths, page.parent))


def _folders(words: list[str], usage: str, *, least: int, most: int | None = None) -> list[Path]:
    """Return the folders that a verb's words name.

    Raises:
        ValueError: The words are not what the verb takes.
    """
    unknown = [word for word in words if word.startswith("-")]
    if unknown or "" in words or not least <= len(words) <= (len(words) if most is None else most):
        what = f"there is no option {unknown[0]}" if unknown else f"{len(words)} folders were named"
        raise ValueError(f"{what}; usage: {usage}")
    return [Path(word) for word in words]


VERBS: dict[str, Callable[[RunContext], float | None]] = {
    "doctor": doctor,
    "download": download,
    "prepare": prepare,
    "audit": audit,
    "calibrate": calibrate,
    "export": export,
    "serve": serve,
}
# These verbs take run directories, not overrides.
WORDS: dict[str, Callable[[list[str]], None]] = {
    "compare": compare,
    "report": report,
    "runs": runs,
    "show": show,
    "status": status,
}


def main() -> None:
    """Entry point of the console command."""
    with console():
        try:
            _main()
        except ValueError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(2)


def _main() -> None:
    verb = sys.argv[1] if len(sys.argv) > 1 else ""
    if verb in ("", "-h", "--help") or (verb in WORDS and {"-h", "--help"} & set(sys.argv[2:])):
        print(__doc__)
        sys.exit(0 if verb else 2)
    if verb in WORDS:
        WORDS[verb](sys.argv[2:])
        return
    if verb not in VERBS:
        raise ValueError(f"there is no medvl {verb}. medvl --help lists what there is.")
    if not CONF.is_dir():
        raise ValueError("medvl works from its checkout. Clone it with git and pip install -e . there.")

    @hydra.main(version_base="1.3", config_path=str(CONF), config_name="run")
    def run(cfg: DictConfig) -> float:
        return carry_out(cfg, VERBS[verb])

    start(run, [f"medvl {verb}", f"hydra.job.name={verb}", "hydra/job_logging=medvl", *sys.argv[2:]])


if __name__ == "__main__":
    main()
