"""Searches: Optuna proposes trials, jobs evaluate them; killed searches resume, bad trials are pruned."""

import math
import signal
import subprocess

import optuna
import pytest
from conftest import ROOT
from test_sweeps import JOBS, only, wait_for

from medvl.record.files import read_json, read_jsonl
from medvl.sweeping.plan import State, SweepPlan, numbers_of, state_of

SEARCH = (
    "-m",
    "hydra/sweeper=optuna",
    *JOBS,
    "trainer.max_steps=3",
    "optimizer.lr=tag(log,interval(1e-5,1e-3))",
    "lora.r=choice(4,8)",
    "hydra.sweeper.trials=2",
)


def study_of(sweep, cwd):
    search = SweepPlan.read(sweep).search
    storage = search["storage"].replace("sqlite:///", f"sqlite:///{cwd}/")
    return optuna.load_study(study_name=search["study"], storage=storage)


@pytest.fixture(scope="module")
def undisturbed(script, tmp_path_factory):
    folder = tmp_path_factory.mktemp("search")
    code, output = script("train.py", *SEARCH, cwd=folder)
    assert code == 0, output
    return only(folder / "outputs/train"), folder


def test_a_search_runs_what_optuna_proposes(undisturbed):
    sweep, cwd = undisturbed
    study = study_of(sweep, cwd)
    assert [trial.state for trial in study.trials] == [optuna.trial.TrialState.COMPLETE] * 2
    for trial in study.trials:
        run = sweep / trial.user_attrs["run"]
        config = (run / "config.yaml").read_text()
        assert f"lr: {trial.params['optimizer.lr']}" in config and f"r: {trial.params['lora.r']}" in config
        after = read_json(run / "metrics.json")["after"]
        assert trial.value == numbers_of(run)["cer_text"] == after["cer_text"]
        assert numbers_of(run)["cer"] == after["cer"]  # an objective of earlier searches
    assert study.direction == optuna.study.StudyDirection.MINIMIZE


def test_a_search_that_was_killed_proposes_the_same(undisturbed, script, tmp_path):
    sweep, cwd = undisturbed
    mine = tmp_path / "outputs/train" / sweep.name
    runs = [job.run for job in SweepPlan.read(sweep).jobs]
    process = script("train.py", *SEARCH, cwd=tmp_path, wait=False)
    wait_for(mine / runs[1] / "checkpoints/step-000001", process)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=100)
    code, output = script("train.py", *SEARCH, cwd=tmp_path)
    assert code == 0, output
    assert [job.run for job in SweepPlan.read(mine).jobs] == runs
    ours, theirs = (study_of(*place).trials for place in ((mine, tmp_path), (sweep, cwd)))
    assert [(trial.params, trial.value) for trial in ours] == [(trial.params, trial.value) for trial in theirs]
    steps = [row["step"] for row in read_jsonl(mine / runs[1] / "metrics.jsonl") if "train/lr" in row]
    assert steps == [1, 2, 3]


def test_a_job_that_validates_badly_is_stopped(script, tmp_path):
    code, output = script(
        "train.py",
        "-m",
        "hydra/sweeper=optuna",
        *JOBS,
        "trainer.max_steps=40",
        "trainer.validate_every=1",
        "optimizer.lr=choice(1e-3,1e-2)",
        "hydra.sweeper.trials=1",
        "hydra.launcher.jobs=1",
        "+hydra.sweeper.pruner._target_=optuna.pruners.ThresholdPruner",
        "+hydra.sweeper.pruner.upper=0.0",
        cwd=tmp_path,
    )
    assert code == 0, output
    sweep = only(tmp_path / "outputs/train")
    trials = study_of(sweep, tmp_path).trials
    assert {trial.state for trial in trials} == {optuna.trial.TrialState.PRUNED}
    for run in SweepPlan.read(sweep).runs():
        assert state_of(run) is State.pruned
        status = read_json(run / "status.json")
        assert status["step"] < 40 and status["error"].startswith("pruned at step")
    assert trials[0].intermediate_values and all(map(math.isfinite, trials[0].intermediate_values.values()))


