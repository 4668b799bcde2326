"""Hook of mkdocs: pages of docs/ link to files of the repository beside it, which a site does not have.

Pictures are copied into the site. Other links become the path of the file, which must exist.
"""

import re
from pathlib import Path

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
LINK = re.compile(r"(!?)\[([^\]]*)\]\(\.\./([^)#\s]+)(#[^)\s]*)?\)")


def on_files(files, config):
    for page in sorted(Path(config.docs_dir).glob("*.md")):
        for mark, _, place, _ in LINK.findall(page.read_text(encoding="utf-8")):
            if mark and files.get_file_from_path(place) is None:
                files.append(File.generated(config, place, abs_src_path=str(ROOT / place)))
    return files


def on_page_markdown(markdown, page, **_):
    def inner(found):
        mark, text, place, _ = found.groups()
        if not (ROOT / place).exists():
            raise PluginError(f"{page.file.src_uri} links to ../{place}, which is not there")
        if mark:
            return f"![{text}]({place})"
        return f"`{place}`" if text.strip("`") in (place, Path(place).name) else f"{text} (`{place}`)"

    return LINK.sub(inner, markdown)
