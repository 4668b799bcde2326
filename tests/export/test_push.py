"""medvl push: an export goes to the hub as it was scored, with its card, and nothing else; a fake hub stands in."""

import json
from types import SimpleNamespace

import httpx2
import huggingface_hub
import pytest

from medvl.export.card import write_card
from medvl.export.push import push
from medvl.record.files import read_json

REPO = "repo=clinic/reader"
SUMMARY = {"examples": 2, "cer_text": 0.0864}
FACTS = {
    "format": "merged",
    "scheme": None,
    "merged_into": "dequantised",
    "base": {"name": "nano", "revision": None, "licence": "apache-2.0", "architecture": "ab"},
    "run": {
        **dict.fromkeys(("commit", "finished", "precision", "data", "data_hash", "gate")),
        "name": "a_run",
        "checkpoint": "step-000038",
        "scores": {},
    },
    "medvl": {"version": "0.1.0", "commit": "c"},
    "pixels": {"min_pixels": 3136, "max_pixels": 1003520},
    "prompt": "Read.",
    "adapter": "ad",
    "engine": "medvl",
    "eval": "held_out",
    "tensors": 1,
    "quantised": 0,
    "bytes": 4,
    "parity": {"logits": [], "answers": None},
    "scores": {"summary": SUMMARY, "intervals": {"cer_text": [0.058, 0.121]}},
    "publishable": True,
    "why": [],
}


def written(folder, **changes):
    """Return an export as medvl writes it, with files beside it that are none of it."""
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"abcd")
    (folder / "config.json").write_text("{}")
    write_card(folder, {**FACTS, **changes})
    (folder / "predictions.jsonl").write_text("{}")
    (folder / "pages").mkdir()
    return folder


@pytest.fixture
def export(tmp_path):
    return written(tmp_path / "merged")


class Hub:
    """Stands in for huggingface_hub.HfApi."""

    def __init__(self, private=True, files=(".gitattributes",), fails=None):
        self.private, self.files, self.fails = private, list(files), fails
        self.made, self.commits, self.token = [], [], None

    def __call__(self, token):
        self.token = token
        return self

    def create_repo(self, repo, **options):
        if self.fails:
            raise self.fails
        self.made.append((repo, options))

    def repo_info(self, repo):
        return SimpleNamespace(private=self.private, sha="0" * 40)

    def list_repo_files(self, repo):
        return self.files

    def create_commit(self, repo, operations, **options):
        self.commits.append((repo, operations, options))
        return SimpleNamespace(commit_url=f"https://huggingface.co/{repo}/commit/1")


@pytest.fixture
def hub(monkeypatch):
    """Return a function that puts a hub in the place of the library's, with someone logged in."""

    def put(**options):
        one = Hub(**options)
        monkeypatch.setattr(huggingface_hub, "HfApi", one)
        monkeypatch.setattr(huggingface_hub, "get_token", lambda: "hf_secret")
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        return one

    return put


def test_without_yes_it_says_what_would_be_sent(export, hub):
    none = hub()
    told = push([str(export), REPO])
    assert not none.made and not none.commits and none.token is None
    first, *lines = told.splitlines()
    assert first == f"{export} to https://huggingface.co/clinic/reader, private:"
    assert [line.split()[-1] for line in lines[:4]] == ["config.json", "model.safetensors", "README.md", "export.json"]
    assert "base nano, licence apache-2.0" in told and "8.64 % [5.8, 12.1]" in told and "\npublishable\n" in told
    assert "stays here: pages, predictions.jsonl" in told and "edited" not in told
    assert lines[-1] == "Nothing was sent. The same with --yes sends it."


def test_what_was_scored_is_sent_with_its_card_and_nothing_else(export, hub):
    one = hub()
    told = push([str(export), REPO, "--yes"])
    assert told.endswith("sent: https://huggingface.co/clinic/reader/commit/1") and "hf_secret" not in told
    assert one.made == [("clinic/reader", {"private": True, "exist_ok": True})] and one.token == "hf_secret"
    ((repo, operations, options),) = one.commits
    assert repo == "clinic/reader" and options["parent_commit"] == "0" * 40
    assert options["commit_message"] == "merged of a_run, by medvl"
    sent = {operation.path_in_repo: operation.path_or_fileobj for operation in operations}
    assert sent == {
        name: str(export / name) for name in ("model.safetensors", "config.json", "README.md", "export.json")
    }


