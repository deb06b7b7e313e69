"""YAML 1.2 core scalars, counts and durations."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.scalars import count, duration, plain_scalar
from experiments.sources import Source
from experiments.yaml_reader import read_mapping
from experiments.yaml_writer import to_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("7e-4", 7e-4), ("3E5", 3e5), ("1.", 1.0), (".5", 0.5), ("-1.5e+3", -1500.0), ("+3", 3),
        ("40_000_000", 40_000_000), ("012", 12), ("0o17", 15), ("0xff", 255), ("true", True),
        ("FALSE", False), ("on", "on"), ("yes", "yes"), ("off", "off"), ("12:30", "12:30"),
        ("1_", "1_"), ("_1", "_1"), ("1__0", "1__0"), ("~", None), ("", None), ("Null", None),
        (".inf", math.inf), ("-.INF", -math.inf), ("1e", "1e"), ("e5", "e5"), ("0b1", "0b1"),
        ("2001-01-01", "2001-01-01"), ("=", "="), ("nan", "nan"),
    ],
)  # fmt: skip
def test_plain_scalars(text: str, value: Any) -> None:
    found = plain_scalar(text)
    assert found == value
    assert type(found) is type(value)
    assert read_mapping(f"a: {text}", Source.of_text("x", f"a: {text}")).data == {"a": value}


def test_nan_and_limits() -> None:
    assert math.isnan(float(plain_scalar(".nan") or 0))
    with pytest.raises(ValueError, match="too large"):
        plain_scalar("1e999")
    with pytest.raises(ValueError, match="101 characters"):
        plain_scalar("1" * 101)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("60s", 60.0), ("10min", 600.0), ("5m", 300.0), ("8h", 28800.0), ("1d", 86400.0),
     ("250ms", 0.25), ("1h30m", 5400.0), ("1.5h", 5400.0), ("30m1h", None), ("1h1h", None),
     ("8", None), ("h", None), ("8 h", None), ("-1h", None), ("", None)],
)  # fmt: skip
def test_durations(text: str, seconds: float | None) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "number"),
    [("5k", 5000), ("40M", 40_000_000), ("1.5G", 1_500_000_000), ("1_0k", 10_000),
     ("0.0001k", None), ("5K", None), ("5", None), ("k", None), ("-5k", None)],
)  # fmt: skip
def test_counts(text: str, number: int | None) -> None:
    assert count(text) == number


_SCALARS = (
    st.none() | st.booleans() | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False) | st.text(max_size=20)
    | st.sampled_from(["7e-4", "on", "12:30", "0o7", "1_000", "~", "null", "<<", "- a", "#", "é"])
)  # fmt: skip
_KEYS = st.text(min_size=1, max_size=8).filter(lambda key: key != "<<")
_TREES = st.dictionaries(
    _KEYS,
    st.recursive(
        _SCALARS,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=3),
        max_leaves=8,
    ),
    min_size=1,
    max_size=4,
)


@given(_TREES)
def test_what_is_written_is_read_back(tree: dict[str, Any]) -> None:
    text = to_yaml(tree)
    found = read_mapping(text, Source.of_text("x", text)).data
    assert repr(found) == repr(tree)
