"""A llama.cpp is found where it is, told how to serve a model, and ended whatever happens."""

import json
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from medvl.generation.llama_cpp import PACKAGE, PLACE, QUANTIZER, SERVER, GgufModel, LlamaCpp, gguf_too

MODEL = GgufModel(
    model=Path("model.gguf"),
    projector=Path("mmproj.gguf"),
    name="medvl",
    min_pixels=3136,
    max_pixels=1003520,
    context=6000,
)


@pytest.fixture
def program(tmp_path):
    """Return a function that writes an executable of some lines of Python."""

    def write(text, name=SERVER):
        file = tmp_path / name
        file.write_text(f"#!{sys.executable}\n{text}\n")
        file.chmod(0o755)
        return str(file)

    return write


@pytest.mark.parametrize("fails", [False, True])
def test_a_server_is_told_what_to_serve_and_ends_with_the_block(fake_llama, tmp_path, fails):
    def ask():
        with LlamaCpp(program=fake_llama).serve(MODEL) as url:
            asked.append(url)
            assert urllib.request.urlopen(f"{url}/models").status == 200
            assert not fails, "as a user of the block might"

    asked = []
    if fails:
        with pytest.raises(AssertionError, match="as a user"):
            ask()
    else:
        ask()
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"{asked[0]}/models", timeout=5)
    told = json.loads(Path(f"{fake_llama}.json").read_text())
    options = dict(zip(told[::2], told[1::2], strict=False))
    assert options["--image-min-tokens"] == "4" and options["--image-max-tokens"] == "1280"
    assert options["--host"] == "127.0.0.1" and options["--mmproj"] == "mmproj.gguf" and options["--ctx-size"] == "6000"


def test_a_server_that_ends_shows_its_log(program):
    name = program("import sys; sys.exit('error loading model: no such file')")
    with (
        pytest.raises(ValueError, match=r"llama-server ended with 1 before it answered: error loading model"),
        LlamaCpp(program=name).serve(MODEL),
    ):
        pass


def test_it_is_found_where_it_is_named(program, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    monkeypatch.delenv(PLACE, raising=False)
    with pytest.raises(ValueError, match=rf"there is none here\. Install llama\.cpp.*npm install.*{PLACE}="):
        LlamaCpp.find()
    with pytest.raises(ValueError, match=f"no {QUANTIZER} on the PATH.*Set|set format=gguf_q8_0"):
        LlamaCpp.quantizer()
    monkeypatch.setenv(PLACE, str(tmp_path))
    with pytest.raises(ValueError, match=f"is neither {SERVER} nor a folder with {PACKAGE}"):
        LlamaCpp.find()
    (tmp_path / "node_modules" / PACKAGE).mkdir(parents=True)
    with pytest.raises(ValueError, match="no node on the PATH"):
        LlamaCpp.find()
    server, quantizer = program("print('version: 11434 (abc)')"), program("", QUANTIZER)
    monkeypatch.setenv(PLACE, server)
    assert LlamaCpp.find() == LlamaCpp(program=server) and str(LlamaCpp.quantizer()) == quantizer
    assert LlamaCpp.find().described() == "llama-server 11434 (abc)"
    monkeypatch.delenv(PLACE)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert LlamaCpp.find().program == server and LlamaCpp.find().tells_probabilities


def test_the_npm_package_is_run_by_node(program, monkeypatch, tmp_path):
    package = tmp_path / "node_modules" / PACKAGE
    package.mkdir(parents=True)
    (package / "package.json").write_text('{"version": "1.7.15"}')
    node = program("", "node")
    monkeypatch.setenv(PLACE, str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    found = LlamaCpp.find()
    assert found.described() == f"{PACKAGE} 1.7.15" and not found.tells_probabilities
    name, script, options = found.command(MODEL, 8080)
    assert name == node and Path(script).is_file()
    told = json.loads(options)
    assert (told["port"], told["min_tokens"], told["max_tokens"], told["context"]) == (8080, 4, 1280, 6000)


def test_a_sweep_takes_the_gguf_formats_that_can_be_read_and_written_here(program, monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv(PLACE, raising=False)
    assert gguf_too("adapter,merged") == "adapter,merged"
    monkeypatch.setenv(PLACE, program(""))
    assert gguf_too("adapter") == "adapter,gguf,gguf_q8_0"
    program("", name=QUANTIZER)
    assert gguf_too("adapter") == "adapter,gguf,gguf_q8_0,gguf_q4_k_m"
