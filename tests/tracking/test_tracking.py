"""What trackers record, read back from the files that they write offline."""

import json
import os
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import LONG, SMALL
from wandb_files import offline_run, only_run, pages

from medvl.hardware.energy import Cost, Counter, Meter
from medvl.model.lora import Lora
from medvl.record.directory import Record
from medvl.record.files import read_json, read_jsonl
from medvl.tracking import MLflow, Subject
from medvl.tracking.names import LONGEST
from medvl.training.callbacks import Best
from medvl.training.module import Learner

SHORT = (*SMALL, "trainer.max_steps=1", "trainer.epochs=null", "trainer.bar=false", "hydra.run.dir=run")


def test_wandb_is_told_the_composition_flat(trained):
    run, output = trained
    assert "to upload: wandb sync run/wandb/offline-run-*" in output
    told, environment = only_run(run), read_json(run / "environment.json")
    config = told.config
    assert config["lora.r"] == 8 and config["precision.storage"] == "nf4" and config["seed"] == 42
    assert config["group.lora"] == "llm" and config["group.data"] == "transcribed_forms"
    assert config["commit"] == environment["commit"]
    assert config["hash.prepared"] == read_json(run / "prepared.json")["fingerprint"]
    assert config["hash.prepared_replay"] == read_json(run / "prepared_replay.json")["fingerprint"]
    assert all(isinstance(value, str | int | float) for name, value in config.items() if name != "_wandb")
    assert told.run.job_type == "train" and not told.run.run_group
    assert told.run.run_id == read_json(run / "status.json")["wandb"]
    # Named by what differs, without what does not affect results
    assert told.run.display_name.startswith(
        "batch.tokens=1500 data.limit=9 eval.limit=2 eval.max_new_tokens=8 lora.drop"
    )
    assert told.run.display_name.endswith("... run") and len(told.run.display_name) == LONGEST


def test_wandb_is_told_what_took_effect(trained):
    run, _ = trained
    config, environment = only_run(run).config, read_json(run / "environment.json")
    chosen = {name: one["value"] for name, one in environment["choices"].items() if name != "groups"}
    assert {"device", "resident", "fused", "checkpointing", "cache_features"} <= chosen.keys()
    sorted_by = {name: config[f"effective.{name}"] for name in chosen if name != "energy"}
    assert sorted_by == {name: value for name, value in chosen.items() if name != "energy"}
    assert config["effective.lora.alpha"] == 16 and "lora.alpha" not in config
    counts = read_json(run / "trainable.json")["trainable"]
    assert config["parameters.trainable"] == sum(counts.values()) and config["parameters.trainable_vision"] == 0
    assert 8e6 < config["parameters.base"] < 8.5e6  # 4-bit weights count in full
    account = read_json(run / "prepared.json")
    assert config["prepared.examples.train"] == account["examples"]["train"] > 0
    assert config["prepared_replay.tokens"] == read_json(run / "prepared_replay.json")["tokens"]
    assert config["run_dir"] == "run"


def test_wandb_knows_which_way_is_better(trained):
    run, _ = trained
    told = only_run(run)
    assert {"train/loss", "val/loss", "lr", "epoch", "after/cer", "replay_after/cer"} <= told.history
    assert not {"train/nats_per_token", "val/nats_per_token", "train/lr"} & told.history
    assert told.metrics["after/cer"].min and not told.metrics["after/cer"].max
    assert told.metrics["after/exact"].max and not told.metrics["after/exact"].min
    assert told.metrics["train/loss"].min and told.metrics["val/loss"].min and told.metrics["speed/tokens_per_s"].max
    assert "lr" not in told.metrics
    results = read_json(trained[0] / "metrics.json")
    assert told.summary["after/cer"]["min"] == pytest.approx(results["after"]["cer"])
    assert told.summary["gate"] == "unknown" and told.summary["state"] == "done" and told.code == 0
    for when in ("before", "after"):
        for name, ends in results["intervals"][when].items():
            shown = [told.summary.get(f"{when}/{name}_{end}") for end in ("low", "high")]
            assert shown == ([None, None] if ends is None else pytest.approx(ends)), name
    goal = read_json(run / "status.json")["objective"]["name"]
    assert told.summary[f"change/{goal}"]["last"] == pytest.approx(results["after"][goal] - results["before"][goal])
    assert told.summary["verdict"] == results["verdict"]
    assert told.summary["audit"] == read_json(run / "audit.json")["verdict"]


