"""The camera's constants against closed forms, and the proof that 32 bits are enough."""

import numpy as np

from envs.labyrinth.units import (
    APPLE,
    BLOCK,
    DEPTH,
    HALF_WIDTH,
    MAX_CELLS,
    PORTAL,
    RADIUS,
    ROW_SCALE,
    SIDE,
    SIZE,
    STRIDE,
    TEXELS,
)

LIMIT = 2**31
LONGEST = int(np.hypot(SIDE, SIDE) * DEPTH) + 1
"""No depth in a maze is greater."""


def test_rays_span_ninety_degrees(lab):
    for heading in range(16):
        x, y = lab.rays.ray_x[heading] / DEPTH, lab.rays.ray_y[heading] / DEPTH
        turn = np.unwrap(np.arctan2(y, x)) - 2 * np.pi * heading / 16
        turn -= 2 * np.pi * np.round(turn[SIZE // 2] / (2 * np.pi))
        wanted = np.arctan((2 * np.arange(SIZE) - 83) / 84)
        assert np.abs(turn - wanted).max() < 3e-4
        ahead = lab.rays.forward[heading] / DEPTH
        along = x * ahead[0] + y * ahead[1]
        assert np.abs(along - 1).max() < 4e-4, "depth is measured along the heading"


def test_headings_are_exact_on_the_axes(lab):
    assert lab.rays.forward[::4].tolist() == [[DEPTH, 0], [0, DEPTH], [-DEPTH, 0], [0, -DEPTH]]
    assert lab.rays.stride[::4].tolist() == [[STRIDE, 0], [0, STRIDE], [-STRIDE, 0], [0, -STRIDE]]
    diagonal = round(STRIDE / np.sqrt(2))
    assert lab.rays.stride[2].tolist() == [diagonal, diagonal]


def test_crossings_are_the_inverse_of_the_rays(lab):
    # The shallowest ray is 11/4096 off an axis: its rounded component says little of its inverse.
    for ray, cross in ((lab.rays.ray_x, lab.rays.cross_x), (lab.rays.ray_y, lab.rays.cross_y)):
        steep = np.abs(ray) > 400
        assert np.abs(cross * np.abs(ray / DEPTH) / DEPTH - 1)[steep].max() < 2e-3
        assert (cross >= DEPTH / 1.5).all()


def test_the_floor_is_half_a_block_below_the_eye(lab):
    row = np.arange(SIZE // 2, SIZE)
    wanted = 42 / (2 * row - 83)  # blocks at which a ray that falls by row / 84 has fallen 1 / 2
    assert np.abs(lab.rays.floor_depth[row] / DEPTH - wanted).max() < 2e-4
    assert not lab.rays.floor_depth[: SIZE // 2].any()
    assert lab.rays.row.tolist() == list(range(-83, 84, 2))


def test_no_product_leaves_32_bits(lab):
    assert BLOCK * int(max(lab.rays.cross_x.max(), lab.rays.cross_y.max())) < LIMIT
    widest = int(max(np.abs(lab.rays.ray_x).max(), np.abs(lab.rays.ray_y).max()))
    assert int(lab.rays.floor_depth.max()) * widest < LIMIT
    assert LONGEST * widest < LIMIT
    assert LONGEST * ROW_SCALE < LIMIT
    assert 83 * (LONGEST * ROW_SCALE >> 10) < LIMIT
    assert 2 * SIDE * BLOCK * DEPTH < LIMIT
    assert int(np.abs(lab.rays.camera).max()) * LONGEST < LIMIT


def test_what_fits_where():
    assert SIDE == 2 * MAX_CELLS + 1
    assert RADIUS + STRIDE < BLOCK // 2
    for thing in (APPLE, PORTAL):  # else a ray could meet an object outside its block
        assert HALF_WIDTH[thing] <= TEXELS // 2
    exact = 2 * TEXELS * 2**16 / (2 * SIZE * DEPTH)
    assert abs(ROW_SCALE / 1024 / exact - 1) < 1e-4
