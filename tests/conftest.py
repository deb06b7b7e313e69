"""Settings and guards for every test: one thread, no screen, no network, nothing left behind."""

from __future__ import annotations

import importlib.util
import os
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
OFFLINE = TESTS / "offline"

SETTINGS = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "SDL_VIDEODRIVER": "dummy",
    "SDL_AUDIODRIVER": "dummy",
    "PYGAME_HIDE_SUPPORT_PROMPT": "1",
    "MPLBACKEND": "Agg",
    "WANDB_MODE": "offline",
    "WANDB_SILENT": "true",
    "HF_HUB_OFFLINE": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    # Some containers turn TF32 on for float32 matrices; tests claim more than its three digits.
    "NVIDIA_TF32_OVERRIDE": "0",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE": "0",
}
# Set before any test imports torch: its thread pools are sized when it is loaded.
os.environ.update(SETTINGS)
os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = "1"  # its pool of compilers would outlive the tests
os.environ.pop("WANDB_API_KEY", None)
os.environ.setdefault("RLCORE_OFFLINE", "1")

_SCRATCH = tempfile.TemporaryDirectory(prefix="rlcore-tests-")
for _name in ("WANDB_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR", "WANDB_DATA_DIR"):
    _folder = Path(_SCRATCH.name, _name.lower())
    _folder.mkdir()
    os.environ[_name] = str(_folder)
os.environ["RLCORE_OFFLINE_LOG"] = str(Path(_SCRATCH.name, "offline.log"))

# Children inherit this mark, so that a process left behind is found even after its parent died.
os.environ["RLCORE_TEST_SESSION"] = uuid.uuid4().hex

if os.environ["RLCORE_OFFLINE"] != "0":
    os.environ["PYTHONPATH"] = os.pathsep.join(
        path for path in (str(OFFLINE), os.environ.get("PYTHONPATH", "")) if path
    )
    if "_rlcore_offline" not in sys.modules:
        _spec = importlib.util.spec_from_file_location(
            "_rlcore_offline_guard", OFFLINE / "sitecustomize.py"
        )
        _guard = importlib.util.module_from_spec(_spec)
        sys.modules[_spec.name] = _guard
        _spec.loader.exec_module(_guard)

from hypothesis import settings  # noqa: E402 - after the environment is set

settings.register_profile("rlcore", deadline=None, max_examples=50, print_blob=True)
settings.load_profile("rlcore")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Undo what a test did to torch's threads, determinism and default dtype."""
    yield
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "set_num_threads"):
        torch.set_num_threads(1)
        torch.use_deterministic_algorithms(False)
        torch.set_default_dtype(torch.float32)


@pytest.fixture(scope="session")
def repo_root() -> Path:
    """The repository's root folder."""
    return TESTS.parent


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of large test inputs; tests that need it are skipped where it is not given."""
    value = os.environ.get("RLCORE_DATA")
    if not value:
        pytest.skip("set RLCORE_DATA to the folder with the test data to run this test")
    path = Path(value)
    if not path.is_dir():
        pytest.skip(f"RLCORE_DATA={value} is not a folder")
    return path


def shared_segments() -> set[str]:
    """Return the names in ``/dev/shm``."""
    try:
        return set(os.listdir("/dev/shm"))
    except OSError:
        return set()


def _mapped_segments() -> str:
    maps = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            maps.append((process / "maps").read_text())
        except OSError:
            continue
    return "\n".join(maps)


def processes_left(mark: str) -> dict[int, str]:
    """Return the live processes, other than this one, that carry this session's mark."""
    left = {}
    wanted = f"RLCORE_TEST_SESSION={mark}".encode()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if int(process.name) == os.getpid() or wanted not in (process / "environ").read_bytes():
                continue
            state = (process / "stat").read_text().rpartition(")")[2].split()[0]
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue  # gone meanwhile, or another user's
        # Python's own resource tracker lives until its parent has ended.
        if state not in "ZX" and "resource_tracker" not in command:
            left[int(process.name)] = command.strip()
    return left


@pytest.fixture(scope="session", autouse=True)
def nothing_left_behind() -> Iterator[None]:
    """Fail the session if it leaves processes or shared memory, or tried to reach the network."""
    before = shared_segments()
    yield
    wandb = sys.modules.get("wandb")
    if wandb is not None and hasattr(wandb, "teardown"):
        wandb.teardown()
    forked = sys.modules.get("rlcore.runtime.forked")
    if forked is not None:
        forked.close()
    mark = os.environ["RLCORE_TEST_SESSION"]
    deadline = time.monotonic() + 5.0
    while (left := processes_left(mark)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not left, f"processes left behind: {left}"
    # Other programs use /dev/shm too; what is new there and mapped by nobody is a leak.
    new = shared_segments() - before
    if new:
        maps = _mapped_segments()
        leaked = sorted(name for name in new & shared_segments() if f"/dev/shm/{name}" not in maps)
        assert not leaked, f"shared memory left behind in /dev/shm: {leaked}"
    log = Path(os.environ["RLCORE_OFFLINE_LOG"])
    attempts = log.read_text() if log.exists() else ""
    assert not attempts, f"tests tried to reach the network:\n{attempts}"