def test_wandb_shows_the_same_pages_before_and_after(trained):
    run, _ = trained
    told = only_run(run)
    assert {"differences", "audit"} <= told.history
    for name in ("predictions", "predictions_replay"):
        (before, _), (after, files) = pages(told, f"{name}_before"), pages(told, name)
        rows = read_jsonl(run / f"{name}.jsonl")
        assert {f"{name}_before", name} <= told.history
        assert [row["id"] for row in before] == [row["id"] for row in after] == [row["id"] for row in rows]
        for shown, row in zip(after, rows, strict=True):
            assert shown["reference"] == row["reference"] and shown["prediction"] == row["prediction"]
            assert files[shown["page"]["path"]].read_bytes() == (run / row["images"][0]).read_bytes()
            assert row["prediction"] == row["reference"] or "[-" in shown["differences"]
            above, below = row["scores"]["cer"]
            assert shown["cer"] == pytest.approx(above / below)


def test_wandb_joins_the_answers_before_and_after(trained):
    run, _ = trained
    told = only_run(run)
    for table, name in (("before_after", "predictions"), ("before_after_replay", "predictions_replay")):
        (shown, files), then, now = (
            pages(told, table),
            read_jsonl(run / f"{name}_before.jsonl"),
            read_jsonl(run / f"{name}.jsonl"),
        )
        assert [row["id"] for row in shown] == [row["id"] for row in now]
        for row, a, b in zip(shown, then, now, strict=True):
            assert (row["before"], row["after"]) == (a["prediction"], b["prediction"])
            (up_a, down_a), (up_b, down_b) = a["scores"]["cer"], b["scores"]["cer"]
            assert row["cer change"] == pytest.approx(up_b / down_b - up_a / down_a)
            assert files[row["page"]["path"]].is_file()


def test_wandb_keeps_the_line_from_data_to_export(trained):
    run, _ = trained
    told, fingerprint = only_run(run), read_json(run / "prepared.json")["fingerprint"]
    by_type = {kind: [one for one in told.artifacts if one.type == kind] for kind in ("dataset", "adapter", "export")}
    data = {one.name: one for one in by_type["dataset"]}
    assert data.keys() == {f"data-{fingerprint}", f"data-{told.config['hash.prepared_replay']}"}
    assert all(one.use_after_commit for one in data.values())  # becomes an input of the run when synchronised
    (account,) = data[f"data-{fingerprint}"].manifest.contents
    account = json.loads(Path(account.local_path).read_text())
    assert account["fingerprint"] == fingerprint and account["pages"] and "dropped_records" not in account
    (adapter,), (export,) = by_type["adapter"], by_type["export"]
    assert {"last", "best"} <= set(adapter.aliases) and json.loads(adapter.metadata)["data"] == fingerprint
    assert not adapter.use_after_commit
    names = {entry.path for entry in adapter.manifest.contents}
    assert names == {"adapter_model.safetensors", "adapter_config.json", "medvl.json"}
    assert json.loads(export.metadata)["after/cer"] == read_json(run / "metrics.json")["after"]["cer"]
    for one in told.artifacts:  # files to upload are in the run directory
        assert all(Path(entry.local_path).is_relative_to(run.resolve()) for entry in one.manifest.contents)


def test_a_failed_run_is_marked_failed(script, tmp_path):
    long = [word for word in LONG if word != "logger=none"]
    # After so large a step the gradients are not finite.
    code, output = script("train.py", *long, "optimizer.lr=1e30", cwd=tmp_path)
    assert code == 1 and "not finite" in output, output
    told = only_run(tmp_path / "run")
    assert told.code == 1 and told.summary["state"] == "failed"


def test_a_resumed_run_keeps_its_identity(script, tmp_path):
    long = [word for word in LONG if word != "logger=none"]
    process = script("train.py", *long, cwd=tmp_path, wait=False)
    deadline = time.time() + 120
    while not (tmp_path / "run/metrics.jsonl").exists() and time.time() < deadline:
        time.sleep(0.05)
    status = read_json(tmp_path / "run/status.json")
    assert status["steps"] == 6 and 0 <= status["step"] <= 6
    process.send_signal(signal.SIGTERM)
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 143, output
    first = only_run(tmp_path / "run")
    assert first.code >= 128 and first.summary["state"] == "interrupted"
    spent_s = read_json(tmp_path / "run/status.json")["training"]["train_s"]
    code, output = script("train.py", "resume=run", cwd=tmp_path)
    assert code == 0, output
    runs = [offline_run(folder) for folder in (tmp_path / "run").glob("wandb/offline-run-*")]
    assert read_json(tmp_path / "run/metrics.json")["train"]["train_s"] > spent_s > 0
    assert len(runs) == 2 and {told.run.run_id for told in runs} == {first.run.run_id}
    assert sorted(told.code for told in runs)[0] == 0


