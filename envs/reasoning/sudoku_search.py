"""Search for Sudoku solutions and digging of puzzles, on bit masks and without recursion.

Plain functions: :mod:`envs.reasoning.sudoku_solver` runs them as they are, on lists, or compiled by
numba, on int64 arrays, with the same results.
"""

from __future__ import annotations


def search(cells, box, keys, limit, counts, solution, work):  # type: ignore[no-untyped-def] # noqa: C901 - one loop, no calls: it is compiled
    """Return how many solutions there are, at most ``limit``, and write the last one found.

    The empty cell with the fewest candidates is filled first, its digits in falling order of their
    keys.

    Args:
        cells: Integers ``[size**2]``, 0 for empty.
        box: Side of a box.
        keys: Floats ``[size**2 * size]``, order of the digits tried in each cell.
        limit: Where to stop counting.
        counts: Number of set bits of every mask, integers ``[2**size]``.
        solution: Integers ``[size**2]``, written to.
        work: Six integer arrays ``[size**2]`` to work in.
    """
    size = box * box
    total = size * size
    every = (1 << size) - 1
    rows, columns, boxes, empty, chosen, options = work
    for i in range(size):
        rows[i], columns[i], boxes[i] = 0, 0, 0
    n = 0
    for c in range(total):
        digit = cells[c]
        solution[c] = digit
        r, k = c // size, c % size
        b = r // box * box + k // box
        if digit == 0:
            empty[n] = c
            n += 1
            continue
        bit = 1 << (digit - 1)
        if (rows[r] | columns[k] | boxes[b]) & bit:
            return 0
        rows[r] |= bit
        columns[k] |= bit
        boxes[b] |= bit
    found, depth, forward = 0, 0, True
    while True:
        if forward:
            if depth == n:
                found += 1
                if found == limit:
                    return found
                forward = False
                continue
            best, fewest, free = depth, size + 1, 0
            for place in range(depth, n):
                c = empty[place]
                r, k = c // size, c % size
                mask = every & ~(rows[r] | columns[k] | boxes[r // box * box + k // box])
                if counts[mask] < fewest:
                    best, fewest, free = place, counts[mask], mask
                    if fewest <= 1:
                        break
            empty[depth], empty[best] = empty[best], empty[depth]
            options[depth], chosen[depth] = free, 0
        else:
            if depth == 0:
                return found
            depth -= 1
        c = empty[depth]
        r, k = c // size, c % size
        b = r // box * box + k // box
        bit = chosen[depth]
        rows[r] &= ~bit
        columns[k] &= ~bit
        boxes[b] &= ~bit
        left = options[depth]
        if left == 0:
            chosen[depth] = 0
            forward = False
            continue
        digit, top = -1, 0.0
        for d in range(size):
            if left >> d & 1 and (digit < 0 or keys[c * size + d] > top):
                digit, top = d, keys[c * size + d]
        bit = 1 << digit
        options[depth], chosen[depth] = left & ~bit, bit
        rows[r] |= bit
        columns[k] |= bit
        boxes[b] |= bit
        solution[c] = digit + 1
        depth += 1
        forward = True


def dig(cells, box, order, hidden, keys, counts, scratch, work, search):  # type: ignore[no-untyped-def]
    """Empty cells in ``order`` while the solution stays the only one; return how many it got.

    Args:
        cells: Integers ``[size**2]``, a full grid; written to.
        box: Side of a box.
        order: Integers ``[size**2]``, the cells in the order in which they are tried.
        hidden: How many to empty.
        keys: As in ``search``.
        counts: As in ``search``.
        scratch: Integers ``[size**2]``, written to.
        work: As in ``search``.
        search: The search of the same kind.
    """
    size = box * box
    done = 0
    for c in order:
        if done == hidden:
            break
        digit = cells[c]
        cells[c] = 0
        r, k = c // size, c % size
        used = 0
        for i in range(size):
            for other in (
                r * size + i,
                i * size + k,
                (r // box * box + i // box) * size + k // box * box + i % box,
            ):
                if cells[other]:
                    used |= 1 << (cells[other] - 1)
        # A cell that can hold one digit only was no information: nothing to search for.
        only = counts[((1 << size) - 1) & ~used] == 1
        if only or search(cells, box, keys, 2, counts, scratch, work) == 1:
            done += 1
        else:
            cells[c] = digit
    return done
