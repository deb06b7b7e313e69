"""GPU kernels of the fluid and of the coupled chain, for hundreds of environments in one batch.

``fluid_kernel`` streams, collides and closes the ends in one pass: each population is read once
and written once. ``chain_kernel`` runs one program an environment: it senses the fluid at the
markers, solves the two small linear systems by Gauss-Jordan elimination in registers (both are
symmetric positive definite: no pivoting), turns the links and leaves the markers' forces in a
patch of integers, whose sums do not depend on the order of the threads. The formulas are those of
:mod:`envs.finray.lattice` and :mod:`envs.finray.coupling`.
"""

from __future__ import annotations

import triton
import triton.language as tl

FIXED_POINT = tl.constexpr(float(2**44))
"""Forces in the patch are integers of this fraction of the lattice unit."""


@triton.jit
def _collide(f0, f1, f2, f3, f4, f5, f6, f7, f8, fx, fy, keep):  # type: ignore[no-untyped-def]
    rho = f0 + (f1 + f3) + (f2 + f4) + ((f5 + f7) + (f6 + f8))
    gx, gy = 0.5 * fx, 0.5 * fy
    ru = (f1 - f3) + ((f5 + f8) - (f6 + f7)) + gx
    rv = (f2 - f4) + ((f5 + f6) - (f7 + f8)) + gy
    u, v = ru / rho, rv / rho
    ruu, rvv, ruv = ru * u, rv * v, ru * v
    shear_force = u * gy + v * gx
    difference = 0.5 * keep * ((f1 + f3) - (f2 + f4) - (ruu - rvv) + 2 * (u * gx - v * gy))
    kxy = keep * ((f5 + f7) - (f6 + f8) - ruv + shear_force)
    kxx, kyy = rho * (1 / 3) + difference, rho * (1 / 3) - difference
    pxx, pyy = kxx + 2 * u * gx + ruu, kyy + 2 * v * gy + rvv
    pxy = kxy + shear_force + ruv
    kxxy, kxyy = gy * (1 / 3), gx * (1 / 3)
    qxxy = kxxy + 2 * u * kxy + v * kxx + u * u * gy + 2 * u * v * gx + ruu * v
    qxyy = kxyy + 2 * v * kxy + u * kyy + v * v * gx + 2 * u * v * gy + rvv * u
    rest = rho * (1 / 9) + 2 * u * kxyy + 2 * v * kxxy + u * u * kyy + v * v * kxx
    rest = rest + 4 * u * v * kxy + u * v * (2 * v * gx + 2 * u * gy + ruv)
    jx, jy = ru + gx, rv + gy
    n0 = rho - pxx - pyy + rest
    n1 = 0.5 * (jx + pxx - qxyy - rest)
    n2 = 0.5 * (jy + pyy - qxxy - rest)
    n3 = 0.5 * (pxx - jx + qxyy - rest)
    n4 = 0.5 * (pyy - jy + qxxy - rest)
    n5 = 0.25 * (pxy + qxxy + qxyy + rest)
    n6 = 0.25 * (qxxy - pxy - qxyy + rest)
    n7 = 0.25 * (pxy - qxxy - qxyy + rest)
    n8 = 0.25 * (qxyy - pxy - qxxy + rest)
    return n0, n1, n2, n3, n4, n5, n6, n7, n8, u * u + v * v


@triton.jit
def _pull(f, x, y, q: tl.constexpr, m: tl.constexpr, cx: tl.constexpr, cy: tl.constexpr,
          NX: tl.constexpr, NY: tl.constexpr, PERIODIC: tl.constexpr, mask):  # type: ignore[no-untyped-def]  # fmt: skip
    """Load population ``q`` streamed into the cells; ``m`` is its mirror in a free-slip wall."""
    row = y - cy
    plane = q + 0 * y
    if cy != 0:
        outside = (row < 0) | (row >= NY)
        if PERIODIC:
            row = tl.where(row < 0, NY - 1, tl.where(row >= NY, 0, row))
        else:
            row = tl.where(outside, y, row)
            plane = tl.where(outside, m, plane)
    return tl.load(f + plane * (NY * NX) + row * NX + x - cx, mask=mask)


