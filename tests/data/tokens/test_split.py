"""Batches of rows are split for accumulation, batches of environment steps are not."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rlcore.data.collate import Collator
from rlcore.data.fragment import row_fields, runtime_fields
from rlcore.data.spec import Field


def rows_collator() -> Collator:
    fields = row_fields({"tokens": Field((3,), "int32", "initial")})
    return Collator(fields, unroll=1, envs=2, count=3, device=torch.device("cpu"))


def test_parts_are_the_rows_in_order_with_everything_else() -> None:
    batch = {
        "tokens": torch.arange(18).view(6, 3),
        "noise": torch.arange(6),
        "progress": 0.5,
    }
    parts = rows_collator().split(batch, 3)
    assert [part["progress"] for part in parts] == [0.5] * 3
    for name in ("tokens", "noise"):
        assert torch.equal(torch.cat([part[name] for part in parts]), batch[name])
        assert all(len(part[name]) == 2 for part in parts)


@pytest.mark.parametrize("parts", [4, 5, 12])
def test_rows_must_divide(parts: int) -> None:
    with pytest.raises(ValueError, match=f"6 rows cannot be split into {parts} equal ones"):
        rows_collator().split({}, parts)


def test_environment_steps_are_not_split() -> None:
    fields = runtime_fields((4,), "float32", (), "int64", unroll=5, envs=2, final_obs_capacity=1)
    collator = Collator(fields, unroll=5, envs=2, count=3, device=torch.device("cpu"))
    with pytest.raises(ValueError, match="cannot be split"):
        collator.split({}, 2)


def test_noise_is_part_of_every_row() -> None:
    assert row_fields({})["noise"] == Field((), "int64", "initial")
    assert np.dtype(row_fields({})["noise"].dtype) == np.int64
