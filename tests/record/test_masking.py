"""Secrets in URLs stay out of everything that is recorded, printed or sent; records are their owner's alone."""

import json
import os
import stat

import pytest

from medvl.record.directory import Record
from medvl.record.files import append_json, read_json, write_text
from medvl.record.masking import masked, without_secrets
from medvl.sweeping.plan import Planned, SweepPlan

SECRET = "s3cret"
PLAIN = [
    "E-Mail:ada@example.org",
    "mailto:ada@example.org",
    "Contact:ada@example.org is right",
    "at 12:30@noon",
    "C:\\a@b\\c",
    "http://h:80 is down, ask ada@example.org",
    "nginx:1.2@sha256:12ab",
    "git@github.com:a/b.git",
    "{'a': 'https://h:5000', 'b': 'm@x.org'}",
]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"https://ada:{SECRET}@host:5000/x", "https://***@host:5000/x"),
        (f"logger.tracking_uri='https://{SECRET}@host'", "logger.tracking_uri='https://***@host'"),
        (f"postgresql+psycopg://ada:{SECRET}/@x@db/medvl", "postgresql+psycopg://***@db/medvl"),
        (f"mysql://db/medvl?user=ada&password={SECRET}&ssl=1", "mysql://db/medvl?user=ada&password=***&ssl=1"),
        (f"https://host/data?X-Amz-Signature={SECRET}", "https://host/data?X-Amz-Signature=***"),
        (f"https://x.blob.net/c?sv=1&sig={SECRET}", "https://x.blob.net/c?sv=1&sig=***"),
        (f"odbc://db?a=1;PWD={SECRET};b=2", "odbc://db?a=1;PWD=***;b=2"),
        (f"https://host/#access_token={SECRET}", "https://host/#access_token=***"),
        (f"s3://bucket?access_key={SECRET}", "s3://bucket?access_key=***"),
        (f"cannot reach http://ada:{SECRET}@h/ twice: http://h/", "cannot reach http://***@h/ twice: http://h/"),
        (f"logger.tracking_uri=ada:{SECRET}@host:5000/x", "logger.tracking_uri=***@host:5000/x"),
        (f"cannot reach ada:{SECRET}@db:5432 today", "cannot reach ***@db:5432 today"),
        (f"at https://ada:a b {SECRET}@host/x it ends", "at https://***@host/x it ends"),
        (f"https://ada:it's\"{SECRET}@host", "https://***@host"),
        (f"https://h/?password=it's{SECRET}&x=1", "https://h/?password=***&x=1"),
        (f"mssql:///?odbc_connect=UID%3Da%3BPWD%3D{SECRET}%3Bx", "mssql:///?odbc_connect=UID%3Da%3BPWD%3D***%3Bx"),
        (f"https://h/?next=https%3A%2F%2Fada%3A{SECRET}%40h%2Fx", "https://h/?next=https%3A%2F%2F***%40h%2Fx"),
        (f"engine.key={SECRET} a=b", "engine.key=*** a=b"),  # for the name of a variable
        (f"serve.key={SECRET} a=b", "serve.key=*** a=b"),
        ("['engine.key=OPENAI_API_KEY', 'engine.key=null']", "['engine.key=OPENAI_API_KEY', 'engine.key=null']"),
        *((text, text) for text in PLAIN),
        ("sqlite:///outputs/mlflow/mlflow.db", "sqlite:///outputs/mlflow/mlflow.db"),
        (
            "https://host/page?batch.tokens=4096 eval.max_new_tokens=8",
            "https://host/page?batch.tokens=4096 eval.max_new_tokens=8",
        ),
        ("write to ada@example.org", "write to ada@example.org"),
    ],
)
def test_secrets_of_urls_are_masked(text, shown):
    assert masked(text) == shown
    assert without_secrets({"a": [text, 1, None], "b": {"c": text}}) == {"a": [shown, 1, None], "b": {"c": shown}}


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (f"https://ada:a b/{SECRET}@x@host", "https://***@host"),
        (f"k='https://h/?token=a {SECRET}'", "k='https://h/?token=***'"),
    ],
)
def test_a_value_that_is_a_url_may_hold_anything(value, shown):
    assert without_secrets([value]) == [shown]


def test_nothing_that_a_run_records_holds_a_secret(tmp_path):
    url = f"https://ada:{SECRET}@host"
    record = Record(tmp_path / "run")
    record.open(f"logger:\n  tracking_uri: {url}\n", overrides=[f"logger.tracking_uri={url}"], choices={})
    record.status("failed", error=f"cannot reach {url}", traceback=f"Traceback ... {url}")
    plan = SweepPlan(folder=tmp_path / "sweep", script="train", jobs=[Planned("a", [f"logger.tracking_uri={url}"])])
    plan.search = {"storage": f"postgresql://ada:{SECRET}@db/x", "study": None, "objectives": [], "trials": 1}
    plan.command = ["train.py", f"hydra.sweeper.storage=postgresql://ada:{SECRET}@db/x"]
    plan.write()
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) == 4 and not [path for path in written if SECRET in path.read_text()]
    assert read_json(tmp_path / "run/status.json")["error"] == "cannot reach https://***@host"


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("logger.tracking_uri=file:", "file://***@host/x"),
        ("nonsense=file:", "there is no nonsense"),  # whose value is not shown at all
        ("tracking_uri=file:", "file://***@host/x"),
        ("logger.nonsense=https:", "https://***@host/x"),
    ],
)
def test_a_refusal_does_not_print_a_secret(script, tmp_path, word, said):
    code, output = script("train.py", "logger=mlflow", f"{word}//ada:{SECRET}@host/x", cwd=tmp_path)
    assert code == 2 and said in output and SECRET not in output


def test_records_are_readable_by_their_owner_only(tmp_path):
    before = os.umask(0o022)
    try:
        record = Record(tmp_path / "run")
        record.predictions([{"id": "a"}])
        record.metrics({"step": 1})
        write_text(tmp_path / "run/examples.jsonl", json.dumps({}))
        append_json(tmp_path / "run/more.jsonl", [{}])
    finally:
        os.umask(before)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "run").iterdir()}
    assert len(modes) == 4 and set(modes.values()) == {0o600}, modes
    assert stat.S_IMODE((tmp_path / "run").stat().st_mode) == 0o700
