"""Options as clients write them, and what they are told when they write them wrongly."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convertd.errors import InvalidRequest
from convertd.model.operations import (
    AnimationConvert,
    EitherPictureConvert,
    LossyPictureConvert,
    Options,
    PdfPictures,
    PdfText,
    PictureCompress,
    PictureConvert,
    Thumbnail,
    Trim,
    VideoCompress,
    VideoConvert,
)
from convertd.model.parsing import option_fields, parse_options

ALL = (
    AnimationConvert,
    VideoCompress,
    EitherPictureConvert,
    LossyPictureConvert,
    PdfPictures,
    PdfText,
    PictureCompress,
    PictureConvert,
    Thumbnail,
    Trim,
    VideoConvert,
)


def refusal(kind: type[Options], **given: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        parse_options(kind, given)
    return caught.value


@pytest.mark.parametrize(
    ("given", "box"),
    [({}, (320, 320)), ({"width": 1280}, (1280, None)), ({"height": 50, "width": None}, (None, 50))],
)
def test_one_side_of_a_thumbnail_lets_the_other_follow(
    given: dict[str, Any], box: tuple[int | None, int | None]
) -> None:
    assert parse_options(Thumbnail, given).box == box


def test_a_thumbnail_fills_its_usual_box_or_one_with_both_sides() -> None:
    assert parse_options(Thumbnail, {"fit": "cover"}).box == (320, 320)
    assert refusal(Thumbnail, fit="cover", width=100).field == "fit"


@pytest.mark.parametrize("kind", ALL)
def test_nothing_given_means_the_defaults(kind: type[Options]) -> None:
    assert parse_options(kind, {}) == kind()


@pytest.mark.parametrize(
    ("kind", "name", "written", "value"),
    [
        (LossyPictureConvert, "quality", "80", 80),
        (LossyPictureConvert, "quality", 80.0, 80),
        (LossyPictureConvert, "quality", None, None),
        (PictureConvert, "strip_metadata", "true", True),
        (PictureConvert, "strip_metadata", "0", False),
        (PictureConvert, "background", "#fff", "#fff"),
        (PictureConvert, "background", "transparent", "transparent"),
        (VideoConvert, "fps", "23.976", 23.976),
        (VideoConvert, "video_codec", "h264", "h264"),
        (VideoCompress, "audio_bitrate", "128k", 128_000),
        (VideoCompress, "audio_bitrate", "1.5M", 1_500_000),
        (VideoCompress, "audio_bitrate", "128000", 128_000),
        (VideoCompress, "audio_bitrate", 128_000, 128_000),
        (PictureCompress, "target_bytes", "200kB", 200 * 1024),
        (PictureCompress, "target_bytes", "2 MiB", 2 * 1024**2),
        (PictureCompress, "target_bytes", "5000", 5000),
        (Trim, "start", "1:30", 90.0),
        (Trim, "start", "01:02:03.5", 3723.5),
        (Trim, "end", "12.25", 12.25),
        (PdfText, "pages", "1-3,7,9-", "1-3,7,9-"),
    ],
)
def test_text_means_the_value_that_it_shows(kind: type[Options], name: str, written: Any, value: Any) -> None:
    parsed = getattr(parse_options(kind, {name: written}), name)
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    ("kind", "name", "written", "allowed"),
    [
        (LossyPictureConvert, "quality", "best", "a whole number from 1 to 100"),
        (LossyPictureConvert, "quality", 0, "from 1 to 100"),
        (LossyPictureConvert, "quality", 101, "from 1 to 100"),
        (LossyPictureConvert, "quality", 80.5, "a whole number"),
        (LossyPictureConvert, "quality", True, "a whole number"),
        (LossyPictureConvert, "quality", [80], "a whole number"),
        (PictureConvert, "strip_metadata", "perhaps", "true or false"),
        (PictureConvert, "fit", "crop", "one of contain, cover, inside"),
        (PictureConvert, "fit", None, "one of"),
        (PictureConvert, "background", "#12", "Colour as a CSS name"),
        (PictureConvert, "background", "blurple", "a CSS colour name"),
        (VideoConvert, "video_codec", "divx", "one of"),
        (VideoConvert, "fps", "nan", "a number"),
        (VideoConvert, "fps", 0, "a number"),
        (VideoCompress, "audio_bitrate", "fast", "128000 or 128k"),
        (VideoCompress, "audio_bitrate", "1k", "from 6000"),
        (PictureCompress, "target_bytes", "12B", "at least 256"),
        (PictureCompress, "target_bytes", "2 parsec", "at least 256"),
        (Trim, "start", "-1", "a number from 0"),
        (Trim, "start", "1:2:3:4", "[hh:]mm:ss"),
        (Trim, "end", "soon", "Seconds"),
        (PdfText, "pages", "1-3;7", "1-3,7,9-"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(
    kind: type[Options], name: str, written: Any, allowed: str
) -> None:
    error = refusal(kind, **{name: written})
    assert error.field == name
    assert f"'{name}'" in error.message
    assert allowed in error.message


@pytest.mark.parametrize(
    ("kind", "name", "written"),
    [
        (VideoCompress, "audio_bitrate", "9" * 400 + "k"),
        (PictureCompress, "target_bytes", "9" * 400 + "MB"),
        (PictureCompress, "target_bytes", "9" * 5000),
        (Trim, "start", "9" * 5000 + ":00:00"),
        (Trim, "start", "1" + "0" * 400),
        (LossyPictureConvert, "quality", "9" * 5000),
        (LossyPictureConvert, "quality", 10**30),
        (VideoConvert, "fps", "1e999"),
        (VideoConvert, "fps", float("inf")),
    ],
)
def test_monstrous_numbers_are_refused_in_a_short_sentence(
    kind: type[Options], name: str, written: Any
) -> None:
    error = refusal(kind, **{name: written})
    assert error.field == name
    assert len(error.message) < 400


def test_an_unknown_option_is_named_with_those_that_exist() -> None:
    error = refusal(PdfText, quality=3)
    assert error.field == "quality"
    assert error.message == "Unknown option 'quality'; allowed here: pages."


def test_a_monstrous_name_is_shown_in_short() -> None:
    assert len(refusal(PdfText, **{"x" * 10_000: 1}).message) < 400


@pytest.mark.parametrize(
    ("kind", "given_", "field"),
    [
        (PictureConvert, {"fit": "cover", "width": 10}, "fit"),
        (PictureConvert, {"enlarge": "true"}, "enlarge"),
        (EitherPictureConvert, {"lossless": True, "quality": 5}, "lossless"),
        (PictureCompress, {"quality": 5, "target_bytes": 5000}, "target_bytes"),
        (PdfPictures, {"dpi": 100, "width": 10}, "dpi"),
    ],
)
def test_options_that_exclude_each_other(kind: type[Options], given_: dict[str, Any], field: str) -> None:
    assert refusal(kind, **given_).field == field


@given(
    st.sampled_from(ALL),
    st.integers(0, 20),
    st.text(max_size=30) | st.floats() | st.integers() | st.none() | st.lists(st.integers(), max_size=2),
)
def test_any_value_is_taken_or_refused_by_name(kind: type[Options], number: int, value: Any) -> None:
    fields = option_fields(kind)
    name = fields[number % len(fields)]
    try:
        parse_options(kind, {name: value})
    except InvalidRequest as error:
        refused = error.field
    else:
        refused = name
    # A value may also clash with what another option stands at.
    assert refused in fields
