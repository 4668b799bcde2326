"""The `medvl` command: tasks before and after a run. Most take the same overrides as the scripts.

medvl doctor                                     can this machine run medvl?
medvl download model=qwen2_5_vl_7b               fetch weights, to run offline later
medvl prepare data.path=mtsamples.jsonl          render and tokenise a data set, and report what was dropped
medvl audit data=mtsamples eval=evaluation_pages does the training data match what is evaluated?
medvl runs [<folder>...]                         every run and sweep: state, score, size
medvl status [<run or sweep>]                    progress of a run or sweep (default: the newest sweep)
medvl show <run> [<example>]                     a page of its answers, worst first: page, reference, what differs
medvl compare <run> <run>                        two runs, with intervals: better, worse or cannot tell
medvl report <run or sweep>...                   a page of figures, tables and examples
medvl clean [<folder>...]                        what runs have left behind and nothing needs; --yes deletes it
medvl calibrate run=<run>                        how far can the values that its model extracts be trusted?
medvl export run=<run>                           write its model for other engines, with scores and a model card
medvl push <export> repo=<name>/<model>          send an export to the Hugging Face hub; --yes does
medvl serve run=<run>                            answer requests with its model

medvl <verb> --help explains one of them; medvl --version names the version.
"""

from __future__ import annotations

import medvl.record.early  # noqa: F401 (signals are heeded while the others are imported)

import functools
import inspect
import sys
from collections.abc import Callable
from pathlib import Path

import hydra
from omegaconf import DictConfig

from medvl.record.console import console
from medvl.record.saved_config import CONF
from medvl.run import meant
from medvl.run.context import RunContext
from medvl.run.launch import carry_out
from medvl.run.suggest import start, version_line

ASIDE = "hydra.job_logging.handlers.console.stream=ext://sys.stderr"  # what is logged does not disturb JSON


def doctor(context: RunContext, *, as_json: bool = False) -> None:
    """Check whether this machine can run medvl; exit status 2 if something is amiss.

    medvl doctor [--json]
    medvl doctor cache=/data/medvl      the folder whose free space is checked
    medvl doctor hardware=dgx_spark precision=bf16 lora.r=16     what the estimate of fitting models is made for
    """
    from medvl.doctor import tell

    tell(context, as_json=as_json)


def download(context: RunContext) -> None:
    """Download a model's files into the hub's cache, so that runs need no network later; its licence is told first.

    medvl download model=qwen2_5_vl_7b
    medvl download model=qwen2_5_vl_3b model.revision=<commit>
    """
    from medvl.run.downloading import download

    download(context)


def prepare(context: RunContext) -> None:
    """Render and tokenise the data of a composition, as a run would, and report what was dropped.

    medvl prepare data=folder data.path=receipts [export=<folder>]     also as train.json, val.json, test.json, images/
    """
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
    """Compare the training and evaluation data of a composition; no model is loaded or trained.

    medvl audit data=mtsamples eval=evaluation_pages
    medvl audit data=folder data.path=receipts eval=held_out audit=strict     refuse instead of warning
    """
    from medvl.run.datasets import audit_sets, prepare_evaluation, prepare_training
    from medvl.run.loading import encoder_of

    encoder = encoder_of(context.config.model)
    prepared = prepare_training(context, encoder, needs=["train"])
    audit_sets(context, prepared, prepare_evaluation(context, encoder, prepared))


def calibrate(context: RunContext) -> None:
    """Measure how far the values that a run's model extracts can be trusted.

    medvl calibrate run=outputs/train/<run>
    medvl calibrate run=outputs/train/<run> eval.limit=200
    """
    from medvl.run.calibrating import calibrate

    calibrate(context)


def export(context: RunContext) -> float | None:
    """Write a trained model in a form that other engines load, read it back and score it; with a model card.

    medvl export run=outputs/train/<run>
    medvl export run=outputs/train/<run> export=<folder> merge_into=original
    """
    from medvl.run.exporting import export

    return export(context)


def serve(context: RunContext) -> None:
    """Serve a model over HTTP until a signal comes.

    medvl serve run=outputs/train/<run>
    medvl serve adapter=<folder> model=qwen2_5_vl_7b serve.port=8000
    """
    from medvl.run.serving_run import serve

    serve(context)


