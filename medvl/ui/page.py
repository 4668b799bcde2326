"""The page: three tabs, each a client of the service."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import gradio as gr

from medvl.ui import benchmarks, differences, extraction
from medvl.ui.client import Service, Trouble
from medvl.ui.markup import notice
from medvl.ui.previews import previews

KINDS = [".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".pdf"]
TOGETHER = 4  # requests of each button that go on; the service itself bounds what waits
QUEUE = 64  # further presses of buttons; more are refused
CLEAN_S, KEPT_S = 60, 600  # how often uploads are looked through, and how long they stay
STYLE = Path(__file__).with_name("style.css")
GONE = "The files are no longer here: uploads are deleted after ten minutes. Upload them again."
THEME = gr.themes.Default(primary_hue="blue", font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"])


def page(service: Service, base: Service | None) -> gr.Blocks:
    """Return the page of a service; base: serves the model before training."""
    with gr.Blocks(title="medvl", analytics_enabled=False, delete_cache=(CLEAN_S, KEPT_S)) as blocks:
        gr.Markdown("# medvl\nReads medical documents. Not for clinical use.")
        state = _html()
        with gr.Tab("Extraction"):
            _add_extraction(service)
        with gr.Tab("Own prompt"):
            _add_prompt(service, base)
        with gr.Tab("Benchmarks") as tab:
            gr.Markdown("What was measured of the model that is served.")
            again = gr.Button("Refresh", size="sm")
            found = _html("benchmarks")
            for event in (tab.select, again.click):
                event(_told(lambda: benchmarks.report(service.records(), service.times())), None, found, api_name=False)
        blocks.load(lambda: notice(service.state(), "note"), None, state, api_name=False)
    blocks.queue(max_size=QUEUE, default_concurrency_limit=TOGETHER)
    return blocks


def _add_extraction(service: Service) -> None:
    gr.Markdown("The text of every page; with a schema, its fields from all pages together.")
    files = _files()
    with gr.Accordion("Fields to extract (optional)", open=False):
        schema = gr.Code(label="JSON Schema of an object", language="json", lines=6, max_lines=16, elem_id="schema")
        gr.Button("Insert an example", size="sm").click(lambda: extraction.EXAMPLE_SCHEMA, None, schema, api_name=False)
    run = gr.Button("Read", variant="primary")
    found = _html("extracted")

    def extract(paths: list[str] | None, wanted: str | None) -> str:
        contents = _contents(paths)
        return extraction.shown(service.extract(contents, wanted or ""), previews(contents))

    run.click(_told(extract), [files, schema], found, api_name=False)


def _add_prompt(service: Service, base: Service | None) -> None:
    gr.Markdown("One answer about all pages together" + (", of the base and of the trained model." if base else "."))
    files = _files()
    prompt = gr.Textbox(label="Prompt", placeholder="What is the dose?", lines=2, elem_id="prompt")
    run = gr.Button("Ask", variant="primary")
    found = _html("answers")

    def ask(paths: list[str] | None, wanted: str) -> str:
        contents = _contents(paths)
        if not wanted.strip():
            raise Trouble("Write a prompt first.")
        asked = [service] if base is None else [service, base]

        def answer(one: Service) -> dict[str, Any] | Trouble:
            try:
                return one.analyze(contents, wanted)
            except Trouble as error:
                return error

        with ThreadPoolExecutor(len(asked)) as pool:
            tuned, *others = pool.map(answer, asked)
        return differences.beside(tuned, others[0] if others else None)

    run.click(_told(ask), [files, prompt], found, api_name=False)


def _files() -> gr.File:
    return gr.File(label="Pages: PNG, JPEG, TIFF, WebP or PDF", file_count="multiple", file_types=KINDS)


def _html(name: str | None = None) -> gr.HTML:
    return gr.HTML(elem_id=name, apply_default_css=False)  # style.css has it all


def _contents(paths: Sequence[str] | None) -> list[bytes]:
    if not paths:
        raise Trouble("Upload a page first.")
    try:
        return [Path(path).read_bytes() for path in paths]
    except FileNotFoundError:
        raise Trouble(GONE) from None


def _told(work: Callable[..., str]) -> Callable[..., str]:
    """Return a function whose troubles become a message on the page."""

    def told(*given: Any) -> str:
        try:
            return work(*given)
        except Trouble as error:
            return notice(str(error))
        except (KeyError, TypeError, ValueError, IndexError) as error:  # an answer of another version
            return notice(f"The service's answer cannot be shown ({type(error).__name__}). Are both of one version?")

    return told
