"""The cache of compiled kernels: kept, never stale, never in the way."""

import importlib.util
import sys

import pytest

pytest.importorskip("numba")

from envs.core import numba_cache

CONSTANT = "VALUE = {}\n"
KERNEL = """
from envs.core.numba_cache import kernel
from constants import VALUE

@kernel(nogil=True)
def plus(x):
    return x + VALUE
"""


@pytest.fixture
def family(tmp_path, monkeypatch):
    """Return a function that writes a family whose kernel adds a number, and imports it anew."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)

    def load(value):
        (tmp_path / "constants.py").write_text(CONSTANT.format(value))
        if not (tmp_path / "kernels.py").exists():
            (tmp_path / "kernels.py").write_text(KERNEL)
        for name in ("constants", "kernels"):
            sys.modules.pop(name, None)
        importlib.invalidate_caches()
        monkeypatch.setattr(sys, "dont_write_bytecode", True)
        numba_cache.checksum.cache_clear()
        spec = importlib.util.spec_from_file_location("kernels", tmp_path / "kernels.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module.plus

    yield load
    for name in ("constants", "kernels"):
        sys.modules.pop(name, None)


def hits(function):
    return sum(function.stats.cache_hits.values())


def test_what_was_compiled_is_kept(family):
    first = family(1)
    assert first(2) == 3
    assert hits(first) == 0
    again = family(1)
    assert again(2) == 3
    assert hits(again) == 1


def test_a_changed_constant_of_another_file_counts(family):
    assert family(1)(2) == 3
    changed = family(100)
    assert changed(2) == 102
    assert hits(changed) == 0


@pytest.mark.parametrize("pattern", ["*.nbi", "*.nbc"])
def test_damaged_files_are_compiled_anew(family, tmp_path, caplog, pattern):
    assert family(1)(2) == 3
    (file,) = (tmp_path / "__pycache__").glob(pattern)
    for content in (b"", b"nonsense", file.read_bytes()[:-40]):
        file.write_bytes(content)
        assert family(1)(2) == 3
        assert "damaged" in caplog.text or pattern == "*.nbi"


def test_no_folder_to_write_to(family, caplog, monkeypatch):
    def nowhere(function):
        raise RuntimeError("cannot cache function: no locator available")

    monkeypatch.setattr(numba_cache, "_Cache", nowhere)
    assert family(1)(2) == 3
    assert "plus: compiled anew in every process: cannot cache" in caplog.text


def test_a_folder_that_can_no_longer_be_written(family, caplog, monkeypatch):
    function = family(1)

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(numba_cache.FunctionCache, "save_overload", full)
    assert function(2) == 3
    assert "not kept in the cache" in caplog.text


def test_a_family_is_the_outermost_package_below_the_environments(repo_root):
    envs = repo_root / "envs"
    inner = envs / "finray" / "validation" / "rigid.py"
    assert numba_cache._family(str(inner)) == envs / "finray"
    assert numba_cache._family(str(envs / "labyrinth" / "numba_view.py")) == envs / "labyrinth"
