"""The directory of a run: claimed by one process, timed without the clock, ended by signals."""

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from medvl.record.directory import Record, claim, outcome, run_dir
from medvl.record.files import read_json, read_jsonl
from medvl.record.lock import locked
from medvl.record.signals import stoppable
from medvl.reporting.gallery import page_file


def claim_five(base, start, taken):
    start.wait()
    taken.put([str(claim(base)) for _ in range(5)])


def test_processes_that_start_together_get_directories_of_their_own(tmp_path):
    context = multiprocessing.get_context("fork")
    start, taken, base = context.Event(), context.Queue(), tmp_path / "outputs/train/2026-11-27_02-00-00"
    processes = [context.Process(target=claim_five, args=(base, start, taken)) for _ in range(4)]
    for process in processes:
        process.start()
    start.set()
    names = [Path(name) for _ in processes for name in taken.get(timeout=20)]
    for process in processes:
        process.join()
    assert len(set(names)) == len(names) == 20 and all(name.is_dir() for name in names)
    assert {name.name for name in names} == {base.name, *(f"{base.name}-{number}" for number in range(2, 21))}


def test_naming_a_directory_creates_nothing(tmp_path, monkeypatch):
    """Its resolver also runs for --cfg and --help."""
    monkeypatch.chdir(tmp_path)
    run_dir.cache_clear()
    assert run_dir("train", None).startswith("outputs/train/20") and not os.listdir(tmp_path)
    assert run_dir("train", "there") == "there" and run_dir("evaluate", "there").startswith("outputs/evaluate/")
    run_dir.cache_clear()


def test_a_directory_below_a_file_or_a_dangling_link_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to("nowhere")
    for parent in ("file", "link"):
        with pytest.raises(OSError):
            claim(tmp_path / parent / "run")


def test_clocks_that_are_set_back_do_not_make_time_negative(tmp_path, monkeypatch):
    record = Record(tmp_path)
    record.open("")
    real = time.time()
    monkeypatch.setattr(time, "time", lambda: real - 3600)
    time.sleep(0.11)
    record.status("done")
    assert 0.1 <= read_json(tmp_path / "status.json")["worked_s"] < 60


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_run_with_a_status_and_one_line(tmp_path, caplog, number):
    record = Record(tmp_path)
    with pytest.raises(SystemExit) as stop, outcome(record, "python train.py resume=run goes on"):
        record.status("running", step=7, steps=16)
        os.kill(os.getpid(), number)
        time.sleep(5)
    assert stop.value.code == 128 + number
    status = read_json(tmp_path / "status.json")
    assert (status["state"], status["error"]) == ("interrupted", signal.Signals(number).name)
    assert caplog.messages == ["interrupted at step 7 of 16; python train.py resume=run goes on"]


def test_what_ended_before_its_first_step_is_interrupted_too(tmp_path, caplog):
    record = Record(tmp_path)
    with pytest.raises(SystemExit), outcome(record):
        record.status("running")
        raise KeyboardInterrupt
    assert read_json(tmp_path / "status.json")["state"] == "interrupted"
    assert caplog.messages == ["interrupted; the same command starts over"]


def test_a_signal_ends_the_outer_of_two_blocks_only_once():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as stop, stoppable(), stoppable():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
    assert stop.value.code == 143 and signal.getsignal(signal.SIGTERM) is before


def run(code, *, stdout=subprocess.PIPE, **options):
    """Run a program within `console()`; return its process."""
    lines = ["import os, signal, sys, time", "from medvl.record.console import console", "with console():"]
    text = "\n".join([*lines, textwrap.indent(textwrap.dedent(code), "    ")])
    environment = {**os.environ, **options.pop("env", {})}
    return subprocess.run(
        [sys.executable, "-c", text], stdout=stdout, stderr=subprocess.PIPE, env=environment, timeout=60, **options
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_outside_of_a_run_ends_in_one_line(number):
    done = run(f"os.kill(os.getpid(), {int(number)}); time.sleep(9)")
    assert done.returncode == 128 + number and done.stderr == b"interrupted; the same command starts over\n"


def test_a_second_ctrl_c_ends_at_once():
    code = """
    try:
        os.kill(os.getpid(), signal.SIGINT); time.sleep(9)
    finally:
        os.kill(os.getpid(), signal.SIGINT); time.sleep(9); print("too late")
    """
    done = run(code)
    assert done.returncode == 130 and not done.stdout and not done.stderr


def test_nohup_is_respected():
    done = run(
        "os.kill(os.getpid(), signal.SIGHUP); print('alive')",
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )
    assert done.returncode == 0 and done.stdout == b"alive\n"


@pytest.mark.parametrize("settings", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}])
def test_a_terminal_without_the_characters_gets_their_escapes(settings):
    done = run(r"print('5 \u00b5g \u2192 \ud800 done')", env={"PYTHONCOERCECLOCALE": "0", **settings})
    assert done.returncode == 0 and done.stdout.endswith(b"\\ud800 done\n"), done