@triton.jit
def fluid_kernel(f_ptr, g_ptr, patch_ptr, inlet_ptr, live_ptr, top_ptr, scalar_ptr,
                 NX: tl.constexpr, NY: tl.constexpr, PX: tl.constexpr, PY: tl.constexpr,
                 PW: tl.constexpr, PH: tl.constexpr, PERIODIC: tl.constexpr,
                 BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]  # fmt: skip
    """Write into ``g`` the populations one step after ``f``, and clear the patch of forces."""
    env = tl.program_id(1)
    cell = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mask = cell < NX * NY
    column, y = cell % NX, cell // NX
    x = tl.minimum(tl.maximum(column, 1), NX - 2)  # an end column takes its neighbour's values
    f = f_ptr + env.to(tl.int64) * (9 * NX * NY)
    g = g_ptr + env.to(tl.int64) * (9 * NX * NY) + cell
    plane = NX * NY
    if tl.load(live_ptr + env) == 0:
        for q in range(9):
            tl.store(g + q * plane, tl.load(f + q * plane + cell, mask=mask), mask=mask)
    else:
        px, py = x - PX, y - PY
        inside = mask & (x == column) & (px >= 0) & (px < PW) & (py >= 0) & (py < PH)
        patch = patch_ptr + env.to(tl.int64) * (2 * PW * PH) + py * PW + px
        fx = tl.load(patch, mask=inside, other=0)
        fy = tl.load(patch + PW * PH, mask=inside, other=0)
        tl.store(patch, tl.zeros_like(fx), mask=inside & (fx != 0))
        tl.store(patch + PW * PH, tl.zeros_like(fy), mask=inside & (fy != 0))
        f0 = tl.load(f + y * NX + x, mask=mask, other=1.0)
        keep = tl.load(scalar_ptr).to(f0.dtype)
        fx = (fx.to(tl.float64) / FIXED_POINT).to(f0.dtype)
        fy = (fy.to(tl.float64) / FIXED_POINT).to(f0.dtype)
        f1 = _pull(f, x, y, 1, 1, 1, 0, NX, NY, PERIODIC, mask)
        f2 = _pull(f, x, y, 2, 4, 0, 1, NX, NY, PERIODIC, mask)
        f3 = _pull(f, x, y, 3, 3, -1, 0, NX, NY, PERIODIC, mask)
        f4 = _pull(f, x, y, 4, 2, 0, -1, NX, NY, PERIODIC, mask)
        f5 = _pull(f, x, y, 5, 8, 1, 1, NX, NY, PERIODIC, mask)
        f6 = _pull(f, x, y, 6, 7, -1, 1, NX, NY, PERIODIC, mask)
        f7 = _pull(f, x, y, 7, 6, -1, -1, NX, NY, PERIODIC, mask)
        f8 = _pull(f, x, y, 8, 5, 1, -1, NX, NY, PERIODIC, mask)
        n0, n1, n2, n3, n4, n5, n6, n7, n8, square = _collide(
            f0, f1, f2, f3, f4, f5, f6, f7, f8, fx, fy, keep
        )
        tl.atomic_max(top_ptr + env, tl.max(tl.where(mask, square, 0.0), 0).to(tl.float32))
        # The inflow column: equilibrium at the neighbour's density and the speed of the stream.
        rho = n0 + n1 + n2 + n3 + n4 + n5 + n6 + n7 + n8
        inflow, u = column == 0, tl.load(inlet_ptr + y, mask=mask, other=0.0)
        even = 1 / 3 + u * u
        middle, east, west = rho * (1 - even), rho * 0.5 * (even + u), rho * 0.5 * (even - u)
        n0 = tl.where(inflow, middle * (2 / 3), n0)
        n1 = tl.where(inflow, east * (2 / 3), n1)
        n2 = tl.where(inflow, middle * (1 / 6), n2)
        n3 = tl.where(inflow, west * (2 / 3), n3)
        n4 = tl.where(inflow, middle * (1 / 6), n4)
        n5 = tl.where(inflow, east * (1 / 6), n5)
        n6 = tl.where(inflow, west * (1 / 6), n6)
        n7 = tl.where(inflow, west * (1 / 6), n7)
        n8 = tl.where(inflow, east * (1 / 6), n8)
        tl.store(g, n0, mask=mask)
        tl.store(g + plane, n1, mask=mask)
        tl.store(g + 2 * plane, n2, mask=mask)
        tl.store(g + 3 * plane, n3, mask=mask)
        tl.store(g + 4 * plane, n4, mask=mask)
        tl.store(g + 5 * plane, n5, mask=mask)
        tl.store(g + 6 * plane, n6, mask=mask)
        tl.store(g + 7 * plane, n7, mask=mask)
        tl.store(g + 8 * plane, n8, mask=mask)


