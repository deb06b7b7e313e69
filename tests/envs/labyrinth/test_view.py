"""What players see: against plain geometry, a stored picture, and the same on every backend.

The stored picture is made anew by ``python tests/envs/labyrinth/test_view.py``; look at it then.
"""

from pathlib import Path

import numpy as np
import pytest

from envs.labyrinth.arrays import NumpyArrays, TorchArrays
from envs.labyrinth.numba_view import NumbaView
from envs.labyrinth.textures import LIGHTS, Paint
from envs.labyrinth.units import (
    APPLE,
    BLOCK,
    EATEN,
    HALF_WIDTH,
    PORTAL,
    ROW_SCALE,
    SIDE,
    SIZE,
    TEXELS,
)
from envs.labyrinth.view import View

STORED = Path(__file__).parent / "known_view.png"
KNOWN = """
333333333333333
3   a      P  6
3 4 1 222222266
3   8 2   a   6
333 4 2 555 566
3         5   5
333333333333555
"""
KNOWN_PLACES = [(1, 1, 0), (1, 3, 14), (7, 5, 12), (13, 3, 8), (5, 3, 4), (9, 1, 1)]
CORRIDOR = "11111111111\n1         1\n11111111111"


@pytest.fixture(scope="module")
def view(lab):
    return View(NumpyArrays(), lab.rays, lab.paint)


@pytest.fixture(scope="module")
def crowded(lab):
    return lab.crowd(96)


def at(blocks, x, y, heading):
    """Return what ``draw`` takes, for one player at ``(x, y)`` in blocks."""
    return (
        blocks,
        np.array([int(x * BLOCK)]),
        np.array([int(y * BLOCK)]),
        np.array([heading]),
    )


def with_things(lab, **things):
    """Return a corridor with things at x = 1 to 9, by name ``x3="a"``."""
    blocks = lab.world(CORRIDOR)
    for name, letter in things.items():
        blocks[0, SIDE + int(name[1:])] = {"a": APPLE, "P": PORTAL, "e": EATEN}[letter]
    return blocks


# -- equal on every backend -----------------------------------------------------------------------


def test_numba_draws_the_same(lab, view, crowded):
    assert np.array_equal(NumbaView(lab.rays, lab.paint).draw(*crowded), view.draw(*crowded))


def test_torch_draws_the_same(lab, view, crowded):
    there = TorchArrays("labyrinth/random-v0", "cpu")
    blocks, *places = (part[:32] for part in crowded)
    sent = [there.array(blocks, "uint8"), *(there.array(part) for part in places)]
    drawn = View(there, lab.rays, lab.paint, chunk=20).draw(*sent).numpy()
    assert np.array_equal(drawn, view.draw(blocks, *places))


def test_a_picture_does_not_depend_on_the_batch(lab, view, crowded):
    some = [part[:7] for part in crowded]
    in_threes = View(NumpyArrays(), lab.rays, lab.paint, chunk=3).draw(*some)
    alone = np.concatenate([view.draw(*(part[k : k + 1] for part in some)) for k in range(7)])
    assert np.array_equal(in_threes, alone)


# -- geometry: what the map says is what the eye sees ---------------------------------------------


