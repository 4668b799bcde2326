"""External launchers: the same directories and the same resuming as with our own."""

import os
import signal

from conftest import ROOT
from test_sweeps import JOBS, only, wait_for

from medvl.record.files import read_json, read_jsonl
from medvl.sweeping.plan import State, SweepPlan, state_of


def test_submitit_queues_a_preempted_job_again_and_it_goes_on(script, tmp_path):
    words = ("-m", "launcher=submitit_local", *JOBS, "trainer.max_steps=12", "lora.r=4")
    process = script("train.py", *words, cwd=tmp_path, wait=False)
    wait_for(tmp_path / "outputs/train", process)
    sweep = only(tmp_path / "outputs/train")
    wait_for(sweep / "sweep.json", process)
    (first,) = SweepPlan.read(sweep).runs()
    wait_for(first / "checkpoints/step-000002", process)
    os.kill(read_json(first / "status.json")["pid"], signal.SIGUSR2)  # as Slurm does before preempting a node
    output = process.communicate(timeout=300)[0]
    assert process.returncode == 0, output
    assert state_of(first) is State.done
    assert [row["step"] for row in read_jsonl(first / "metrics.jsonl") if "train/lr" in row] == list(range(1, 13))
    log = (first / "train.log").read_text()
    assert "SIGUSR2: saved at step" in log and "going on from step-" in log
    assert first.name in (sweep / "sweep.txt").read_text()
    before = (first / "status.json").read_text()
    code, output = script("train.py", *words, cwd=tmp_path)
    assert code == 0 and (first / "status.json").read_text() == before, output


def test_launchers_compose():
    import hydra

    import medvl.run.config  # registers our plugins

    assert medvl.run.config.GROUPS
    wanted = {"local": "LocalLauncher", "submitit_local": "LocalLauncher", "slurm": "SlurmLauncher"}
    for name, target in wanted.items():
        with hydra.initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
            cfg = hydra.compose("run", overrides=[f"launcher={name}"], return_hydra_config=True)
            assert cfg.hydra.launcher._target_.endswith(target)
            assert (name == "local") == cfg.hydra.launcher._target_.startswith("hydra_plugins.medvl.")


def test_a_launcher_that_gives_up_leaves_a_record(tmp_path):
    from omegaconf import OmegaConf

    from medvl.record.directory import Record
    from medvl.sweeping.external_launchers import Foreign
    from medvl.sweeping.plan import Planned, Repeat

    plan = SweepPlan(folder=tmp_path, script="train", jobs=[Planned(name, [f"x={name}"]) for name in "abc"])
    plan.write()
    Record(tmp_path / "a").status("done", objective={"name": "cer", "value": 0.1})
    asked = []

    class Scheduler:
        def launch(self, job_overrides, initial_job_idx):
            asked.extend(job_overrides)
            Record(tmp_path / "b").status("running")
            Record(tmp_path / "c").status("done", objective={"name": "cer", "value": 0.2})
            raise RuntimeError("job 7 was killed\nby its node")

    context = OmegaConf.create()
    foreign = Foreign(Scheduler(), OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path)}}}), context)
    foreign.config.repeat = Repeat.never
    returned = foreign.launch([["x=a"], ["x=b"], ["x=c"]], 0)
    assert asked == [["x=b"], ["x=c"]]
    assert [state_of(run) for run in plan.runs()] == [State.done, State.failed, State.done]
    assert read_json(tmp_path / "b/status.json")["error"] == "ended without a word: RuntimeError: job 7 was killed"
    assert [one.return_value for one in returned][::2] == [0.1, 0.2]
