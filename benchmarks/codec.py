"""Decoding large JPEGs and encoding 1024 px faces, way by way, alternating in one process on one core.

    taskset -c 0 python -m benchmarks.codec PHOTO... [--rounds 5] [--megapixels 12]

Every photo is enlarged (or reduced) to the given size and saved as a phone would, quality 92 with halved colour, then
decoded by each way; its middle square, reduced to 1024 px, is encoded by each way. Prints median milliseconds, bytes, and
for lossy ways the peak signal-to-noise ratio; a star marks what `pipelines` uses. OpenCV is here through facexlib.
"""

from __future__ import annotations

import argparse
import io
import math
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import numpy as np
import torch
import torchvision.io as tv
from PIL import Image

from pipelines.devices import keep_freed_memory
from pipelines.images.decode import decode
from pipelines.images.pixels import encode, resize_u8
from pipelines.types import U8Image

Way = Callable[[], object]


def saved(image: U8Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, **options)  # type: ignore[arg-type]
    return buffer.getvalue()


def psnr(image: U8Image, other: U8Image) -> float:
    error = float(np.mean((image.astype(np.float32) - other) ** 2))
    return 10 * math.log10(255**2 / error) if error else math.inf


def decoders(data: bytes) -> dict[str, Way]:
    """Ways from the bytes of a JPEG to pixels."""
    raw = np.frombuffer(data, np.uint8)
    tensor = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    ways: dict[str, Way] = {f"pipelines, 1/{shrink} *": (lambda s=shrink: decode(data, s)) for shrink in (1, 2, 4, 8)}
    ways["opencv, 1/1"] = lambda: cv2.imdecode(raw, cv2.IMREAD_COLOR)
    ways["opencv, 1/2"] = lambda: cv2.imdecode(raw, cv2.IMREAD_REDUCED_COLOR_2)
    ways["torchvision, 1/1"] = lambda: tv.decode_jpeg(tensor)
    ways["pipelines, 1/1, then reduced to 1/2"] = lambda: halved(decode(data))
    return ways


def halved(image: U8Image) -> U8Image:
    return resize_u8(image, image.shape[1] // 2, image.shape[0] // 2)


def encoders(face: U8Image) -> dict[str, Way]:
    """Ways from a 1024 px face to the bytes of a file."""
    bgr, tensor = np.ascontiguousarray(face[:, :, ::-1]), torch.from_numpy(face).permute(2, 0, 1).contiguous()
    ways: dict[str, Way] = {f"{name} *": (lambda n=name: encode(face, n)) for name in ("png", "jpg", "webp")}
    for level in (0, 1, 2, 3, 6):
        ways[f"png, Pillow, level {level}"] = lambda n=level: saved(face, format="PNG", compress_level=n)
    for name, kind in (("filtered", 1), ("huffman", 2), ("rle", 3)):
        ways[f"png, Pillow, level 1, {name}"] = lambda n=kind: saved(
            face, format="PNG", compress_level=1, compress_type=n
        )
    ways["png, opencv, level 1"] = lambda: bytes(cv2.imencode(".png", bgr, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1])
    ways["png, torchvision, level 1"] = lambda: bytes(tv.encode_png(tensor, 1).numpy())
    jpg = {"quality": 95, "subsampling": 0}
    ways["jpg, optimised tables"] = lambda: saved(face, format="JPEG", optimize=True, **jpg)
    ways["jpg, progressive"] = lambda: saved(face, format="JPEG", progressive=True, **jpg)
    ways["jpg, halved colour"] = lambda: saved(face, format="JPEG", quality=95, subsampling=2)
    ways["jpg, opencv"] = lambda: bytes(cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 95])[1])
    for method in (0, 1, 3, 4):
        ways[f"webp, method {method}"] = lambda n=method: saved(face, format="WEBP", quality=95, method=n)
    ways["webp, lossless, method 0"] = lambda: saved(face, format="WEBP", lossless=True, quality=0, method=0)
    return ways


def measure(ways: dict[str, Way], rounds: int, times: dict[str, list[float]]) -> None:
    """Adds each way's milliseconds; the ways take turns, so that a slow moment hits all of them."""
    for _ in range(rounds):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            times.setdefault(name, []).append(1e3 * (time.perf_counter() - started))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", nargs="+", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--megapixels", type=float, default=12.0)
    options = parser.parse_args()
    keep_freed_memory()  # as every run does
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    times: dict[str, list[float]] = {}
    facts: dict[str, list[tuple[int, float]]] = {}
    for path in options.photos:
        photo = decode(path.read_bytes())
        factor = math.sqrt(options.megapixels * 1e6 / (photo.shape[0] * photo.shape[1]))
        large = resize_u8(photo, round(photo.shape[1] * factor), round(photo.shape[0] * factor))
        measure(decoders(saved(large, format="JPEG", quality=92, subsampling=2)), options.rounds, times)
        side = min(photo.shape[:2])
        top, left = (photo.shape[0] - side) // 2, (photo.shape[1] - side) // 2
        face = resize_u8(np.ascontiguousarray(photo[top : top + side, left : left + side]), 1024, 1024)
        ways = encoders(face)
        measure(ways, options.rounds, times)
        for name, way in ways.items():
            data = way()
            assert isinstance(data, bytes)
            facts.setdefault(name, []).append((len(data), psnr(decode(data), face)))
    for name, values in times.items():
        row = f"{name:40s} {statistics.median(values):8.1f} ms"
        if name in facts:
            sizes, ratios = zip(*facts[name], strict=True)
            row += f" {statistics.mean(sizes) / 1e3:9.0f} kB {statistics.mean(ratios):6.1f} dB"
        print(row)


if __name__ == "__main__":
    main()