def test_walls_are_where_the_map_has_them(lab, view, crowded):
    blocks, x, y, heading = (part[:20] for part in crowded)
    columns = view.cast(blocks, x.astype(np.int32), y.astype(np.int32), heading)
    step = 1 / 256
    depth = np.arange(0, 22 * 1.5, step)
    wrong_wall = wrong_depth = 0
    for k in range(20):
        angle = 2 * np.pi * heading[k] / 16
        side = (2 * np.arange(SIZE)[:, None] - 83) / 84
        ray_x = np.cos(angle) - side * np.sin(angle)
        ray_y = np.sin(angle) + side * np.cos(angle)
        to_x = np.clip(x[k] / BLOCK + ray_x * depth, 0, SIDE - 0.01).astype(int)
        to_y = np.clip(y[k] / BLOCK + ray_y * depth, 0, SIDE - 0.01).astype(int)
        met = blocks[k][to_y * SIDE + to_x]
        wall = (met > 0) & (met < APPLE)
        first = wall.argmax(1)
        wrong_wall += (met[np.arange(SIZE), first] != columns.base[k] // TEXELS**2).sum()
        seen = columns.slope[k] * 1024 / ROW_SCALE / 4096
        wrong_depth += (np.abs(seen - depth[first]) > 0.02 + 0.01 * seen).sum()
    # Where two walls meet in an edge, a march by steps takes one for the other.
    assert wrong_wall <= 0.01 * 20 * SIZE
    assert wrong_depth <= 0.01 * 20 * SIZE


@pytest.mark.parametrize(("distance", "rows"), [(1, 42), (3, 14), (4, 10), (7, 6)])
def test_a_wall_is_as_high_as_its_distance_says(lab, view, distance, rows):
    picture = view.draw(*at(lab.world(CORRIDOR), 10 - distance, 1.5, 0))[0]
    column = picture[:, SIZE // 2]
    sky = np.stack([lab.paint.sky >> shift & 255 for shift in (0, 8, 16)], -1)
    above = 42 - rows // 2
    assert (column[:above] == sky[:above]).all()
    assert (column[above] != sky[above]).any()
    changed = view.draw(*at(np.where(lab.world(CORRIDOR) == 1, 2, 0).astype(np.uint8),
                            10 - distance, 1.5, 0))[0]  # fmt: skip
    differs = (changed[:, SIZE // 2] != column).any(-1)
    assert np.flatnonzero(differs).min() == above
    assert np.flatnonzero(differs).max() == SIZE - above - 1


def test_each_texel_of_a_wall_seen_from_the_front(lab, view):
    # At a depth of 1 a block fills 42 columns; its texels are where plain proportions put them.
    blocks = np.where(lab.world(CORRIDOR) == 1, 7, 0).astype(np.uint8)
    picture = view.draw(*at(blocks, 9, 1.5, 0))[0]
    walls = lab.paint.walls.reshape(-1, TEXELS, TEXELS)[7]
    colours = lab.paint.colours.reshape(LIGHTS, 64)
    light = 4 + 5  # four levels a block, and five for a wall that faces west
    for row in range(22, 62):
        for column in range(22, 62):
            across = (0.5 + (2 * column - 83) / 84) * TEXELS
            down = (0.5 + (2 * row - 83) / 84) * TEXELS
            if min(abs(across - round(across)), abs(down - round(down))) < 0.01:
                continue  # on the line between two texels either will do
            packed = colours[light, walls[int(across), int(down)]]
            wanted = [packed & 255, packed >> 8 & 255, packed >> 16 & 255]
            assert picture[row, column].tolist() == wanted, (row, column)


def test_the_floor_is_tiled_by_place(lab, view):
    room = "1" * 11 + "\n" + ("1" + " " * 9 + "1\n") * 9 + "1" * 11
    x, y = 3.3, 4.7
    picture = view.draw(*at(lab.world(room), x, y, 0))[0]
    floor = lab.paint.floor.reshape(TEXELS, TEXELS)
    colours = lab.paint.colours.reshape(LIGHTS, 64)
    wrong = 0
    for row in range(56, 84):
        for column in range(SIZE):
            depth = 42 / (2 * row - 83)
            ahead, aside = x + depth, y + depth * (2 * column - 83) / 84
            texel = floor[int(aside * TEXELS) % TEXELS, int(ahead * TEXELS) % TEXELS]
            packed = colours[int(depth * 4), texel]
            wrong += picture[row, column].tolist() != [packed >> s & 255 for s in (0, 8, 16)]
    assert wrong <= 0.06 * 28 * SIZE, "lengths are rounded to 1/1024 block, texels are 1/32"


def test_far_walls_are_dim_and_walls_to_the_east_darker(lab, view):
    blocks = lab.world("111111\n1    1\n1    1\n1    1\n1    1\n111111")
    lights = []
    for heading, x, y in ((0, 2.0, 3.0), (4, 3.0, 2.0), (0, 4.5, 3.0)):
        _, px, py, turn = at(blocks, x, y, heading)
        columns = view.cast(blocks, px.astype(np.int32), py.astype(np.int32), turn)
        lights.append(int(columns.light[0, 42]) // LIGHTS)
    assert lights == [3 * 4 + 5, 3 * 4, 2 + 5]
    brightness = lab.paint.colours.reshape(LIGHTS, 64) & 255
    spread = brightness[:, 8:].std(1)
    assert (np.diff(spread) <= 0.3).all(), "contrast fades with distance"
    assert spread[-1] < 0.15 * spread[0]


# -- apples and the portal ------------------------------------------------------------------------


@pytest.mark.parametrize(("letter", "kind"), [("a", 0), ("P", 1)])
@pytest.mark.parametrize("x", [3, 5])
def test_a_thing_has_its_size_and_form(lab, view, letter, kind, x):
    eye = 1.3
    bare = view.draw(*at(with_things(lab), eye, 1.45, 0))[0]
    seen = view.draw(*at(with_things(lab, **{f"x{x}": letter}), eye, 1.45, 0))[0]
    differs = (seen != bare).any(-1)
    texels = lab.paint.things.reshape(2, TEXELS, TEXELS)[kind]
    depth, wanted = x + 0.5 - eye, np.zeros((SIZE, SIZE), bool)
    for row in range(SIZE):
        for column in range(SIZE):
            across = int(np.floor(16 + TEXELS * (depth * (2 * column - 83) / 84 - 0.05)))
            down = int(np.floor(16 + TEXELS * depth * (2 * row - 83) / 84))
            if 0 <= across < TEXELS and 0 <= down < TEXELS:
                wanted[row, column] = texels[across, down] > 0
    assert wanted.sum() > 10
    assert (wanted ^ differs).sum() <= max(2, 0.03 * wanted.sum())


def test_no_texel_lies_beyond_a_things_width(lab):
    for kind, thing in enumerate((APPLE, PORTAL)):
        shown = np.flatnonzero(lab.paint.things.reshape(2, TEXELS, TEXELS)[kind].any(1))
        assert shown.min() >= 16 - HALF_WIDTH[thing]
        assert shown.max() < 16 + HALF_WIDTH[thing]


def test_a_thing_behind_a_wall_is_not_seen(lab, view):
    text = "1111111\n1  1a 1\n1111111"
    bare = lab.world(text.replace("a", " "))
    assert np.array_equal(
        view.draw(*at(lab.world(text), 1.5, 1.5, 0)), view.draw(*at(bare, 1.5, 1.5, 0))
    )


def test_a_thing_behind_the_player_is_not_seen(lab, view):
    assert np.array_equal(
        view.draw(*at(with_things(lab, x2="P"), 4.5, 1.5, 0)),
        view.draw(*at(with_things(lab), 4.5, 1.5, 0)),
    )


def test_an_eaten_apple_is_gone(lab, view):
    eaten = view.draw(*at(with_things(lab, x4="e", x6="P"), 1.5, 1.5, 0))
    assert np.array_equal(eaten, view.draw(*at(with_things(lab, x6="P"), 1.5, 1.5, 0)))


def test_near_things_hide_far_ones(lab, view):
    def picture(**things):
        return view.draw(*at(with_things(lab, **things), 1.5, 1.5, 0))[0]

    bare, near, far = picture(), picture(x3="P"), picture(x6="a")
    both = picture(x3="P", x6="a")
    by_portal, by_apple = (near != bare).any(-1), (far != bare).any(-1)
    assert (by_portal & by_apple).any()
    assert np.array_equal(both[by_portal], near[by_portal])
    only = by_apple & ~by_portal
    assert np.array_equal(both[only], far[only])


def test_the_three_nearest_things_of_a_column_are_shown(lab, view):
    def column(**things):
        return view.draw(*at(with_things(lab, **things), 1.5, 1.5, 0))[0, :, SIZE // 2]

    two, three = column(x3="a", x4="a"), column(x3="a", x4="a", x5="a")
    assert not np.array_equal(column(x3="a", x4="a", x5="P"), two)
    assert np.array_equal(column(x3="a", x4="a", x5="a", x6="P"), three)


# -- a stored picture -----------------------------------------------------------------------------


def known_pictures(lab, view):
    """Return six views of a known map side by side, uint8 ``[168, 252, 3]``."""
    blocks = lab.world(KNOWN)
    views = [view.draw(*at(blocks, x + 0.5, y + 0.5, turn))[0] for x, y, turn in KNOWN_PLACES]
    return np.concatenate([np.concatenate(views[k : k + 3], 1) for k in (0, 3)])


def test_a_known_map_looks_as_it_did(lab, view):
    image = pytest.importorskip("PIL.Image")
    assert np.array_equal(known_pictures(lab, view), np.asarray(image.open(STORED)))


def test_paint_is_whole_numbers_in_range(lab):
    paint: Paint = lab.paint
    for texels in (paint.walls, paint.things, paint.floor):
        assert texels.dtype == np.uint8
        assert texels.max() < 64
    assert paint.walls.shape == (9 * TEXELS * TEXELS,)
    assert (paint.walls[TEXELS * TEXELS :] > 0).all(), "walls have no holes"
    for ink in (paint.colours, paint.sky):
        assert ink.min() >= 0
        assert ink.max() < 1 << 24
    assert (np.diff(paint.floor_light[42:]) <= 0).all()


if __name__ == "__main__":
    from types import SimpleNamespace

    from conftest import world
    from PIL import Image

    from envs.labyrinth.textures import make_paint
    from envs.labyrinth.units import ray_tables

    table = ray_tables()
    here = SimpleNamespace(world=world, rays=table, paint=make_paint(table))
    Image.fromarray(known_pictures(here, View(NumpyArrays(), table, here.paint))).save(STORED)
