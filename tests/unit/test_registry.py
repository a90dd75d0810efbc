"""Finding engines and planning over them."""

from __future__ import annotations

import sys
import types

import msgspec
import pytest

from convertd.engines.base import Engine, Fidelity
from convertd.engines.registry import Plan, Registry, discover
from convertd.errors import EngineMissing, InvalidRequest, Unavailable, UnsupportedFormat
from convertd.model.formats import FORMATS
from convertd.model.operations import LossyPictureConvert, PdfPictures, PdfText, Thumbnail
from tests.support.fake_engines import engine, registry, route, small_registry

TEXT_ONLY, GOOD, EXACT = Fidelity.TEXT_ONLY, Fidelity.GOOD, Fidelity.EXACT


def used(plan: Plan) -> list[tuple[str, str, str]]:
    return [(step.engine.name, step.capability.source, step.capability.target) for step in plan.steps]


def test_a_route_is_planned_with_its_engine() -> None:
    plan = small_registry().plan("convert", "png", "jpg")
    assert used(plan) == [("picture", "png", "jpg")]
    assert (plan.engine_names, plan.fidelity) == ("picture", EXACT)


def test_the_most_faithful_engine_is_taken() -> None:
    both = registry(
        engine("rough", route("docx", "pdf", fidelity=TEXT_ONLY)),
        engine("fine", route("docx", "pdf", fidelity=EXACT)),
    )
    assert used(both.plan("convert", "docx", "pdf"))[0][0] == "fine"


def test_of_equal_engines_the_first_is_taken() -> None:
    both = registry(engine("one", route("png", "jpg")), engine("two", route("png", "jpg")))
    assert used(both.plan("convert", "png", "jpg"))[0][0] == "one"


def test_a_missing_engine_gives_way_to_a_rougher_one() -> None:
    both = registry(
        engine("fine", route("docx", "pdf"), hint="install it."),
        engine("rough", route("docx", "pdf", fidelity=TEXT_ONLY)),
    )
    plan = both.plan("convert", "docx", "pdf")
    assert (plan.engine_names, plan.fidelity) == ("rough", TEXT_ONLY)


def test_a_rougher_engine_is_not_taken_where_fidelity_is_asked_for() -> None:
    both = registry(
        engine("fine", route("docx", "pdf"), hint="install it."),
        engine("rough", route("docx", "pdf", fidelity=TEXT_ONLY)),
    )
    with pytest.raises(EngineMissing, match=r"convert docx to pdf needs Fine, .*: install it"):
        both.plan("convert", "docx", "pdf", min_fidelity=GOOD)


def test_a_fidelity_that_nobody_has_is_refused_with_the_best_there_is() -> None:
    with pytest.raises(UnsupportedFormat, match=r"fidelity good at best, below the min_fidelity=exact"):
        small_registry().plan("convert", "docx", "pdf", min_fidelity=EXACT)


def test_an_engine_that_the_children_cannot_use_counts_as_missing() -> None:
    broken = engine("fine", route("png", "jpg"))
    absent = engine("other", route("png", "webp"), hint="install it.")
    disabled = {"fine": "OSError: /opt/lib/fine.so: bad", "other": "install it."}
    both = Registry({"fine": broken, "other": absent}, disabled)
    with pytest.raises(
        EngineMissing, match=r"needs Fine, .*: it cannot be loaded \(OSError: fine.so: bad\)\.$"
    ):
        both.plan("convert", "png", "jpg")
    assert both.availability["other"].hint == "install it."


def test_an_engine_that_is_missing_is_named_with_how_to_get_it() -> None:
    with pytest.raises(EngineMissing) as caught:
        small_registry().plan("convert", "wav", "mp3")
    assert caught.value.message == (
        "convert wav to mp3 needs Sound, which this server does not have: install the sound extra."
    )


# Chains


def test_a_document_goes_through_a_pivot() -> None:
    plan = small_registry().plan("convert", "docx", "png")
    assert used(plan) == [("office", "docx", "pdf"), ("pages", "pdf", "png")]
    assert (plan.engine_names, plan.fidelity) == ("office+pages", GOOD)


def test_the_second_step_of_a_chain_is_the_operation() -> None:
    both = registry(
        engine("office", route("pptx", "pdf")),
        engine("pages", route("pdf", "jpg", operation="thumbnail", options=Thumbnail)),
    )
    assert used(both.plan("thumbnail", "pptx", "jpg")) == [
        ("office", "pptx", "pdf"),
        ("pages", "pdf", "jpg"),
    ]


def test_pictures_are_not_chained() -> None:
    pair = registry(engine("a", route("png", "pdf")), engine("b", route("pdf", "txt")))
    with pytest.raises(UnsupportedFormat):
        pair.plan("convert", "png", "txt")


@pytest.mark.parametrize(
    ("operation", "source", "target", "possible"),
    [
        ("compress", "pdf", "avif", "archive, convert, inspect, thumbnail"),
        ("watermark", "pdf", "png", "archive, convert, inspect, thumbnail"),
        ("adjust", "docx", "png", "archive, convert, thumbnail"),
        ("inspect", "docx", "json", "archive, convert, thumbnail"),
    ],
)
def test_a_document_is_only_converted_and_shown_through_its_pages(
    operation: str, source: str, target: str, possible: str
) -> None:
    """Pages made smaller are no smaller document, and a PDF's facts are not those of the file that came."""
    with pytest.raises(UnsupportedFormat) as caught:
        Registry(discover()).plan(operation, source, target)
    assert caught.value.message == f"There is no {operation} for {source}; it can: {possible}."


