"""`medvl download`: what the hub offers is told, then downloaded, checked and recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from medvl.model.fetching import offer

if TYPE_CHECKING:
    from medvl.run.context import RunContext


def download(context: RunContext) -> None:
    """Fetch the base of a composition.

    Raises:
        ValueError: It is here already, cannot be reached, or does not fit on the disk.
    """
    model = context.config.model
    if model.path is None:
        raise ValueError(f"model {model.shape} comes with the package. Set model=qwen2_5_vl_7b.")
    if model.is_local:
        raise ValueError(f"{model.path} is a folder of this machine. Set model.path=<a hub id>.")
    offered = offer(model.path, model.revision)
    context.say(str(offered))
    offered.check_room()
    folder = offered.fetch()
    context.record.result(offered.to_json(folder), "download")
    context.say(f"{model.path} is in {folder}; the hashes of all {len(offered.files)} files are those of the hub")
