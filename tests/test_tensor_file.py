"""Tensor files: the same bytes as the safetensors package, every element type, every odd shape."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlcore.errors import CheckpointError
from rlcore.tensor_file import (
    MappedTensors,
    load_arrays,
    load_tensors,
    read_header,
    save_tensors,
)

TYPES = [
    "bool",
    "uint8",
    "int8",
    "float8_e5m2",
    "float8_e4m3fn",
    "int16",
    "uint16",
    "float16",
    "bfloat16",
    "int32",
    "uint32",
    "float32",
    "float64",
    "int64",
    "uint64",
]


def of_type(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    count = int(np.prod(shape))
    return (torch.arange(count) % 2).reshape(shape).to(getattr(torch, name))


def every_kind() -> dict[str, torch.Tensor]:
    tensors = {name: of_type(name, (2, 3)) for name in TYPES}
    tensors |= {
        "scalar": torch.tensor(1.5),
        "bf16_scalar": torch.tensor(1.5, dtype=torch.bfloat16),
        "empty": torch.empty(0, 4),
        "inner_empty": torch.empty(2, 0, 3, dtype=torch.int64),
        'quoted "ünï\\code"\n': torch.ones(3, dtype=torch.float64),
    }
    return tensors


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    def raw(t: torch.Tensor) -> tuple[torch.dtype, torch.Size, bytes]:
        return t.dtype, t.shape, t.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()

    return set(a) == set(b) and all(raw(a[name]) == raw(b[name]) for name in a)


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
def test_files_equal_those_of_the_safetensors_package(
    tmp_path: Path, metadata: dict[str, str] | None
) -> None:
    package = pytest.importorskip("safetensors.torch")
    tensors = every_kind()
    save_tensors(tmp_path / "ours", tensors, metadata)
    package.save_file(tensors, tmp_path / "theirs", metadata)
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()
    assert same(package.load_file(tmp_path / "ours"), tensors)
    assert same(load_tensors(tmp_path / "theirs"), tensors)


def test_numpy_and_torch_give_the_same_file(tmp_path: Path) -> None:
    tensors = {
        name: of_type(name, (3, 2)) for name in TYPES if not name.startswith(("bf", "float8"))
    }
    report = save_tensors(tmp_path / "torch", tensors)
    assert save_tensors(tmp_path / "numpy", {n: t.numpy() for n, t in tensors.items()}) == report
    assert (tmp_path / "torch").read_bytes() == (tmp_path / "numpy").read_bytes()
    arrays = load_arrays(tmp_path / "torch")
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(arrays[name], tensor.numpy(), strict=True)


def test_views_big_endian_and_gradients_are_stored_by_value(tmp_path: Path) -> None:
    base = torch.arange(12.0).reshape(3, 4)
    stored = {
        "transposed": base.T,
        "strided": base[:, ::2],
        "leaf": torch.ones(2, requires_grad=True),
        "big_endian": np.arange(3, dtype=">i4"),
        "scalar": np.float64(2.5),
    }
    save_tensors(tmp_path / "x", stored)
    loaded = load_tensors(tmp_path / "x")
    torch.testing.assert_close(loaded["transposed"], base.T, rtol=0, atol=0)
    torch.testing.assert_close(loaded["strided"], base[:, ::2], rtol=0, atol=0)
    assert loaded["big_endian"].tolist() == [0, 1, 2]
    assert loaded["scalar"].shape == ()
    assert not loaded["leaf"].requires_grad


def test_loaded_tensors_own_their_memory(tmp_path: Path) -> None:
    save_tensors(tmp_path / "x", {"a": torch.zeros(4), "b": torch.zeros(4)})
    first, before = load_tensors(tmp_path / "x"), (tmp_path / "x").read_bytes()
    first["a"].add_(1.0)
    assert first["b"].sum() == 0
    assert (tmp_path / "x").read_bytes() == before


def test_size_and_digest_are_those_of_the_file(tmp_path: Path) -> None:
    import hashlib

    size, digest = save_tensors(tmp_path / "x", every_kind())
    data = (tmp_path / "x").read_bytes()
    assert (size, digest) == (len(data), hashlib.sha256(data).hexdigest())


@given(
    st.dictionaries(
        st.text(min_size=1, max_size=8).filter(lambda name: name != "__metadata__"),
        st.tuples(st.sampled_from(TYPES), st.lists(st.integers(0, 3), max_size=3)),
        max_size=6,
    )
)
def test_what_is_saved_is_loaded(tmp_path_factory: pytest.TempPathFactory, plan) -> None:
    tensors = {name: of_type(kind, tuple(shape)) for name, (kind, shape) in plan.items()}
    path = tmp_path_factory.mktemp("tensors") / "x"
    save_tensors(path, tensors)
    assert same(load_tensors(path), tensors)
    starts = [entry.start % 8 for name, entry in read_header(path).items() if "64" in entry.dtype]
    assert not any(starts), "eight-byte elements must be aligned"


def test_unwanted_and_missing_names_are_refused(tmp_path: Path) -> None:
    save_tensors(tmp_path / "x", {"a": torch.zeros(1), "b": torch.zeros(1)})
    with pytest.raises(CheckpointError, match=r"missing: \['c'\], not wanted: \['b'\]"):
        load_tensors(tmp_path / "x", expected=["a", "c"])
    assert set(load_tensors(tmp_path / "x", expected=["a", "b"])) == {"a", "b"}


@pytest.mark.parametrize(
    "value",
    [np.array(["text"]), np.array([object()]), np.zeros(2, complex), torch.zeros(1).cfloat()],
)
def test_other_element_types_are_refused(tmp_path: Path, value) -> None:
    with pytest.raises(CheckpointError, match="cannot be stored"):
        save_tensors(tmp_path / "x", {"x": value})


def test_numpy_reader_names_what_numpy_lacks(tmp_path: Path) -> None:
    save_tensors(tmp_path / "x", {"w": torch.zeros(1, dtype=torch.bfloat16)})
    with pytest.raises(CheckpointError, match="NumPy has no BF16"):
        load_arrays(tmp_path / "x")


# -- mapped files ----------------------------------------------------------------------------------


def test_mapped_views_equal_what_is_loaded(tmp_path: Path) -> None:
    tensors = every_kind()
    save_tensors(tmp_path / "x", tensors)
    loaded = load_tensors(tmp_path / "x")
    with MappedTensors(tmp_path / "x") as mapped:
        assert set(mapped.entries) == set(tensors)
        for name, tensor in loaded.items():
            assert same({name: mapped.view(name).clone()}, {name: tensor}), name
            mapped.release(name)
            assert same({name: mapped.view(name).clone()}, {name: tensor}), name


def test_writing_into_a_view_leaves_the_file_as_it_is(tmp_path: Path) -> None:
    save_tensors(tmp_path / "x", {"a": torch.ones(4)})
    before = (tmp_path / "x").read_bytes()
    with MappedTensors(tmp_path / "x") as mapped:
        mapped.view("a").zero_()
    assert (tmp_path / "x").read_bytes() == before


def test_tensors_that_a_foreign_writer_did_not_align_are_read(tmp_path: Path) -> None:
    header = (
        b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},'
        b'"b":{"dtype":"F64","shape":[2],"data_offsets":[1,17]}}'
    )
    data = b"\7" + np.array([1.5, -2.0]).tobytes()
    (tmp_path / "x").write_bytes(len(header).to_bytes(8, "little") + header + data)
    with MappedTensors(tmp_path / "x") as mapped:
        assert mapped.view("b").tolist() == [1.5, -2.0]
        assert mapped.view("a").tolist() == [7]


def test_release_gives_memory_back_and_spares_the_neighbours(tmp_path: Path) -> None:
    def mapped_kb() -> int:
        text = Path("/proc/self/smaps").read_text()
        part = text.partition(str(tmp_path / "x"))[2]
        return int(part.partition("Rss:")[2].split()[0]) if part else 0

    values = {"a": torch.arange(3000.0), "b": torch.arange(4_000_000.0), "c": torch.ones(3000)}
    save_tensors(tmp_path / "x", values)
    with MappedTensors(tmp_path / "x") as mapped:
        neighbour = mapped.view("a")
        neighbour[-1] = -1.0  # lost if its page were given back
        assert float(mapped.view("b").sum()) > 0
        assert mapped_kb() > 15_000
        mapped.release("b")
        assert mapped_kb() < 1_000
        assert neighbour[-1] == -1.0


def test_mapping_a_bad_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"\xff" * 16)
    with pytest.raises(CheckpointError, match="truncated"):
        MappedTensors(tmp_path / "x")
    save_tensors(tmp_path / "x", {"a": torch.ones(4)})
    with pytest.raises(CheckpointError, match="wanted at most 8"):
        MappedTensors(tmp_path / "x", max_bytes=8)