def test_wandb_switched_off_costs_nothing(trained, script, tmp_path):
    call = (f"run={trained[0]}", "hydra.run.dir=off", "ablation=[]", "logger=wandb")
    code, output = script("evaluate.py", *call, cwd=tmp_path, env={"WANDB_MODE": "disabled"})
    assert code == 0 and not list(tmp_path.glob("off/wandb/*run*")), output


def test_tensorboard(script, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    own = [word for word in SHORT if "max_steps" not in word]
    more = ("trainer.max_steps=2", "trainer.validate_every=1", "hardware.unified_memory=true", "logger=tensorboard")
    code, output = script("train.py", *own, *more, cwd=tmp_path)
    assert code == 0 and "tensorboard --logdir run/tensorboard" in output, output
    events = EventAccumulator(str(tmp_path / "run/tensorboard"))
    events.Reload()
    tags = events.Tags()
    steps = {row["step"]: row["train/nats_per_token"] for row in rows(tmp_path / "run") if "train/lr" in row}
    assert {e.step: e.value for e in events.Scalars("train/loss")} == pytest.approx(steps)
    assert "before_after/" in " ".join(tags["tensors"]) and "audit" in tags["images"]
    assert "after/cer" in tags["scalars"] and "sys/uma_available_gib" in tags["scalars"]
    shown = read_jsonl(tmp_path / "run/predictions.jsonl")
    assert {f"predictions/{row['id']}" for row in shown} <= set(tags["images"])
    assert f"predictions/{shown[0]['id']}/text_summary" in tags["tensors"] and "gate/text_summary" in tags["tensors"]
    assert "_hparams_/session_start_info" in events.summary_metadata
    assert "lora.r: 64" in (tmp_path / "run/tensorboard/hparams.yaml").read_text()
    assert_memory_is_noted(rows(tmp_path / "run"))
    assert_the_best_adapter_stays(tmp_path / "run")
    status = read_json(tmp_path / "run/status.json")
    assert status["step"] == status["steps"] == 2


def rows(run):
    return read_jsonl(run / "metrics.jsonl")


def assert_memory_is_noted(metrics):
    noted = [row for row in metrics if "sys/uma_used_gib" in row]
    total_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    assert noted
    for row in noted:
        used, available = row["sys/uma_used_gib"], row["sys/uma_available_gib"]
        assert used > 0 and used + available == pytest.approx(total_gib, rel=0.02)


def assert_the_best_adapter_stays(run):
    best = read_json(run / "checkpoints/best/best.json")
    losses = {row["val/nats_per_token"]: row["step"] for row in rows(run) if "val/nats_per_token" in row}
    assert len(losses) == 2 and best["val/nats_per_token"] == min(losses) and best["step"] == losses[min(losses)]
    assert (run / "checkpoints/best/adapter_model.safetensors").is_file()


def test_mlflow(script, tmp_path):
    from mlflow import MlflowClient

    own = ("logger=mlflow", "logger.name=mine", "logger.notes='a first try'", "logger.group=tries", "logger.tags=[a,b]")
    code, output = script("train.py", *SHORT, *own, cwd=tmp_path)
    assert code == 0, output
    identity = read_json(tmp_path / "run/status.json")["mlflow"]
    client = MlflowClient(f"sqlite:///{tmp_path}/outputs/mlflow/mlflow.db")
    experiment = client.get_experiment_by_name("medvl")
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.run_id == identity and run.info.status == "FINISHED" and run.info.run_name == "mine"
    assert run.data.params["lora.r"] == "64" and run.data.params["group.data"] == "transcribed_forms"
    assert run.data.tags["gate"] == "unknown" and run.data.tags["job_type"] == "train"
    assert run.data.tags["mlflow.note.content"] == "a first try" and run.data.tags["group"] == "tries"
    assert run.data.tags["tags"] == "a, b" and run.data.params["effective.lora.alpha"] == "128.0"
    steps = {point.step: point.value for point in client.get_metric_history(identity, "train/loss")}
    assert steps == {row["step"]: row["train/nats_per_token"] for row in rows(tmp_path / "run") if "train/lr" in row}
    assert run.data.metrics["after/cer"] == read_json(tmp_path / "run/metrics.json")["after"]["cer"]
    (folder,) = (tmp_path / "outputs/mlflow/artifacts").iterdir()
    kept = {str(path.relative_to(folder / "artifacts")) for path in folder.rglob("*") if path.is_file()}
    assert {
        "pages/predictions.md",
        "pages/before_after.md",
        "pages/audit.png",
        "pages/differences.png",
        "data/prepared.json",
        "export/export.json",
        "adapter/best/adapter_model.safetensors",
        "adapter/last/medvl.json",
    } <= kept
    assert not (tmp_path / "mlruns").exists()
    uri = f"sqlite:///{tmp_path}/outputs/mlflow/mlflow.db"
    again = MLflow(subject_of(tmp_path / "run"), project="medvl", tracking_uri=uri)  # as a resumed run does
    assert again.run_id == identity and client.get_run(identity).info.status == "RUNNING"
    again.finish(143)
    assert client.get_run(identity).info.status == "KILLED"


def test_what_a_logger_lacks_is_said_before_a_model_is_loaded(compose, monkeypatch):
    for name, package in (("tensorboard", "tensorboard"), ("mlflow", "mlflow"), ("mlflow", "sqlalchemy")):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, package, None)  # as if it were not installed
            with pytest.raises(ValueError, match=rf'needs {package}.* pip install -e "\.\[{name}\]"'):
                compose(f"logger={name}").check_tracker()
        compose(f"logger={name}").check_tracker()
    with pytest.raises(ValueError, match=r"must be auto, online or offline, got 'of'\. Set logger\.mode=auto"):
        compose("logger.mode=of").check_tracker()
    with pytest.raises(ValueError, match=r"a name of up to 128 characters. Set logger\.name="):
        compose(f"logger.name={'a' * 129}").check_tracker()
    with pytest.raises(ValueError, match=r"logger\.notes must be a word, got 7"):
        compose("logger.notes=7").check_tracker()
    with pytest.raises(ValueError, match=r"Set logger\.tracking_uri=sqlite"):
        compose("logger=mlflow", "logger.tracking_uri=outputs/mlruns").check_tracker()
    with pytest.raises(ValueError, match=r"_target_='builtins\.dict' is not allowed here"):
        compose("logger._target_=builtins.dict").check_tracker()
    compose("logger=none").check_tracker()