def test_two_objectives(tmp_path, monkeypatch):
    """Only the search: jobs return at once, and a repeated proposal is not run again."""
    import hydra
    from hydra.core.override_parser.overrides_parser import OverridesParser

    import medvl.run.config  # first, so that Hydra loads its plugins before ours subclass them
    from medvl.record.directory import Record
    from medvl.record.files import write_json
    from medvl.sweeping import search
    from medvl.sweeping.local import LocalLauncher
    from medvl.sweeping.plan import Planned

    assert medvl.run.config.GROUPS
    weights = {"nf4": 5.0, "bf16": 15.0}

    def start(plan, job, room):
        run, kind = plan.folder / job.run, job.overrides[0].partition("=")[2]
        write_json(Record(run).path / "metrics.json", {"after": {"cer": 1 / weights[kind]}, "mib": weights[kind]})
        Record(run).status("done")
        return subprocess.Popen(["true"], start_new_session=True)

    goals = [{"name": "after/cer", "direction": "minimize"}, {"name": "mib", "direction": "minimize"}]
    sampler = optuna.samplers.RandomSampler
    sweeper = search.OptunaSweeper({}, 12, goals, sampler, None, "val/nats_per_token", None, "two", 42, None)
    with hydra.initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        sweeper.config = hydra.compose("run")
    monkeypatch.setattr(search, "planned", lambda context, config, words: Planned("".join(words[0]), list(words)))
    sweeper.context, sweeper.goals, sweeper.fixed = None, goals, []
    sweeper.spaces = {"precision": search.space_of(OverridesParser.create().parse_override("precision=nf4,bf16"))}
    sweeper.plan = SweepPlan(folder=tmp_path, script="train")
    sweeper.study = sweeper._study()
    launcher = LocalLauncher()
    launcher.config, launcher._start = sweeper.config, start
    sweeper._stream(launcher)
    assert len(sweeper.plan.jobs) == 2 and len(sweeper.study.trials) == 12
    assert all(
        trial.values == [1 / weights[trial.params["precision"]], weights[trial.params["precision"]]]
        for trial in sweeper.study.trials
    )
    assert {trial.params["precision"] for trial in sweeper.study.best_trials} == {"nf4", "bf16"}


@pytest.mark.parametrize(
    ("words", "kind", "facts"),
    [
        ("lora.r=choice(4,8)", "CategoricalDistribution", {"choices": ("4", "8")}),
        ("lora.r=4,8", "CategoricalDistribution", {"choices": ("4", "8")}),
        ("optimizer.lr=interval(0.1,0.5)", "FloatDistribution", {"low": 0.1, "high": 0.5, "log": False}),
        ("optimizer.lr=tag(log,interval(1e-5,1e-3))", "FloatDistribution", {"low": 1e-5, "high": 1e-3, "log": True}),
        ("lora.r=int(interval(2,64))", "IntDistribution", {"low": 2, "high": 64}),
        ("lora.r=range(2,8,2)", "IntDistribution", {"low": 2, "high": 6, "step": 2}),
        ("lora.r=range(2,9,2)", "IntDistribution", {"low": 2, "high": 8, "step": 2}),
        ("x=range(0.0,1.0,0.25)", "FloatDistribution", {"low": 0.0, "high": 0.75, "step": 0.25}),
        ("seed=range(3)", "IntDistribution", {"low": 0, "high": 2}),
    ],
)
def test_spaces(words, kind, facts):
    from hydra.core.override_parser.overrides_parser import OverridesParser

    import medvl.run.config  # first, so that Hydra loads its plugins before ours subclass them
    from medvl.sweeping.spaces import space_of

    assert medvl.run.config.GROUPS
    space = space_of(OverridesParser.create().parse_override(words))
    assert type(space).__name__ == kind and {name: getattr(space, name) for name in facts} == facts