def test_an_earlier_export_is_replaced_whole(export, hub):
    one = hub(files=[".gitattributes", "export.json", "model-00001-of-00002.safetensors", "README.md"], private=False)
    push([str(export), REPO, "--public", "--yes"])
    deleted = [each.path_in_repo for each in one.commits[0][1] if not hasattr(each, "path_or_fileobj")]
    assert deleted == ["model-00001-of-00002.safetensors"] and one.made[0][1]["private"] is False


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"private": False}, r"clinic/reader is public already\. Add --public"),
        ({"files": ["thesis.pdf"]}, r"holds something else, such as thesis\.pdf\. Set repo="),
        (
            {"fails": httpx2.ConnectError("no route for hf_secret")},
            r"did not take clinic/reader: ConnectError: no route for \*\*\*",
        ),
    ],
)
def test_a_hub_that_does_not_take_it(export, hub, options, said):
    one = hub(**options)
    with pytest.raises(ValueError, match=said):
        push([str(export), REPO, "--yes"])
    assert not one.commits


def test_no_one_is_logged_in(export, hub, monkeypatch):
    hub()
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    with pytest.raises(ValueError, match=r"Run hf auth login, or set HF_TOKEN"):
        push([str(export), REPO, "--yes"])
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match="HF_HUB_OFFLINE forbids"):
        push([str(export), REPO, "--yes"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda folder: (folder / "model.safetensors").write_bytes(b"abce"), "model.safetensors is missing or not the"),
        (lambda folder: (folder / "config.json").unlink(), "config.json is missing or not the file that was scored"),
        (lambda folder: (folder / "README.md").unlink(), "lacks its card"),
        (lambda folder: (folder / "export.json").unlink(), "is no export. Name one that medvl export has written"),
        (lambda folder: (folder / "README.md").write_text("# no front matter"), "the licence of the base is not known"),
    ],
)
def test_a_folder_that_is_not_what_was_scored_is_refused(export, change, said):
    change(export)
    with pytest.raises(ValueError, match=said):
        push([str(export), REPO, "force=true"])


def test_an_export_without_hashes_is_refused(export):
    facts = read_json(export / "export.json")
    assert facts["files"].keys() == {"model.safetensors", "config.json"}
    (export / "export.json").write_text(json.dumps({name: one for name, one in facts.items() if name != "files"}))
    with pytest.raises(ValueError, match="recorded no hashes"):
        push([str(export), REPO])


def test_the_gate_and_the_licence_are_asked(tmp_path):
    worse = written(tmp_path / "worse", publishable=False, why=["The export is worse than the run's model."])
    with pytest.raises(ValueError, match=r"not marked publishable: The export is worse.*Set force=true"):
        push([str(worse), REPO])
    assert "\nnot marked publishable: The export is worse" in push([str(worse), REPO, "force=true"])
    unknown = written(tmp_path / "unknown", base={**FACTS["base"], "licence": "unknown"})
    with pytest.raises(ValueError, match=r"Write it into the front matter of .*README\.md"):
        push([str(unknown), REPO, "force=true"])
    card = unknown / "README.md"
    card.write_text(card.read_text().replace("license: other", "license: other\nlicense_name: house-rules"))
    told = push([str(unknown), REPO])
    assert "licence house-rules" in told and "README.md was edited since it was written" in told


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "0 folders were named; usage: medvl push"),
        (["a", "b", REPO], "2 folders were named"),
        (["a", REPO, "--dry-run"], "there is no option --dry-run"),
        (["a", "force=yes", REPO], "there is no option force=yes"),
        (["a"], r"repo= is no name of a model on the hub\. Set repo=<name>/<model>"),
        (["a", "repo=reader"], "repo=reader is no name"),
        (["a", REPO], "a is no export"),
    ],
)
def test_mistakes(words, said):
    with pytest.raises(ValueError, match=said):
        push(words)