def compare(words: list[str]) -> None:
    """Compare two runs on the examples that both scored, with intervals: better, worse or cannot tell.

    medvl compare <run> <run>
    """
    from medvl.evaluation.comparison import compare

    a, b = _folders(words, "medvl compare <run directory> <run directory>", least=2, most=2)
    print(compare(a, b))


def runs(words: list[str]) -> None:
    """List runs and sweeps with state, step, time left, score, size, and what differs from the default composition.

    medvl runs                                      all below outputs/
    medvl runs <folder>... state=killed,failed      states: done, failed, interrupted, killed, running, ...
    medvl runs program=train sort=score             or: started, size, left, time, name
    medvl runs --json
    """
    from medvl.inventory.listing import runs

    print(runs(words))


def status(words: list[str]) -> None:
    """Show the progress of one run or sweep, from another terminal or after its end.

    medvl status                        the newest sweep below outputs/
    medvl status <run or sweep> [--json]
    """
    from medvl.inventory.listing import status

    print(status(words))


def show(words: list[str]) -> None:
    """Write one page with a run's answers, worst first, and print where it is; it needs no network and no server.

    medvl show <run>                    the 200 worst examples; limit=<number>
    medvl show <run> 3                  the third worst; also its id, or a part of it
    medvl show <run> set=replay         another set: predictions_replay.jsonl
    medvl show <run> out=<file>         default: <run>/report/answers.html
    """
    from medvl.reporting.answers import show

    print(show(words))


def clean(words: list[str]) -> None:
    """List what runs have left behind and nothing needs; delete it with --yes.

    medvl clean                         below outputs/
    medvl clean <folder>... --yes

    These are half-written files and folders, runs that were killed without a checkpoint to resume, and all
    checkpoints of finished runs but the newest and the best. Runs at work are never touched, nor what is not medvl's.
    """
    from medvl.inventory.cleaning import clean

    print(clean(words))


def push(words: list[str]) -> None:
    """Say what of an export would go to the Hugging Face hub, with licence, scores and verdict; send it with --yes.

    medvl push <run>/export/merged repo=<name>/<model>          to a private repository
    medvl push <folder> repo=<name>/<model> --public --yes
    medvl push <folder> repo=<name>/<model> force=true --yes    also one that is not marked publishable
    """
    from medvl.export.push import push

    print(push(words))


def report(words: list[str]) -> None:
    """Write the report of runs and sweeps: a page, its numbers as JSON, its tables in Markdown.

    medvl report <run or sweep>...      default folder: report/ in the only run or sweep, else below outputs/reports/
    medvl report <run> out=<folder>
    medvl report <run> --wandb          publish it in W&B as well
    """
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
    verb.__name__: verb for verb in (doctor, download, prepare, audit, calibrate, export, serve)
}
# These verbs take run directories, not overrides.
WORDS: dict[str, Callable[[list[str]], None]] = {
    verb.__name__: verb for verb in (runs, status, show, compare, report, clean, push)
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
    verb, words = (sys.argv[1] if len(sys.argv) > 1 else ""), sys.argv[2:]
    if verb in ("", "-h", "--help", "help") and not (verb == "help" and words):
        print(__doc__.rstrip())
        sys.exit(0 if verb else 2)
    if verb in ("-V", "--version", "version"):
        print(version_line())
        return
    verb, words = (words[0], ["--help"]) if verb == "help" else (verb, words)
    if verb not in (*WORDS, *VERBS):
        raise ValueError(meant.unknown_verb(verb, (*WORDS, *VERBS)))
    if {"-h", "--help"} & set(words):
        print(_help(verb))
        return
    if verb in WORDS:
        WORDS[verb](words)
        return
    if not CONF.is_dir():
        raise ValueError("medvl works from its checkout. Clone it with git and pip install -e . there.")
    work = VERBS[verb]
    if verb == "doctor" and "--json" in words:
        work = functools.partial(doctor, as_json=True)
        words = [word for word in words if word != "--json"] + [ASIDE]

    @hydra.main(version_base="1.3", config_path=str(CONF), config_name="run")
    def run(cfg: DictConfig) -> float:
        return carry_out(cfg, work)

    start(run, [f"medvl {verb}", f"hydra.job.name={verb}", "hydra/job_logging=medvl", *words])


def _help(verb: str) -> str:
    text = inspect.getdoc({**WORDS, **VERBS}[verb]) or ""
    if verb in WORDS:
        return text
    return f"{text}\n\nIt takes the overrides of the scripts: python train.py --help explains every group and value."


if __name__ == "__main__":
    main()