def test_a_thumbnail_of_a_document_is_of_one_page() -> None:
    """A thumbnail through pictures would be one of each page."""
    with pytest.raises(
        UnsupportedFormat, match="thumbnail pdf to gif; possible targets: avif, jpg, png, webp"
    ):
        Registry(discover()).plan("thumbnail", "pdf", "gif")


def test_a_document_is_not_chained_back_to_its_own_format() -> None:
    """A PDF through pictures to PDF would be a PDF without its text."""
    with pytest.raises(UnsupportedFormat, match="no way to convert pdf to pdf"):
        Registry(discover()).plan("convert", "pdf", "pdf")


def test_a_chain_with_a_missing_link_says_which() -> None:
    broken = registry(
        engine("office", route("docx", "pdf"), hint="install LibreOffice."),
        engine("pages", route("pdf", "png")),
    )
    with pytest.raises(EngineMissing, match=r"needs Office, .*install LibreOffice"):
        broken.plan("convert", "docx", "png")


def test_a_chain_that_works_serves_where_the_direct_engine_is_missing() -> None:
    some = registry(
        engine("direct", route("docx", "txt"), hint="install it."),
        engine("office", route("docx", "pdf", fidelity=GOOD)),
        engine("pages", route("pdf", "txt", options=PdfText)),
    )
    assert some.plan("convert", "docx", "txt").engine_names == "office+pages"


def test_a_faithful_chain_serves_where_the_direct_engine_is_too_rough() -> None:
    some = registry(
        engine("direct", route("docx", "txt", fidelity=TEXT_ONLY)),
        engine("office", route("docx", "pdf", fidelity=GOOD)),
        engine("pages", route("pdf", "txt", options=PdfText)),
    )
    assert some.plan("convert", "docx", "txt").engine_names == "direct"
    assert some.plan("convert", "docx", "txt", min_fidelity=GOOD).engine_names == "office+pages"


# No route


@pytest.mark.parametrize(
    ("operation", "source", "target", "said"),
    [
        ("convert", "png", "mp4", "There is no way to convert png to mp4; possible targets: jpg, webp."),
        ("trim", "png", "png", "There is no trim for png; it can: compress, convert, thumbnail."),
        ("convert", "7z", "zip", "convertd has no engine that reads 7z."),
    ],
)
def test_no_route_is_told_with_what_there_is(operation: str, source: str, target: str, said: str) -> None:
    with pytest.raises(UnsupportedFormat) as caught:
        small_registry().plan(operation, source, target)
    assert caught.value.message == said


# Options over a chain


def test_each_step_takes_the_options_that_it_knows() -> None:
    chain = registry(
        engine("pages", route("pdf", "png", options=PdfPictures)),
        engine("picture", route("png", "jpg", options=LossyPictureConvert)),
    ).plan("convert", "pdf", "jpg")
    first, second = chain.parse_options({"pages": "1", "quality": "70"})
    assert first == PdfPictures(pages="1")
    assert second == LossyPictureConvert(quality=70)


def test_an_option_that_no_step_knows_is_refused() -> None:
    plan = small_registry().plan("convert", "docx", "txt")
    with pytest.raises(InvalidRequest) as caught:
        plan.parse_options({"colour": "red"})
    assert caught.value.field == "colour"


# The registry as a list


def test_it_lists_what_somebody_can_do_installed_or_not() -> None:
    reg = small_registry()
    assert reg.operations == ("compress", "convert", "thumbnail")
    assert reg.targets("convert", "wav") == ("mp3",)
    assert reg.targets("convert", "png") == ("jpg", "webp")
    assert {"quality", "audio_bitrate", "pages", "width"} <= reg.option_names


def test_its_routes_are_what_it_plans() -> None:
    reg = Registry(discover())
    assert set(reg.steps) <= set(reg.routes)
    for (operation, source, target), plans in reg.routes.items():
        if all(reg.available(plan) for plan in plans):
            assert reg.plan(operation, source, target) == plans[0]
    documents = {key[:2] for key, plans in reg.routes.items() if len(plans[0].steps) > 1}
    assert {operation for operation, _ in documents} == {"convert", "thumbnail"}
    assert ("thumbnail", "docx") in documents


def test_the_options_of_a_chain_are_described_as_one() -> None:
    plan = Registry(discover()).routes["convert", "pptx", "png"][0]
    properties = msgspec.json.schema(plan.options)["$defs"][plan.options.__name__]["properties"]
    assert set(properties) == plan.option_names == {"pages", "pdfa", "dpi", "width", "height", "background"}


# Discovery


def module(name: str, monkeypatch: pytest.MonkeyPatch, **content: object) -> str:
    made = types.ModuleType(name)
    vars(made).update(content)
    monkeypatch.setitem(sys.modules, name, made)
    return name


def test_the_built_in_engines_are_found() -> None:
    engines = discover()
    assert {"pillow", "pyav"} <= set(engines)
    for found in Registry(engines).steps:
        assert found[1] in FORMATS
        assert found[2] in FORMATS


def test_an_engine_in_a_module_of_somebody_elses_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    name = module("their_engine", monkeypatch, ENGINE=engine("theirs", route("png", "jpg")))
    assert isinstance(discover([name])["theirs"], Engine)


def test_a_module_without_an_engine_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Unavailable, match="no_such_engine_module cannot be loaded"):
        discover(["no_such_engine_module"])
    with pytest.raises(Unavailable, match="empty_module cannot be loaded"):
        discover([module("empty_module", monkeypatch)])
    with pytest.raises(Unavailable, match="wrong_module is not an Engine"):
        discover([module("wrong_module", monkeypatch, ENGINE="pillow")])
