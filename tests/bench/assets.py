"""Sources, generated once and kept between runs in the temporary directory."""

from __future__ import annotations

import os
import random
import shutil
import struct
import subprocess
import tempfile
import wave
from pathlib import Path

from PIL import Image, ImageFilter

from tests.bench.rows import Skipped


def directory() -> Path:
    """Where they are kept."""
    path = Path(tempfile.gettempdir(), f"convertd-bench-assets-{os.getuid()}")
    path.mkdir(mode=0o700, exist_ok=True)
    return path


def picture(assets: Path, width: int, height: int, suffix: str) -> Path:
    """Something like a photograph: smooth shapes with fine noise."""
    path = assets / f"picture-{width}x{height}.{suffix}"
    if not path.exists():
        chance = random.Random(4711)
        small = Image.new("RGB", (32, 24))
        small.putdata([tuple(chance.randrange(256) for _ in range(3)) for _ in range(32 * 24)])
        smooth = small.resize((width, height), Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(3))
        noise = Image.effect_noise((width, height), 12).convert("RGB")
        Image.blend(smooth, noise, 0.08).save(path, quality=90)
    return path


def ffmpeg() -> str:
    found = shutil.which("ffmpeg")
    if found is None:
        raise Skipped("ffmpeg is not installed")
    return found


def _made_by_ffmpeg(path: Path, *words: str | Path) -> Path:
    if not path.exists():
        part = path.with_name(f"part-{path.name}")
        subprocess.run([ffmpeg(), "-y", "-v", "error", *map(str, words), str(part)], check=True)
        part.replace(path)
    return path


def clip(assets: Path, seconds: int, width: int, height: int, suffix: str = "mp4") -> Path:
    """Moving test pattern with noise at 30 frames a second, H.264, with a tone in AAC."""
    pattern = f"testsrc2=size={width}x{height}:rate=30:duration={seconds},noise=alls=8:allf=t,format=yuv420p"
    return _made_by_ffmpeg(
        assets / f"clip-{seconds}s-{height}p.{suffix}",
        *("-f", "lavfi", "-i", pattern),
        *("-f", "lavfi", "-i", f"sine=frequency=440:duration={seconds}:sample_rate=48000"),
        *("-c:v", "libx264", "-preset", "superfast", "-crf", "26", "-g", "250", "-c:a", "aac", "-ac", "2"),
    )


def long_clip(assets: Path, minutes: int) -> Path:
    """A 30-second clip, again and again."""
    source = clip(assets, 30, 1920, 1080)
    times = minutes * 2 - 1
    return _made_by_ffmpeg(
        assets / f"clip-{minutes}min.mp4",
        *("-stream_loop", str(times), "-i", source, "-c", "copy", "-movflags", "+faststart"),
    )


def music(assets: Path, seconds: int) -> Path:
    """Tones, a sweep and noise, 48 kHz stereo, 16 bits."""
    left = "0.3*sin(2*PI*220*t)+0.2*sin(2*PI*(200+t*20)*t)+0.1*(random(0)*2-1)"
    right = "0.3*sin(2*PI*330*t)+0.2*sin(2*PI*(4000-t*9)*t)+0.1*(random(1)*2-1)"
    return _made_by_ffmpeg(
        assets / f"music-{seconds}s.wav",
        *("-f", "lavfi", "-i", f"aevalsrc={left}|{right}:s=48000:d={seconds}", "-c:a", "pcm_s16le"),
    )


def large_sound(folder: Path, size: int) -> Path:
    """A WAV file of ``size`` bytes of noise."""
    path = folder / "large.wav"
    with wave.open(str(path), "wb") as out:
        out.setnchannels(2)
        out.setsampwidth(2)
        out.setframerate(48_000)
        block = os.urandom(1024 * 1024)
        out.setnframes((size - 44) // 4)
        left = (size - 44) // 4 * 4
        while left:
            out.writeframesraw(block[:left])
            left -= min(left, len(block))
    return path


def large_wreck(folder: Path, size: int) -> Path:
    """A file of ``size`` bytes that says it is a PNG and is refused at its first chunk, so that converting
    it costs nothing."""
    path = folder / "wreck.png"
    block = os.urandom(1024 * 1024)
    with path.open("wb") as out:
        out.write(b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + bytes(17))
        for _ in range(size // len(block)):
            out.write(block)
        out.truncate(size)
    return path
