"""Draw README's picture: one report as three options of `render` draw it. python experiments/pages.py"""

from pathlib import Path

import hydra
from PIL import Image, ImageDraw, ImageOps

from medvl.config import resolve
from medvl.data.mtsamples import MTSamples
from medvl.documents.render import Font, Render, _font

HERE = Path(__file__).parent
LIMITS = {"min_pixels": 3136, "max_pixels": 1003520}


def option(name: str) -> Render:
    with hydra.initialize_config_dir(str(HERE.parent.resolve() / "conf"), version_base="1.3"):
        return resolve(hydra.compose("run", overrides=[f"render={name}", "batch.tokens=8192"])).render


def main() -> None:
    text = next(d.text for d in MTSamples().documents() if "MEDICATIONS: Refer to chart" in d.text)
    sheet = Image.new("L", (1180, 765), 236)
    draw, font = ImageDraw.Draw(sheet), _font(Font.sans, 15)

    def put(image: Image.Image, left: int, top: int) -> None:
        sheet.paste(ImageOps.expand(image, 1, 150), (left, top))

    for name, left in (("letter", 20), ("slip", 585), ("seed", 950)):
        render = option(name)
        tokens, x_px = render.page_tokens(**LIMITS), render.x_height_px(**LIMITS)
        draw.text((left, 16), f"render={name}: {tokens:,} tokens", font=font, fill=40)
        draw.text((left, 36), f"a page, an x is {x_px:.1f} px high", font=font, fill=40)
        for row, page in zip(range(3), render.pages(text), strict=False):
            scale = 0.41 if name == "letter" else 1.0
            size = round(page.image.width * scale), round(page.image.height * scale)
            put(page.image.resize(size, Image.Resampling.LANCZOS), left, 62 + row * 234)
    draw.text((950, 330), "The run warns: UNREADABLE", font=font, fill=40)
    draw.text(
        (20, 744), "A report of MTSamples, www.mtsamples.com; the letter page is shown at 41 %", font=font, fill=90
    )
    sheet.quantize(16).save(HERE / "pages.png", optimize=True)


if __name__ == "__main__":
    main()
