"""The canvas: where things land, in which colour; the terminal; the colour scales."""

import subprocess
import sys

import numpy as np
import pytest

from envs.core.canvas import Canvas, text_screen
from envs.core.palette import PALETTE, mix, rgba, shade

INK, PAPER, RED = (PALETTE[name] for name in ("ink", "paper", "red"))


def at(picture, column, row):
    return tuple(picture[row, column].tolist())


def box(picture, background=PAPER):
    """Columns and rows (first, last) of what was drawn."""
    rows, columns = np.nonzero((picture != background).any(2))
    return int(columns.min()), int(columns.max()), int(rows.min()), int(rows.max())


def test_an_empty_canvas():
    picture = Canvas(30, 20, (0, 1), (0, 1)).array()
    assert picture.shape == (20, 30, 3)
    assert picture.dtype == np.uint8
    assert (picture == PAPER).all()
    assert at(Canvas(2, 2, background="#102030").array(), 0, 0) == (16, 32, 48)


def test_world_coordinates_y_up():
    canvas = Canvas(100, 50, (-1, 1), (0, 2))
    assert canvas.pixels([(-1, 2), (1, 0), (0, 1)]).tolist() == [[0, 0], [100, 50], [50, 25]]
    canvas.rectangle(0, 0, 1, 1, "red")
    picture = canvas.array()
    assert box(picture) == (50, 99, 25, 49)
    assert at(picture, 75, 40) == RED


def test_pixels_and_reversed_ranges():
    canvas = Canvas(40, 20)
    assert canvas.pixels([(0, 0), (40, 20)]).tolist() == [[0, 0], [40, 20]]
    down = Canvas(40, 20, (0, 4), (2, 0))
    assert down.pixels((1, 0.5)).tolist() == [10, 5]


def test_fitted_shows_all_with_equal_units():
    canvas = Canvas.fitted(200, 100, (0, 10, 0, 10), margin=10)
    (left, top), (right, bottom) = canvas.pixels([(0, 10), (10, 0)])
    assert (left, top, right, bottom) == (60, 10, 140, 90)


def test_circle_is_round_and_in_place():
    canvas = Canvas(60, 60, (0, 6), (0, 6))
    canvas.circle((2, 4), 1, "red")
    picture = canvas.array()
    left, right, top, bottom = box(picture)
    assert (left, top) == (10, 10)
    assert abs(right - 30) <= 1
    assert abs(bottom - 30) <= 1
    area = (picture == RED).all(2).sum()
    assert abs(area - np.pi * 100) < 30


@pytest.mark.parametrize("width", [1, 3, 6])
def test_line_width_is_in_pixels_whatever_the_supersampling(width):
    for supersample in (1, 2, 3):
        canvas = Canvas(40, 40, (0, 1), (0, 1), supersample=supersample)
        canvas.line((0.2, 0.5), (0.8, 0.5), "ink", width)
        column = canvas.array()[:, 20].astype(float)
        covered = (np.array(PAPER) - column)[:, 0].sum() / (PAPER[0] - INK[0])
        assert covered == pytest.approx(width, abs=0.6)


def test_polygon_outline_arrow_dot_and_image():
    canvas = Canvas(50, 50, (0, 5), (0, 5))
    canvas.polygon([(1, 1), (4, 1), (1, 4)], "blue", "ink", 2)
    canvas.dot((4, 4), 3, "green")
    canvas.arrow((0.2, 0.2), (0.2, 0.2))
    picture = canvas.array()
    assert at(picture, 15, 35) == PALETTE["blue"]
    assert at(picture, 10, 25) == INK
    assert at(picture, 40, 10) == PALETTE["green"]
    canvas = Canvas(50, 50, (0, 5), (0, 5), supersample=1)
    canvas.arrow((1, 2.5), (4, 2.5), "red", 1, head=10)
    picture = canvas.array()
    assert at(picture, 15, 25) == RED
    heights = (picture == RED).all(2).sum(0)
    assert heights[15] == 1
    assert heights[31] > heights[36] > heights[39]
    tile = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    canvas.image(tile, 1, 1, 3, 3)
    picture = canvas.array()
    assert [at(picture, c, r) for r in (22, 38) for c in (12, 28)] == [
        (0, 1, 2), (3, 4, 5), (6, 7, 8), (9, 10, 11),
    ]  # fmt: skip


def test_see_through_colours():
    canvas = Canvas(10, 10, background="white")
    canvas.rectangle(0, 0, 10, 10, (0, 0, 0, 51))
    assert at(canvas.array(), 5, 5) == (204, 204, 204)


@pytest.mark.parametrize(
    ("anchor", "where"), [("la", (0, 1)), ("mm", (1, 1)), ("rd", (1, 0)), ("ld", (0, 0))]
)
def test_text_lies_at_its_anchor(anchor, where):
    canvas = Canvas(100, 60)
    canvas.text((50, 30), "Hop", 16, "ink", anchor)
    left, right, top, bottom = box(canvas.array())
    middle = (left + right) / 2, (top + bottom) / 2
    if anchor == "mm":
        assert middle == pytest.approx((50, 30), abs=2)
    else:
        assert (middle[0] < 50) == (anchor[0] == "r")
        assert (middle[1] < 30) == (anchor[1] == "d")


