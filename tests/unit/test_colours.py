"""Colours as clients write them."""

import pytest
from PIL import ImageColor

from convertd.model.colours import parse_colour


@pytest.mark.parametrize("name", sorted(ImageColor.colormap))
def test_names_mean_what_css_says(name: str) -> None:
    assert parse_colour(name)[:3] == ImageColor.getrgb(name)


@pytest.mark.parametrize(
    ("text", "colour"),
    [
        ("#fff", (255, 255, 255, 255)),
        ("f80", (255, 136, 0, 255)),
        ("#102030", (16, 32, 48, 255)),
        ("10203040", (16, 32, 48, 64)),
        ("transparent", (0, 0, 0, 0)),
    ],
)
def test_hexadecimal(text: str, colour: tuple[int, int, int, int]) -> None:
    assert parse_colour(text) == colour


@pytest.mark.parametrize("text", ["", "#", "#ff", "#fffff", "ghijkl", "12 345", "octarine", "#1234567890"])
def test_what_is_no_colour(text: str) -> None:
    with pytest.raises(ValueError):
        parse_colour(text)
