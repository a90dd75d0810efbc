"""Where pictures come to lie."""

from hypothesis import given
from hypothesis import strategies as st

from convertd.engines.pillow.geometry import place

sides = st.integers(1, 5000)
fits = st.sampled_from(["inside", "contain", "cover", "fill"])


@given(size=st.tuples(sides, sides), width=sides, height=sides, fit=fits, enlarge=st.booleans())
def test_nothing_is_larger_than_asked_and_nothing_is_scaled_up_unasked(
    size: tuple[int, int], width: int, height: int, fit: str, enlarge: bool
) -> None:
    placed = place(size, width, height, fit, enlarge)  # type: ignore[arg-type]
    left, top, right, bottom = placed.box
    assert placed.canvas[0] <= width
    assert placed.canvas[1] <= height
    assert placed.size[0] <= placed.canvas[0]
    assert placed.size[1] <= placed.canvas[1]
    assert left >= 0
    assert top >= 0
    assert right <= size[0] + 1e-6
    assert bottom <= size[1] + 1e-6
    if not enlarge:
        assert placed.size[0] <= max(1, round(right - left) + 1)
        assert placed.size[1] <= max(1, round(bottom - top) + 1)


@given(size=st.tuples(sides, sides), width=sides, height=sides, fit=fits)
def test_the_box_is_filled_where_enlarging_is_asked(
    size: tuple[int, int], width: int, height: int, fit: str
) -> None:
    placed = place(size, width, height, fit, True)  # type: ignore[arg-type]
    if fit == "inside":
        assert placed.canvas[0] == width or placed.canvas[1] == height
    else:
        assert placed.canvas == (width, height)


@given(size=st.tuples(sides, sides), width=sides, height=sides)
def test_outside_is_the_smallest_that_covers_the_box(size: tuple[int, int], width: int, height: int) -> None:
    placed = place(size, width, height, "outside", True)
    assert placed.canvas == placed.size
    assert placed.box == (0, 0, *size)
    assert placed.size[0] == width or placed.size[1] == height
    assert placed.size[0] >= width
    assert placed.size[1] >= height
    unasked = place(size, width, height, "outside", False)
    assert unasked.size[0] <= size[0]
    assert unasked.size[1] <= size[1]


def test_no_bounds_change_nothing() -> None:
    placed = place((7, 5), None, None, "inside", False)
    assert (placed.box, placed.size, placed.canvas) == ((0, 0, 7, 5), (7, 5), (7, 5))