@pytest.mark.parametrize("file", sorted((ROOT / "conf/sweep").glob("*.yaml")), ids=lambda file: file.stem)
def test_every_named_sweep_composes(compose, file):
    import hydra

    with hydra.initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = hydra.compose("run", overrides=[f"sweep={file.stem}"], return_hydra_config=True)
    # Of three_way and deployment only the base, since adapters need a run.
    first = [
        f"{key}={str(space).split('(')[-1].split(',')[0].split(')')[0]}"
        for key, space in cfg.hydra.sweeper.params.items()
        if key != "artefact"
    ]
    assert cfg.hydra.sweeper.params and compose(f"sweep={file.stem}", *first).trainer.max_steps is None


@pytest.mark.parametrize(("direction", "reported"), [("minimize", 0.5), ("maximize", -0.5)])
def test_a_loss_is_pruned_as_a_loss_whatever_is_optimised(tmp_path, caplog, direction, reported):
    import medvl.run.config  # first, so that Hydra loads its plugins before ours subclass them
    from medvl.record.files import append_json, write_json
    from medvl.sweeping.plan import Planned
    from medvl.sweeping.search import OptunaSweeper

    assert medvl.run.config.GROUPS
    sweeper = OptunaSweeper(
        {},
        1,
        [{"name": "after/combined", "direction": direction}],
        None,
        optuna.pruners.NopPruner(),
        "val/nats_per_token",
        None,
        None,
        42,
        None,
    )
    sweeper.goals, sweeper.reported = list(sweeper.objectives), {}
    sweeper.plan = SweepPlan(folder=tmp_path, script="train", jobs=[Planned("a", [])])
    study = optuna.create_study(direction=direction)
    trial = study.ask()
    sweeper.hand = {"a": [trial]}
    (tmp_path / "a").mkdir()
    append_json(tmp_path / "a/metrics.jsonl", [{"step": 3, "val/nats_per_token": 0.5}])
    sweeper._prune(sweeper.plan.jobs, lambda job: None)
    assert study.trials[0].intermediate_values == {3: reported}
    write_json(tmp_path / "a/metrics.json", {"after": {"cer": 0.5, "exact": math.nan}})
    with caplog.at_level("WARNING"):
        assert sweeper._values(tmp_path / "a") is None
    assert "has no after/combined; it has after/cer" in caplog.text


def test_a_study_of_other_objectives_is_refused(script, undisturbed):
    sweep, cwd = undisturbed
    words = [*SEARCH, "hydra.sweeper.objectives=[{name:after/exact,direction:maximize}]"]
    code, output = script(
        "train.py",
        *words,
        f"hydra.sweeper.study={SweepPlan.read(sweep).search['study']}",
        f"hydra.sweep.dir={sweep.relative_to(cwd)}",
        cwd=cwd,
    )
    assert code == 2 and "was made to ['minimize'], not to ['maximize']. Set hydra.sweeper.study=" in output, output


@pytest.mark.parametrize(
    ("script", "word", "goal"),
    [
        ("train", "bench=model", {"name": "cer_text", "direction": "minimize"}),
        ("train", "eval.objective=cer", {"name": "cer", "direction": "minimize"}),
        ("train", "eval.objective=combined", {"name": "combined", "direction": "maximize"}),
        ("benchmark", "bench=model", {"name": "each_token_ms", "direction": "minimize"}),
        ("benchmark", "bench=pages", {"name": "pages_per_s", "direction": "maximize"}),
    ],
)
def test_a_search_optimises_what_its_script_does(script, word, goal):
    import hydra

    import medvl.run.config  # first, so that Hydra loads its plugins before ours subclass them
    from medvl.sweeping.search import _default

    assert medvl.run.config.GROUPS
    with hydra.initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        cfg = hydra.compose("run", overrides=[word, f"hydra.job.name={script}"], return_hydra_config=True)
    assert _default(cfg) == goal
