"""Writing a PDF of pictures, one after the other, so that no more than one is in memory.

The library's own writer encodes every picture anew; here, JPEG data goes in as it is. Objects and operators:
ISO 32000-1, sections 7.5 (file structure), 8.3 (coordinates), 8.9 (images).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import IO, Final

Rect = tuple[float, float, float, float]
"""Left, bottom, width, height in 1/72 inch."""

_CATALOG: Final = 1
_PAGES: Final = 2


@dataclass(frozen=True, kw_only=True)
class Figure:
    """Encoded pixels as a PDF holds them."""

    width: int
    height: int
    data: bytes
    filter: str
    """DCTDecode (JPEG) or FlateDecode."""
    space: str
    """A colour space: DeviceGray, DeviceRGB."""
    bits: int = 8
    palette: bytes = b""
    """RGB for each value, where ``space`` is that of the palette's colours."""
    icc: bytes = b""
    """Profile of the colour space."""
    orientation: int = 1
    """As EXIF counts: how the picture has to be drawn to stand upright."""

    @property
    def shown(self) -> tuple[int, int]:
        """Pixels across and down as it is drawn."""
        return (self.height, self.width) if self.orientation >= 5 else (self.width, self.height)


class PdfWriter:
    """Pages as they come; :meth:`close` makes the file whole."""

    def __init__(self, out: IO[bytes]) -> None:
        self._out = out
        self._offsets: dict[int, int] = {}
        self._kids: list[int] = []
        self._profiles: dict[bytes, int] = {}
        self._next = _PAGES + 1
        # The second line tells transfer programs that the file is binary.
        self._out.write(b"%PDF-1.5\n%\xe2\xe3\xcf\xd3\n")

    @property
    def pages(self) -> int:
        """How many were added."""
        return len(self._kids)

    def add(self, figure: Figure, page: tuple[float, float], where: Rect) -> None:
        """A page of this width and height, with the figure drawn ``where``."""
        picture = self._stream(figure.data, self._describe(figure))
        drawn = " ".join(_number(value) for value in _matrix(figure.orientation, where))
        content = self._stream(f"q {drawn} cm /Im Do Q\n".encode(), "")
        width, height = (_number(side) for side in page)
        self._kids.append(
            self._object(
                f"<</Type /Page /Parent {_PAGES} 0 R /MediaBox [0 0 {width} {height}] "
                f"/Contents {content} 0 R /Resources <</XObject <</Im {picture} 0 R>>>>>>".encode()
            )
        )

    def close(self) -> None:
        """Write what ties the pages together; the writer is of no use afterwards."""
        kids = " ".join(f"{number} 0 R" for number in self._kids)
        self._object(f"<</Type /Catalog /Pages {_PAGES} 0 R>>".encode(), _CATALOG)
        self._object(f"<</Type /Pages /Kids [{kids}] /Count {len(self._kids)}>>".encode(), _PAGES)
        table = self._out.tell()
        rows = "".join(f"{self._offsets[number]:010} 00000 n \n" for number in sorted(self._offsets))
        self._out.write(
            f"xref\n0 {self._next}\n0000000000 65535 f \n{rows}"
            f"trailer\n<</Size {self._next} /Root {_CATALOG} 0 R>>\nstartxref\n{table}\n%%EOF\n".encode()
        )

    def _describe(self, figure: Figure) -> str:
        space = f"/{figure.space}"
        if figure.icc:
            space = f"[/ICCBased {self._profile(figure)} 0 R]"
        if figure.palette:
            space = f"[/Indexed {space} {len(figure.palette) // 3 - 1} <{figure.palette.hex()}>]"
        return (
            f"/Type /XObject /Subtype /Image /Width {figure.width} /Height {figure.height} "
            f"/ColorSpace {space} /BitsPerComponent {figure.bits} /Filter /{figure.filter}"
        )

    def _profile(self, figure: Figure) -> int:
        """The object of the figure's profile: one for all that share it."""
        if figure.icc not in self._profiles:
            channels = 1 if figure.space == "DeviceGray" else 3
            self._profiles[figure.icc] = self._stream(figure.icc, f"/N {channels} /Alternate /{figure.space}")
        return self._profiles[figure.icc]

    def _stream(self, data: bytes, words: str) -> int:
        head = f"<</Length {len(data)} {words}>>\nstream\n".encode()
        return self._object(head, tail=(data, b"\nendstream"))

    def _object(self, body: bytes, number: int = 0, tail: tuple[bytes, ...] = ()) -> int:
        if not number:
            number = self._next
            self._next += 1
        self._offsets[number] = self._out.tell()
        self._out.write(f"{number} 0 obj\n".encode() + body)
        for part in tail:
            self._out.write(part)
        self._out.write(b"\nendobj\n")
        return number


def _matrix(orientation: int, where: Rect) -> tuple[float, ...]:
    """What maps the unit square, in which PDF draws any picture, to ``where``, turned upright."""
    x, y, w, h = where
    return {
        1: (w, 0, 0, h, x, y),
        2: (-w, 0, 0, h, x + w, y),
        3: (-w, 0, 0, -h, x + w, y + h),
        4: (w, 0, 0, -h, x, y + h),
        5: (0, -h, -w, 0, x + w, y + h),
        6: (0, -h, w, 0, x, y + h),
        7: (0, h, w, 0, x, y),
        8: (0, h, -w, 0, x + w, y),
    }[orientation]


def _number(value: float) -> str:
    return f"{value:.4f}".rstrip("0").rstrip(".")