def test_text_sizes_lines_and_pixels():
    def height(size, text="Hg"):
        canvas = Canvas(200, 120, (0, 1), (0, 1))
        canvas.text((0.5, 0.5), text, size)
        _, _, top, bottom = box(canvas.array())
        return bottom - top

    assert height(40) == pytest.approx(2 * height(20), abs=3)
    assert height(2) == height(9), "never smaller than can be read"
    assert height(16, "H\nH") == pytest.approx(height(16, "H") + 20, abs=1)
    one, other = Canvas(50, 50, (0, 1), (0, 1)), Canvas(50, 50, (0, 1), (0, 1))
    one.text((0.5, 0.5), "x")
    other.text((25, 25), "x", pixels=True)
    assert (one.array() == other.array()).all()
    one.text((0.5, 0.2), "halo", halo="red")
    assert (one.array() == RED).all(2).any()


@pytest.mark.parametrize(
    "arguments",
    [(0, 10), (10, 10, (1, 1)), (10, 10, (0, 1), (2, 2)), (10, 10, None, None, "red", 0)],
)
def test_impossible_canvases(arguments):
    with pytest.raises(ValueError, match="a canvas of"):
        Canvas(*arguments)


def test_colours():
    assert rgba("red") == (*RED, 255)
    assert rgba("#0a0B0c") == (10, 11, 12, 255)
    assert rgba("#0a0b0c80") == (10, 11, 12, 128)
    assert rgba((1, 2, 3)) == (1, 2, 3, 255)
    assert rgba([1, 2, 3, 4]) == (1, 2, 3, 4)
    assert mix("black", "white", 0.25) == (64, 64, 64, 255)
    for bad in ("rot", "0a0b0c", "#0a0b", "#zzzzzz", (1, 2), (1, 2, 300), (-1, 0, 0)):
        with pytest.raises(ValueError, match="is no colour"):
            rgba(bad)


def test_scales():
    low, middle, high = shade([-5, 0, 9], -1, 1).tolist()
    assert (low, middle, high) == ([29, 63, 114], [247, 246, 242], [125, 29, 35])
    assert shade(np.zeros((4, 3)), 0, 1, "heat").shape == (4, 3, 3)
    assert shade([np.nan, -1], -1, 1).tolist() == [[*PALETTE["grey"]], [29, 63, 114]]
    quarter = shade([-0.5, -0.75], -1, 1)
    assert quarter[0].tolist() == [94, 147, 201]
    assert quarter[1].tolist() == [62, 105, 158]
    with pytest.raises(ValueError, match="no colour scale 'jet'"):
        shade([0.0], 0, 1, "jet")
    with pytest.raises(ValueError, match="low must be below high"):
        shade([0.0], 1, 1)


# -- the terminal ---------------------------------------------------------------------------------


def ink_cells(picture, columns, rows, size=16):
    """Which cells of a text screen have anything in them."""
    edge, height, width = size, round(size * 1.3), (picture.shape[1] - 2 * size) / columns
    found = np.zeros((rows, columns), bool)
    for row in range(rows):
        for column in range(columns):
            left = edge + column * width
            part = picture[edge + row * height : edge + (row + 1) * height,
                           round(left + 1) : round(left + width - 1)]  # fmt: skip
            found[row, column] = (part != PALETTE["night"]).any()
    return found


def test_letters_lie_in_their_cells():
    picture = text_screen(["ab c", "", "  d"], 8, 5)
    found = ink_cells(picture, 8, 5)
    assert found.astype(int).tolist() == [
        [1, 1, 0, 1, 0, 0, 0, 0],
        [0] * 8,
        [0, 0, 1, 0, 0, 0, 0, 0],
        [0] * 8,
        [0] * 8,
    ]


def test_size_does_not_depend_on_the_text():
    shapes = {text_screen(lines, 20, 4).shape for lines in ([], ["x" * 500], ["\x00\x07", "é✓│"])}
    assert len(shapes) == 1


def test_long_lines_wrap_at_spaces():
    found = ink_cells(text_screen(["aaa bbb cccccc"], 5, 5), 5, 5).sum(1).tolist()
    assert found == [3, 3, 5, 1, 0]
    assert ink_cells(text_screen(["aaaaa bb"], 5, 3), 5, 3).sum(1).tolist() == [5, 2, 0]
    assert ink_cells(text_screen(["a\nbb"], 5, 3), 5, 3).sum(1).tolist() == [1, 2, 0]


def test_the_last_rows_are_shown():
    one = text_screen([f"line {k}" for k in range(30)], 10, 3)
    assert (one == text_screen(["line 27", "line 28", "line 29"], 10, 3)).all()


def test_pieces_have_their_colours():
    picture = text_screen([[("aaaa", "red"), ("bbbb", "#00ff00")]], 8, 1)
    half = picture.shape[1] // 2
    assert (picture[:, :half] == RED).all(2).any()
    assert not (picture[:, half:] == RED).all(2).any()
    assert (picture[:, half:] == (0, 255, 0)).all(2).any()


def test_control_characters_are_seen():
    assert ink_cells(text_screen(["\x00\x1b"], 3, 1), 3, 1).tolist() == [[True, True, False]]


def test_without_pillow_the_extra_is_named():
    code = (
        "import sys; sys.modules['PIL'] = None\n"
        "from envs.core.canvas import Canvas\n"
        "try: Canvas(5, 5)\n"
        "except ImportError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "pictures need Pillow: pip install 'rlcore[render]'\n"
