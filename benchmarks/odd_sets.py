"""Photos of five kinds that users have and papers do not: made from a folder of portraits, to be looked at.

    python -m benchmarks.odd_sets PHOTOS OUT [--count 4]

writes OUT/scans, OUT/stills, OUT/passports, OUT/screenshots and OUT/messenger: the same portraits, each spoiled in its own way.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageOps

from pipelines.images.decode import decode
from pipelines.types import U8Image

Spoil = Callable[[Image.Image, np.random.Generator], bytes]
_LONGEST = 1200  # px: of the portraits, before they are spoiled


def scan(photo: Image.Image, random: np.random.Generator) -> bytes:
    """On a flatbed's white, two degrees askew, faded, with dust and a scratch; TIFF at 300 dpi."""
    width, height = photo.size
    faded = photo.point([round(40 + level * 0.75) for level in range(256)] * 3)
    bed = Image.new("RGB", (width * 3 // 2, height * 3 // 2), (247, 246, 240))
    bed.paste(faded, (width // 5, height // 6))
    bed = bed.rotate(random.uniform(-2.5, 2.5), Image.Resampling.BICUBIC, fillcolor=(247, 246, 240))
    draw = ImageDraw.Draw(bed)
    for _ in range(250):
        x, y, size = random.uniform(0, bed.width), random.uniform(0, bed.height), random.exponential(1.2)
        draw.ellipse((x, y, x + size, y + size), fill=(255, 255, 255) if random.random() < 0.7 else (60, 50, 40))
    x = random.uniform(0.3, 0.7) * bed.width
    draw.line((x, 0, x + 60, bed.height), fill=(235, 230, 220), width=2)
    return _file(bed, "TIFF", dpi=(300, 300), compression="tiff_lzw")


def still(photo: Image.Image, random: np.random.Generator) -> bytes:
    """A frame of 720 x 576 video: blurred along a movement, every other line of a moment later."""
    frame = _within(photo, 720, 576)
    pixels = np.asarray(frame).astype(np.float32)
    step = int(random.integers(3, 8))
    moved = np.mean([np.roll(pixels, shift, 1) for shift in range(-step, step + 1)], 0)
    moved[1::2] = np.roll(moved, 2 * step, 1)[1::2]
    return _file(Image.fromarray(np.clip(moved, 16, 235).astype(np.uint8)), "JPEG", quality=70)


def passport(photo: Image.Image, random: np.random.Generator) -> bytes:
    """35 x 45 mm at 150 dpi on a page with fine lines and a stamp across; grey in every second."""
    small = ImageOps.fit(photo, (207, 266), Image.Resampling.LANCZOS)
    page = Image.new("RGB", (740, 525), (226, 232, 222))
    draw = ImageDraw.Draw(page)
    for y in range(0, 525, 4):
        draw.line([(x, y + 3 * np.sin(x / 25)) for x in range(0, 741, 10)], fill=(196, 214, 204))
    page.paste(small, (40, 120))
    for row in range(6):
        draw.rectangle((290, 130 + 40 * row, 290 + int(random.integers(100, 380)), 146 + 40 * row), fill=(60, 60, 66))
    draw.ellipse((150, 290, 330, 470), outline=(90, 60, 140), width=5)
    return _file(page.convert("L") if random.random() < 0.5 else page, "PNG", dpi=(150, 150))


def screenshot(photo: Image.Image, random: np.random.Generator) -> bytes:
    """A phone's screen with bars, buttons above the picture and rows of small pictures; RGBA."""
    screen = Image.new("RGBA", (1080, 2340), (18, 18, 20, 255))
    draw = ImageDraw.Draw(screen)
    shown = _within(photo, 1080, 1350)
    screen.paste(shown, (0, 400))
    for x in range(40, 1080, 260):
        screen.paste(photo.resize((200, 200)), (x, 1900))
        draw.ellipse((x, 180, x + 140, 320), outline=(225, 48, 108, 255), width=8)
    draw.rectangle((0, 0, 1080, 110), fill=(250, 250, 250, 255))
    for x in (60, 200, 340, 940):
        draw.rounded_rectangle((x, 1620, x + 100, 1720), 30, fill=(255, 255, 255, 200))
    draw.text((60, 30), f"{int(random.integers(0, 24)):02d}:41   someone", fill=(0, 0, 0, 255), font_size=48)
    return _file(screen, "PNG")


def messenger(photo: Image.Image, random: np.random.Generator) -> bytes:
    """Sent on five times: made smaller, a little sharper and compressed each time."""
    for size in (1200, 1000, 800, 720, 640):
        photo = _fit(photo, size).filter(ImageFilter.UnsharpMask(1, 60))
        quality = int(random.integers(18, 40))
        photo = Image.open(io.BytesIO(_file(photo, "JPEG", quality=quality))).convert("RGB")
    return _file(photo, "JPEG", quality=15)


SETS: dict[str, tuple[Spoil, str]] = {
    "scans": (scan, "tif"),
    "stills": (still, "jpg"),
    "passports": (passport, "png"),
    "screenshots": (screenshot, "png"),
    "messenger": (messenger, "jpg"),
}


def make_sets(photos: list[Path], out: Path) -> None:
    """All sets of these portraits; the same files every time."""
    for name, (spoil, suffix) in SETS.items():
        (out / name).mkdir(parents=True, exist_ok=True)
        for number, path in enumerate(photos):
            picture = _fit(Image.fromarray(_portrait(path)), _LONGEST)
            data = spoil(picture, np.random.default_rng(number))
            (out / name / f"{path.stem}.{suffix}").write_bytes(data)


def _portrait(path: Path) -> U8Image:
    return decode(path.read_bytes())


def _fit(photo: Image.Image, longest: int) -> Image.Image:
    photo = photo.copy()
    photo.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    return photo


def _within(photo: Image.Image, width: int, height: int) -> Image.Image:
    """The whole photo in a black frame."""
    frame = Image.new("RGB", (width, height))
    scale = min(width / photo.width, height / photo.height)
    inner = photo.resize((round(photo.width * scale), round(photo.height * scale)), Image.Resampling.LANCZOS)
    frame.paste(inner, ((width - inner.width) // 2, (height - inner.height) // 2))
    return frame


def _file(picture: Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format, **options)  # type: ignore[arg-type]
    return buffer.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=4, help="portraits, evenly spread over the folder")
    given = parser.parse_args()
    paths = sorted(path for path in given.photos.iterdir() if path.suffix.lower() in {".jpg", ".jpeg", ".png"})
    make_sets(paths[:: max(1, len(paths) // given.count)][: given.count], given.out)


if __name__ == "__main__":
    main()
