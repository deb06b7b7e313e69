"""Infos of many environments: masks, copies, what is taken as it is."""

import numpy as np

from envs.core.infos import put, put_but


def test_arrays_are_copied_unless_they_are_fresh():
    kept, made = np.arange(4), np.arange(4.0)
    for write in (put, lambda *a, fresh: put_but(*a, np.array([1]), fresh)):
        infos = {}
        write(infos, {"kept": kept, "made": made}, 4, fresh=("made",))
        assert not np.shares_memory(infos["kept"], kept)
        assert infos["made"] is made
    assert kept.tolist() == [0, 1, 2, 3]


def test_the_rows_that_are_left_out_are_blank_and_not_real():
    infos = {}
    info = {"x": np.array([1, 2, 3]), "y": np.array(["a", "b", "c"], object)}
    put_but(infos, info, 3, np.array([0, 2]))
    assert infos["x"].tolist() == [0, 2, 0]
    assert infos["y"].tolist() == [None, "b", None]
    for name in ("_x", "_y"):
        assert infos[name].tolist() == [False, True, False]
    infos["_x"][1] = False  # each name has a mask of its own
    assert infos["_y"][1]