def test_a_reader_that_leaves_ends_nothing():
    """As in `medvl status | head -1`."""
    read, write = os.pipe()
    os.close(read)
    done = run("import logging\nfor _ in range(9999): print('line')\nsys.exit(3)", stdout=write)
    os.close(write)
    assert done.returncode == 3 and not done.stderr


def test_an_unusable_folder_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    for wrong, said in (("file/run", b"Not a directory"), ("a" * 300, b"File name too long"), ("file", b"File exists")):
        done = run(f"os.mkdir({str(tmp_path / wrong)!r})")
        assert done.returncode == 2 and done.stderr.startswith(b"error: ") and done.stderr.count(b"\n") == 1
        assert said in done.stderr and b"hydra.run.dir=, cache=, export= or data.path=" in done.stderr
    done = run("raise OSError(5000, 'odd')")
    assert done.returncode == 1 and b"Traceback" in done.stderr


def test_a_full_disk_is_one_sentence_and_leaves_nothing_half_written(tmp_path):
    code = f"""
    import resource
    from pathlib import Path
    from medvl.record.files import write_bytes, write_text
    folder = Path({str(tmp_path)!r})
    write_text(folder / "train.json", "before")
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
    write_bytes(folder / "train.json", b"x" * 9000)
    """
    done = run(code)
    assert done.returncode == 2 and b"Traceback" not in done.stderr and b"Free some space there" in done.stderr, done
    assert os.listdir(tmp_path) == ["train.json"] and (tmp_path / "train.json").read_text() == "before"


def as_stranger(work):
    """Run a function in a process that is another, unprivileged user; return the text that it returns."""
    context = multiprocessing.get_context("fork")
    said = context.Queue()

    def be():
        if os.getuid() == 0:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
        said.put(work())

    process = context.Process(target=be)
    process.start()
    process.join(20)
    return said.get(timeout=5)


def try_lock(folder):
    try:
        with locked(folder):
            return "locked"
    except ValueError as error:
        return str(error)


@pytest.fixture
def open_folder(tmp_path):
    """A folder that every user can reach and write to."""
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o777)
        yield Path(name)


def test_a_lock_that_another_user_left_is_replaced_where_that_is_allowed(open_folder):
    (open_folder / ".lock").touch()
    os.chmod(open_folder / ".lock", 0o400)
    assert as_stranger(lambda: try_lock(open_folder)) == "locked"
    (open_folder / ".lock").touch()
    os.chmod(open_folder / ".lock", 0o400)
    os.chmod(open_folder, 0o555)
    assert "belongs to another user: Permission denied" in as_stranger(lambda: try_lock(open_folder))


def test_a_lock_that_another_user_holds_is_respected(open_folder):
    with locked(open_folder):
        os.chmod(open_folder / ".lock", 0o444)
        said = as_stranger(lambda: try_lock(open_folder))
        assert said.startswith("another process is at work in ") and (open_folder / ".lock").exists()


@pytest.mark.parametrize("linked", [True, False])
def test_a_moved_run_directory_has_the_pages_of_its_answers(tmp_path, monkeypatch, linked):
    if not linked:

        def refuse(*paths):
            raise OSError("another file system")

        monkeypatch.setattr(os, "link", refuse)
    cache = tmp_path / "cache/pages"
    cache.mkdir(parents=True)
    name = f"{'0a' * 12}.png"
    (cache / name).write_bytes(b"a page")
    record = Record(tmp_path / "run")
    rows = [{"id": "1", "images": [str(cache / name)]}, {"id": "2", "images": [str(cache / name), "gone.png"]}]
    record.predictions(rows)
    assert rows[0]["images"] == [str(cache / name)]  # what goes to trackers is still where it was
    moved = tmp_path / "elsewhere"
    shutil.move(record.path, moved)
    shutil.rmtree(cache)
    written = [row["images"] for row in read_jsonl(moved / "predictions.jsonl")]
    assert written == [[f"pages/{name}"], [f"pages/{name}", "gone.png"]]
    page = page_file(moved, written[0][0])
    assert page is not None and page.read_bytes() == b"a page" and page_file(moved, "gone.png") is None
    assert list((moved / "pages").iterdir()) == [moved / "pages" / name]