def subject_of(folder):
    return Subject(record=Record(folder), columns={}, name="run", group=None, job_type="train", private=False)


def test_the_best_adapter_is_one_of_a_finite_loss_and_of_steps_that_stand(load_nano, tmp_path):
    learner = Learner(
        Lora(r=2).apply(load_nano()[0]), torch.optim.AdamW, steps=1, warmup=0, clip=1, adapter_metadata={}
    )
    best = Best(Record(tmp_path))

    def validated(step, value):
        told = {"val/nats_per_token": torch.tensor(value)}
        trainer = SimpleNamespace(callback_metrics=told, is_global_zero=True, global_step=step, should_stop=False)
        best.on_validation_end(trainer, learner)
        return (read_json(best.folder / "best.json") or {}).get("step")

    nan = float("nan")
    assert [validated(*one) for one in ((1, nan), (2, 3.0), (3, nan), (4, 3.0), (5, 2.0))] == [None, 2, 2, 2, 5]
    for step, stays in ((5, True), (4, False), (0, False)):
        best.on_train_start(SimpleNamespace(is_global_zero=True, global_step=step), learner)
        assert best.folder.exists() == stays


def test_the_sessions_of_a_run_cost_their_sum():
    def session(before, *joules):
        readings = iter(joules)
        meter = Meter([Counter(lambda: next(readings))] if joules else [], "", "")
        return Cost(before=before, energy=meter, peak=lambda prefix: {f"{prefix}peak_mib": 7.0}).read()

    first = session({}, 10.0, 30.0)
    second = session({**first, "train_s": 100.0, "train_peak_mib": 9.0}, 5.0, 6.0)
    assert first["energy_j"] == 20 and second["energy_j"] == 21
    assert 0 <= first["train_s"] < 5 and 100 < second["train_s"] < 105
    assert first["train_peak_mib"] == 7 and second["train_peak_mib"] == 9
    assert "energy_j" not in session(session({}), 5.0, 6.0)  # the first was not measured
