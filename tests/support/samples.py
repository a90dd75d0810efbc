"""Small real files, made on the spot."""

from __future__ import annotations

import io
import math
from array import array
from fractions import Fraction
from functools import cache

import av
from PIL import Image, ImageDraw


@cache
def picture(fmt: str = "PNG", width: int = 320, height: int = 240, seed: int = 0) -> bytes:
    """A gradient with a disc, in a format of Pillow's; ``seed`` makes different ones."""
    image = Image.merge(
        "RGB",
        (
            Image.linear_gradient("L").resize((width, height)),
            Image.radial_gradient("L").resize((width, height)),
            Image.new("L", (width, height), seed * 37 % 256),
        ),
    )
    ImageDraw.Draw(image).ellipse((width // 4, height // 4, width // 2, height // 2), fill="white")
    out = io.BytesIO()
    image.save(out, fmt)
    return out.getvalue()


@cache
def pdf(pages: int = 1) -> bytes:
    """A PDF of blank pages with a disc each."""
    sheets = [Image.new("RGB", (200, 280), "white") for _ in range(pages)]
    for number, sheet in enumerate(sheets):
        ImageDraw.Draw(sheet).ellipse((20, 20, 60 + number * 10, 60 + number * 10), fill="navy")
    out = io.BytesIO()
    sheets[0].save(out, "PDF", save_all=True, append_images=sheets[1:])
    return out.getvalue()


@cache
def wav(seconds: float = 1.0) -> bytes:
    """A tone of 440 Hz, mono, 16 bits, 44.1 kHz."""
    rate = 44_100
    tone = array("h", (int(9000 * math.sin(math.tau * 440 * n / rate)) for n in range(int(seconds * rate))))
    data = tone.tobytes()
    header = b"RIFF" + (36 + len(data)).to_bytes(4, "little") + b"WAVEfmt " + (16).to_bytes(4, "little")
    shape = (
        b"\x01\x00\x01\x00"
        + rate.to_bytes(4, "little")
        + (2 * rate).to_bytes(4, "little")
        + b"\x02\x00\x10\x00"
    )
    return header + shape + b"data" + len(data).to_bytes(4, "little") + data


@cache
def mp4(seconds: float = 2.0, width: int = 320, height: int = 240, fps: int = 25) -> bytes:
    """A moving noisy picture in H.264, without sound; cheap to make, dear to encode again."""
    out = io.BytesIO()
    noise = [Image.effect_noise((width, height), 60).convert("RGB") for _ in range(5)]
    with av.open(out, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=fps, options={"preset": "ultrafast", "crf": "30"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(int(seconds * fps)):
            image = noise[number % len(noise)].copy()
            left = number * 7 % width
            ImageDraw.Draw(image).rectangle((left, 20, left + width // 5, height - 20), fill="red")
            frame = av.VideoFrame.from_image(image)
            frame.pts, frame.time_base = number, Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return out.getvalue()
