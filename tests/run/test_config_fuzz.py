"""Any config.yaml beside a finished run either is a composition or is refused in a sentence; nothing in it is run."""

import copy
import os

import hydra
import pytest
import yaml
from conftest import ROOT
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medvl.run import composition
from medvl.run.config import resolve

SECRET = "hf_9876543210"
BOUNDED = settings(
    max_examples=40,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
WORDS = st.sampled_from(
    [
        *(
            "",
            "${oc.env:HF_TOKEN}",
            "${seed}",
            "???",
            "null",
            "1e400",
            "../..",
            "/dev/zero",
            "a" * 400,
            "\ud800",
            "\0",
            "µ",
        ),
        *("os.system", "torch.load", "medvl.tracking.Wandb", "!!python/object/apply:os.abort []"),
    ]
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), WORDS),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["_target_", "_args_", "lr", "path", "0", "surprise"]), inner, max_size=3),
    ),
    max_leaves=5,
)


@pytest.fixture(scope="module")
def plain():
    """Compose with Hydra initialised for the whole module, and return the default composition as plain containers."""
    with hydra.initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        yield composition.to_dict(hydra.compose("run"))


def paths(node, prefix=()):
    for key, value in node.items():
        yield (*prefix, key)
        if isinstance(value, dict):
            yield from paths(value, (*prefix, key))


def judged(folder, data, resume):
    """Restore and resolve a saved composition; return it, or None if it was refused in a sentence."""
    (folder / "config.yaml").write_bytes(data)
    try:
        cfg, _ = composition.restored(folder / "config.yaml", {}, [], resume=resume)
        config = resolve(cfg)
        config.make_optimizer()
        config.check_tracker()
    except ValueError as refusal:
        assert str(refusal).strip() and SECRET not in str(refusal)
        return None
    assert SECRET not in composition.to_yaml(cfg)
    return config


@BOUNDED
@given(data=st.data())
def test_changed_values_are_taken_or_refused(plain, tmp_path, monkeypatch, data):
    monkeypatch.setenv("HF_TOKEN", SECRET)
    monkeypatch.setattr(os, "system", lambda command: pytest.fail("it was called"))
    values = copy.deepcopy(plain)
    for _ in range(data.draw(st.integers(1, 3))):
        *way, last = data.draw(st.sampled_from(sorted(paths(values))))
        node = values
        for key in way:
            node = node[key]
        if data.draw(st.booleans()):
            node[last] = data.draw(VALUES)
        else:
            node.pop(last)
    text = yaml.safe_dump(values, allow_unicode=True).encode("utf-8", "surrogatepass")
    judged(tmp_path, text, resume=data.draw(st.booleans()))


@BOUNDED
@given(at=st.integers(0, 5000), junk=st.binary(min_size=1, max_size=8), cut=st.integers(0, 8))
def test_damaged_bytes_are_taken_or_refused(plain, tmp_path, at, junk, cut):
    whole = yaml.safe_dump(plain).encode()
    at %= len(whole)
    judged(tmp_path, whole[:at] + junk + whole[at + cut :], resume=True)


def test_the_untouched_composition_is_taken(plain, tmp_path):
    assert judged(tmp_path, yaml.safe_dump(plain).encode(), resume=False) is not None
