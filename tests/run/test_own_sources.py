"""A data set's class from outside of the package: the command line may name it, a run's record may not."""

import json
import sys
from importlib.metadata import EntryPoint

import hydra
import pytest
import yaml
from conftest import QUIET, ROOT

from medvl.run import composition, own_sources
from medvl.run.config import SCHEMAS, resolve
from medvl.run.own_sources import admitted

MODULE = '''
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from medvl.data.sources.source import Dropped, Source
from medvl.types import Document

Path(__file__).with_name("imported").touch()


@dataclass(kw_only=True)
class Lines(Source):
    """Each line of a text file is a note."""

    path: str | None = "lines.txt"
    capitals: bool = False

    def documents(self) -> Iterator[Document | Dropped]:
        for number, line in enumerate(Path(self.path or "").read_text().splitlines(), 1):
            if not line.strip():
                yield Dropped(f"line {number}", "a blank line")
                continue
            text = line.upper() if self.capitals else line
            yield Document(id=f"line-{number}", text=text, kind="line")


class Idle(Source):
    pass


class Plain(Lines):
    depth: int = 3


@dataclass(kw_only=True)
class Odd(Lines):
    made: complex = 1j


class Other:
    pass
'''
CLASS = "their_module.Lines"


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module of a user's, in the working directory, which is not yet on Python's path."""
    (tmp_path / "their_module.py").write_text(MODULE)
    (tmp_path / "lines.txt").write_text("a cough\n\nrest and fluids\nall is well\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [name for name in sys.path if name])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield tmp_path
    sys.modules.pop("their_module", None)
    forget()


def forget():
    """Undo what `admitted` has registered."""
    for name in [name for name in SCHEMAS if name.startswith("their")]:
        del SCHEMAS[name]
        own_sources.ConfigStore.instance().repo["data"].pop(f"{name}.yaml")


@pytest.fixture
def composed():
    with hydra.initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        yield lambda *words: hydra.compose("run", overrides=admitted(list(words)))


def record(folder, cfg, group=CLASS):
    """Write a run's record of a composition; return config.yaml and the groups."""
    folder.mkdir(exist_ok=True)
    values = json.loads(json.dumps(composition.to_dict(cfg)))
    (folder / "config.yaml").write_text(yaml.safe_dump(values))
    return folder / "config.yaml", {"choices": {"groups": {"data": group}}}


@pytest.mark.parametrize("word", [f"data._source_={CLASS}", f"data={CLASS}", f"data._source_='{CLASS}'"])
def test_the_command_line_names_a_class(module, composed, word):
    data = resolve(composed(word, "data.capitals=true")).data
    assert type(data).__name__ == "Lines" and data.capitals
    assert [item.text for item in data.read() if hasattr(item, "text")] == ["A COUGH", "REST AND FLUIDS", "ALL IS WELL"]


def test_an_entry_point_is_an_option(module, composed, monkeypatch):
    point = EntryPoint("their_set", CLASS.replace(".Lines", ":Lines"), own_sources.ENTRY_POINTS)
    sys.path.append(str(module))
    monkeypatch.setattr(own_sources, "entry_points", lambda group, name: [point] if name == point.name else [])
    assert type(resolve(composed("data=their_set")).data).__name__ == "Lines"
    monkeypatch.setattr(own_sources, "entry_points", lambda **_: pytest.fail("mtsamples comes with the package"))
    assert admitted(["data=mtsamples"]) == ["data=mtsamples"]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("data._source_=Lines", r"names no class. Set data\._source_=<module>\.<class>"),
        ("data._source_=", r"names no class. Set data\._source_=<module>\.<class>"),
        ("data._source_=nowhere.Lines", r"no module nowhere in the working directory.* Set data\._source_="),
        (
            "data._source_=their_module.Nothing",
            r"their_module has no Nothing. Set data\._source_=their_module\.<class>",
        ),
        ("data._source_=their_module.Other", "no class that extends .*Source and has its own documents"),
        ("data._source_=their_module.Idle", "no class that extends .*Source and has its own documents"),
        ("data._source_=their_module.Path", "no class that extends .*Source"),
        ("data._source_=their_module.Plain", r"an option depth, but is no dataclass. Write @dataclass"),
        ("data._source_=their_module.Odd", "an option of their_module.Odd has a type that Hydra does not know"),
    ],
)
def test_what_is_no_data_set_is_refused_in_a_sentence(module, word, message):
    with pytest.raises(ValueError, match=message):
        admitted([word])


