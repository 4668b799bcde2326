"""Draw the pictures of the README: python experiments/pages.py

pages.png   one report, drawn with several options of `render`
forms.png   a page of every kind of clinical form, in various fonts and layouts, some scanned or faxed
"""

from pathlib import Path

import hydra
from PIL import Image, ImageDraw, ImageOps

from medvl.data.sources.clinical_forms import written
from medvl.data.sources.mtsamples import MTSamples
from medvl.documents.fonts import Font
from medvl.documents.forms.kinds import KINDS
from medvl.documents.render import Render
from medvl.run.config import resolve
from medvl.types import Document, Page

HERE = Path(__file__).parent
LIMITS = {"min_pixels": 3136, "max_pixels": 1003520}
LABEL = Font.sans.face(15)


def option(name: str) -> Render:
    with hydra.initialize_config_dir(str(HERE.parent.resolve() / "conf"), version_base="1.3"):
        return resolve(hydra.compose("run", overrides=[f"render={name}", "batch.tokens=8192"])).render


def drawn(render: Render, document: Document) -> list[Page]:
    return [render.draw(sheet, f"{document.id}/{at}") for at, sheet in enumerate(render.sheets(document))]


def renderings() -> Image.Image:
    document = next(d for d in MTSamples().read() if isinstance(d, Document) and "MEDICATIONS: Refer" in d.text)
    sheet = Image.new("L", (1180, 765), 236)
    draw = ImageDraw.Draw(sheet)
    for name, left in (("letter", 20), ("slip", 585), ("seed", 950)):
        render = option(name)
        x_px = render.x_height_px(render.fonts[0]) * render.resized(**LIMITS)
        draw.text((left, 16), f"render={name}: {render.page_tokens(**LIMITS):,} tokens", font=LABEL, fill=40)
        draw.text((left, 36), f"a page, an x is {x_px:.1f} px high", font=LABEL, fill=40)
        for row, page in zip(range(3), drawn(render, document), strict=False):
            scale = 0.41 if name == "letter" else 1.0
            size = round(page.image.width * scale), round(page.image.height * scale)
            image = page.image.resize(size, Image.Resampling.LANCZOS)
            sheet.paste(ImageOps.expand(image, 1, 150), (left, 62 + row * 234))
    draw.text((950, 330), "The audit says: UNREADABLE", font=LABEL, fill=40)
    draw.text((20, 744), "A report of MTSamples, www.mtsamples.com; the letter page at 41 %", font=LABEL, fill=90)
    return sheet


def forms() -> Image.Image:
    width, height, columns = 560, 520, 4
    sheet = Image.new("L", (columns * (width + 16) + 16, 3 * (height + 44) + 16), 236)
    draw = ImageDraw.Draw(sheet)
    renders = {name: option(name) for name in ("letter", "scanned", "fax")}
    for at, kind in enumerate(KINDS):
        name = ("letter", "letter", "scanned", "letter", "letter", "fax")[at % 6]
        # The longest of twelve forms that fits the picture.
        pages = [drawn(renders[name], written(kind, number))[0] for number in range(at, at + 12)]
        bottom = int(renders[name].size_px[1] * height / width)
        fitting = [page for page in pages if page.lines[-1][1][3] < bottom] or pages
        page = max(fitting, key=lambda page: len(page.text))
        left, top = 16 + at % columns * (width + 16), 40 + at // columns * (height + 44)
        draw.text((left, top - 24), f"{kind}, {name}", font=LABEL, fill=40)
        image = page.image.crop((0, 0, page.image.width, bottom)).resize((width, height), Image.Resampling.LANCZOS)
        sheet.paste(ImageOps.expand(image.crop((1, 1, width - 1, height - 1)), 1, 150), (left, top))
    return sheet


def main() -> None:
    for name, picture in (("pages", renderings()), ("forms", forms())):
        picture.quantize(16).save(HERE / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