@triton.jit
def _delta(distance):  # type: ignore[no-untyped-def]
    """Return the three-point delta function of Roma, Peskin & Berger at a distance >= 0."""
    near = (1 + tl.sqrt(tl.maximum(1 - 3 * distance * distance, 0.0))) / 3
    other = 1 - distance
    far = (5 - 3 * distance - tl.sqrt(tl.maximum(1 - 3 * other * other, 0.0))) / 6
    return tl.where(distance <= 0.5, near, tl.where(distance <= 1.5, far, 0.0))


@triton.jit
def _take(tile, index, p, axis: tl.constexpr):  # type: ignore[no-untyped-def]
    """Return row (axis 0) or column (axis 1) ``p`` of a tile."""
    if axis == 0:
        taken = tl.sum(tl.where(index[:, None] == p, tile, 0.0), 0)
    else:
        taken = tl.sum(tl.where(index[None, :] == p, tile, 0.0), 1)
    return taken


@triton.jit
def chain_kernel(f_ptr, patch_ptr,  # noqa: C901
                 theta_ptr, omega_ptr, a0_ptr, a1_ptr, live_ptr, top_ptr,
                 done_ptr, fastest_ptr, tip_ptr, sums_ptr, arms_ptr, inertia_ptr, hessian_ptr,
                 turn_ptr, joint_ptr, pull_ptr, weight_ptr, scalar_ptr, steps,
                 NX: tl.constexpr, NY: tl.constexpr, PX: tl.constexpr, PY: tl.constexpr,
                 PW: tl.constexpr, PH: tl.constexpr, LINKS: tl.constexpr, MARKERS: tl.constexpr,
                 ACTIONS: tl.constexpr, N: tl.constexpr, M: tl.constexpr,
                 R: tl.constexpr):  # type: ignore[no-untyped-def]  # fmt: skip
    """Advance the chain of one environment by a step and leave its forces in the patch.

    ``N``, ``M`` and ``R`` are the powers of two that hold the links, the markers, and the links
    with two more columns.
    """
    env = tl.program_id(0)
    base_x, base_y = tl.load(scalar_ptr + 1), tl.load(scalar_ptr + 2)
    spacing, link = tl.load(scalar_ptr + 3), tl.load(scalar_ptr + 4)
    regularisation, limit = tl.load(scalar_ptr + 5), tl.load(scalar_ptr + 6)
    # What the last step of the fluid reached decides whether this environment goes on.
    square = tl.load(top_ptr + env)
    fastest = tl.load(fastest_ptr + env)
    tl.store(fastest_ptr + env, tl.maximum(fastest, tl.sqrt(square.to(tl.float64))))
    tl.store(top_ptr + env, 0.0)
    live = tl.load(live_ptr + env)
    fine = (square <= limit * limit) & (live != 0)
    tl.store(live_ptr + env, tl.where(fine, live, 0))
    done = tl.load(done_ptr + env)
    if fine & (done < steps):
        row, marker, column = tl.arange(0, N), tl.arange(0, M), tl.arange(0, R)
        has_link, has_marker, of_link = row < LINKS, marker < MARKERS, column < LINKS
        theta = tl.load(theta_ptr + env * LINKS + row, mask=has_link, other=0.0)
        tl.load(omega_ptr + env * LINKS + row, mask=has_link, other=0.0)
        theta_c = tl.load(theta_ptr + env * LINKS + column, mask=of_link, other=0.0)
        omega_c = tl.load(omega_ptr + env * LINKS + column, mask=of_link, other=0.0)
        arms = tl.load(
            arms_ptr + marker[:, None] * LINKS + column[None, :],
            mask=has_marker[:, None] & of_link[None, :], other=0.0,
        )  # fmt: skip
        sin_c, cos_c = tl.sin(theta_c), tl.cos(theta_c)
        x = base_x + tl.sum(arms * cos_c[None, :], 1)
        y = base_y + tl.sum(arms * sin_c[None, :], 1)
        ix, iy = tl.floor(x + 0.5), tl.floor(y + 0.5)
        column_of, row_of = ix.to(tl.int32), iy.to(tl.int32)

        # Velocity at the markers after streaming.
        f = f_ptr + env.to(tl.int64) * (9 * NX * NY)
        u, v = tl.zeros([M], tl.float64), tl.zeros([M], tl.float64)
        for j in tl.static_range(-1, 2):
            for i in tl.static_range(-1, 2):
                rho, jx, jy = (tl.zeros([M], tl.float64), tl.zeros([M], tl.float64),
                               tl.zeros([M], tl.float64))  # fmt: skip
                for qy in tl.static_range(-1, 2):
                    for qx in tl.static_range(-1, 2):
                        # Number of the population with the velocity (qx, qy).
                        if qx * qy != 0:
                            q = 5 + (1 - qy) + (1 - qx * qy) // 2
                        elif qx != 0:
                            q = 2 - qx
                        else:
                            q = 3 - qy if qy != 0 else 0
                        at = (row_of + (j - qy + NY)) % NY
                        value = tl.load(
                            f + q * (NX * NY) + at * NX + column_of + (i - qx),
                            mask=has_marker, other=1.0,
                        ).to(tl.float64)  # fmt: skip
                        rho += value
                        jx += qx * value
                        jy += qy * value
                share = _delta(tl.abs(ix + i - x)) * _delta(tl.abs(iy + j - y)) / rho
                u += share * jx
                v += share * jy

        # z = B [arms, u, v] by elimination of the overlap matrix.
        across_x, across_y = tl.zeros([M, M], tl.float64), tl.zeros([M, M], tl.float64)
        for i in tl.static_range(-1, 2):
            here = _delta(tl.abs(ix + i - x))
            across_x += here[:, None] * _delta(tl.abs((ix + i)[:, None] - x[None, :]))
            here = _delta(tl.abs(iy + i - y))
            across_y += here[:, None] * _delta(tl.abs((iy + i)[:, None] - y[None, :]))
        both = has_marker[:, None] & has_marker[None, :]
        matrix = tl.where(both, spacing * across_x * across_y, 0.0)
        matrix += tl.where(marker[:, None] == marker[None, :], regularisation, 0.0)
        z = arms + tl.where(column[None, :] == LINKS, u[:, None], 0.0)
        z += tl.where(column[None, :] == LINKS + 1, v[:, None], 0.0)
        z = tl.where(has_marker[:, None], 2 * spacing * z, 0.0)
        for p in range(MARKERS):
            a_row, z_row, a_column = (
                _take(matrix, marker, p, 0),
                _take(z, marker, p, 0),
                _take(matrix, marker, p, 1),
            )
            pivot = tl.sum(tl.where(marker == p, a_row, 0.0), 0)
            a_row, z_row = a_row / pivot, z_row / pivot
            a_column = tl.where(marker == p, pivot - 1.0, a_column)
            matrix -= a_column[:, None] * a_row[None, :]
            z -= a_column[:, None] * z_row[None, :]

        # The linear system of the rates: its matrix, and its right side in the next column.
        drag = tl.zeros([N, R], tl.float64)
        for p in range(MARKERS):
            arm = tl.load(arms_ptr + p * LINKS + row, mask=has_link, other=0.0)
            drag += arm[:, None] * _take(z, marker, p, 0)[None, :]
        pull_x, pull_y = _take(drag, column, LINKS, 1), _take(drag, column, LINKS + 1, 1)
        square_mask = has_link[:, None] & of_link[None, :]
        offset = row[:, None] * LINKS + column[None, :]
        inertia = tl.load(inertia_ptr + offset, mask=square_mask, other=0.0)
        hessian = tl.load(hessian_ptr + offset, mask=square_mask, other=0.0)
        sin, cos = tl.sin(theta), tl.cos(theta)
        across = cos[:, None] * cos_c[None, :] + sin[:, None] * sin_c[None, :]
        along = sin[:, None] * cos_c[None, :] - cos[:, None] * sin_c[None, :]
        weight = tl.load(weight_ptr + row, mask=has_link, other=0.0)
        right = cos * pull_y - sin * pull_x - weight * sin
        swing = inertia * (across * omega_c[None, :] - along * (omega_c * omega_c)[None, :])
        right += tl.sum(swing - hessian * theta_c[None, :], 1)
        joint = tl.load(joint_ptr + row, mask=has_link, other=0.0)
        rest, before = tl.zeros([N], tl.float64), tl.zeros([N], tl.float64)
        held, change = tl.zeros([N], tl.float64), tl.zeros([N], tl.float64)
        fraction = done.to(tl.float64)
        for k in tl.static_range(ACTIONS):
            first = tl.load(a0_ptr + env * ACTIONS + k)
            slope = (tl.load(a1_ptr + env * ACTIONS + k) - first) / steps
            turn = tl.load(turn_ptr + k * LINKS + row, mask=has_link, other=0.0)
            pull = tl.load(pull_ptr + k * LINKS + row, mask=has_link, other=0.0)
            before += (first + slope * fraction) * turn
            rest += (first + slope * (fraction + 1)) * turn
            held += (first + slope * (fraction + 1)) * pull
            change += slope * pull
        right += held
        left = tl.where(of_link[None, :], (inertia + drag) * across + hessian, 0.0)
        left = tl.where(column[None, :] == LINKS, right[:, None], left)
        for p in range(LINKS):
            l_row, l_column = _take(left, row, p, 0), _take(left, column, p, 1)
            pivot = tl.sum(tl.where(column == p, l_row, 0.0), 0)
            l_row = l_row / pivot
            l_column = tl.where(row == p, pivot - 1.0, l_column)
            left -= l_column[:, None] * l_row[None, :]
        new = tl.where(has_link, _take(left, column, LINKS, 1), 0.0)
        new_c = tl.sum(tl.where(row[:, None] == column[None, :], new[:, None], 0.0), 0)

        # Forces on the fluid; angles and rates; what is measured.
        along_c, across_c = -sin_c * new_c, cos_c * new_c
        force_x = tl.sum(z * along_c[None, :], 1) - _take(z, column, LINKS, 1)
        force_y = tl.sum(z * across_c[None, :], 1) - _take(z, column, LINKS + 1, 1)
        slip_x, slip_y = tl.sum(arms * along_c[None, :], 1), tl.sum(arms * across_c[None, :], 1)
        moved = theta + new
        tl.store(theta_ptr + env * LINKS + row, moved, mask=has_link)
        tl.store(omega_ptr + env * LINKS + row, new, mask=has_link)
        held_angle = 0.5 * (theta + moved)
        power = tl.sum(joint * (rest - before) * 0.5 * (rest + before), 0)
        power -= tl.sum(held_angle * change, 0)
        moment = tl.sum(tl.where(row == 0, joint * (moved - rest), 0.0), 0)
        total = sums_ptr + env * 6
        tl.store(total, tl.load(total) + tl.sum(force_x, 0))
        tl.store(total + 1, tl.load(total + 1) + tl.sum(force_y, 0))
        tl.store(total + 2, tl.load(total + 2) + power)
        tl.store(total + 3, tl.load(total + 3) + tl.maximum(power, 0.0))
        fluid_power = tl.sum(force_x * slip_x + force_y * slip_y, 0)
        tl.store(total + 4, tl.load(total + 4) + fluid_power)
        tl.store(total + 5, tl.load(total + 5) + moment)
        height = tl.abs(tl.sum(tl.where(has_link, tl.sin(moved), 0.0), 0)) * link
        tl.store(tip_ptr + env, tl.maximum(tl.load(tip_ptr + env), height))
        tl.store(done_ptr + env, done + 1)
        for j in tl.static_range(-1, 2):
            for i in tl.static_range(-1, 2):
                share = _delta(tl.abs(ix + i - x)) * _delta(tl.abs(iy + j - y)) * FIXED_POINT
                px, py = column_of + i - PX, row_of + j - PY
                inside = has_marker & (px >= 0) & (px < PW) & (py >= 0) & (py < PH)
                patch = patch_ptr + env.to(tl.int64) * (2 * PW * PH) + py * PW + px
                tl.atomic_add(patch, (share * force_x).to(tl.int64), mask=inside)
                tl.atomic_add(patch + PW * PH, (share * force_y).to(tl.int64), mask=inside)