@pytest.mark.parametrize(
    "word", ["data=glob(*)", "data=null", "data=" + "x" * 300, "data=a,b", "data.path=a.b", "data=\0"]
)
def test_other_words_are_left_as_they_are(word):
    assert admitted([word]) == [word]


def test_a_module_that_lacks_another_is_not_called_missing(module):
    (module / "their_module.py").write_text("import no_such_package")
    with pytest.raises(ValueError, match="their_module needs no_such_package, which is not installed here"):
        admitted([f"data._source_={CLASS}"])


@pytest.mark.parametrize("group", [CLASS, "their_set", "os.path", "../../conf/data/mtsamples", "data._source_"])
@pytest.mark.parametrize("resume", [False, True])
def test_a_record_cannot_choose_a_class(module, composed, tmp_path, group, resume):
    path, environment = record(tmp_path / "run", composed(), group)
    sys.path.append(str(module))
    with pytest.raises(ValueError, match=r"name it again, as a record may choose none: data\._source_="):
        composition.recorded_groups(environment)
    values = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump({**values, "data": {**values["data"], "_source_": CLASS}}))
    with pytest.raises(ValueError, match=r"Set |Leave out|Name another"):
        resolve(composition.restored(path, {}, [], resume=resume)[0])
    assert not (module / "imported").exists() and "their_module" not in sys.modules


@pytest.mark.parametrize("resume", [False, True])
def test_a_run_goes_on_when_its_class_is_named_again(module, composed, tmp_path, resume):
    path, environment = record(tmp_path / "run", composed(f"data._source_={CLASS}", "data.capitals=true"))
    words = admitted([f"data._source_={CLASS}"])
    cfg, groups = composition.restored(path, composition.recorded_groups(environment, words), words, resume=resume)
    assert groups["data"] == CLASS and resolve(cfg).data.capitals


def test_other_data_need_no_class_of_the_run(module, composed, tmp_path):
    path, environment = record(tmp_path / "run", composed(f"data._source_={CLASS}"))
    forget()
    words = ["data=mtsamples"]
    cfg, groups = composition.restored(path, composition.recorded_groups(environment, words), words, resume=False)
    assert groups["data"] == "mtsamples" and type(resolve(cfg).data).__name__ == "MTSamples"


def test_the_key_of_prepared_data_covers_the_code(module):
    admitted([f"data._source_={CLASS}"])
    before = SCHEMAS[CLASS]().fingerprint()
    assert before == SCHEMAS[CLASS]().fingerprint()
    (module / "their_module.py").write_text(MODULE + "# changed")
    assert SCHEMAS[CLASS]().fingerprint() != before


def test_a_script_trains_on_it_and_asks_for_it_again(module, script):
    words = [word for word in QUIET if not word.startswith("data.limit")]
    quick = [*words, "trainer.max_steps=2", "eval.before=false", "hydra.run.dir=run"]
    code, output = script("train.py", f"data._source_={CLASS}", *quick, cwd=module)
    assert code == 0, output
    code, output = script("evaluate.py", "run=run", "eval.limit=1", "ablation=[]", "logger=none", cwd=module)
    assert code == 2 and f"data._source_={CLASS}" in output and "Traceback" not in output
    code, output = script("train.py", "resume=run", f"data._source_={CLASS}", "trainer.max_steps=3", cwd=module)
    assert code == 0, output
