"""What a run ran on: versions, processors, limits and threads; read from files, without torch."""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import socket
import sys
from collections.abc import Mapping
from importlib import metadata, util
from pathlib import Path
from typing import Any

PACKAGES = (
    "rlcore",
    "torch",
    "numpy",
    "gymnasium",
    "ale-py",
    "ray",
    "stable-baselines3",
    "wandb",
    "tensorboard",
    "pydantic",
    "pyyaml",
    "typer",
    "rich",
    "safetensors",
    "numba",
    "triton",
    "matplotlib",
    "imageio",
    "imageio-ffmpeg",
    "opencv-python-headless",
    "pygame-ce",
    "transformers",
    "peft",
)
"""The packages whose versions are recorded; others are nobody's business."""

VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "OMP_PROC_BIND",
    "KMP_AFFINITY",
    "CUDA_VISIBLE_DEVICES",
    "CUBLAS_WORKSPACE_CONFIG",
    "PYTHONHASHSEED",
    "MALLOC_ARENA_MAX",
    "LD_PRELOAD",
)
"""The environment variables that are recorded: those that change numbers or speed."""


def environment_record(
    *, deterministic: bool = False, threads: Mapping[str, int] | None = None
) -> dict[str, Any]:
    """Return what ``environment.json`` holds.

    Args:
        deterministic: Whether the run asks for deterministic algorithms.
        threads: Threads of each kind of process, for example ``{"actor": 1, "learner": 1}``.
    """
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "platform": platform.platform(),
        "packages": package_versions(),
        "torch_build": torch_build(),
        "cpu": {
            "model": _cpu_model(),
            "cores": os.cpu_count(),
            "usable_cores": len(os.sched_getaffinity(0)),
            "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
            "shared_memory_bytes": _disk_bytes("/dev/shm"),  # noqa: S108 - only looked at
        },
        "gpu": gpu_names(),
        "cgroup": cgroup_limits(),
        "threads": dict(threads or {}),
        "variables": {name: os.environ[name] for name in VARIABLES if name in os.environ},
        "deterministic": deterministic,
        "host": hashlib.sha256(socket.gethostname().encode()).hexdigest()[:12],
    }


def package_versions() -> dict[str, str]:
    """Return the versions of those :data:`PACKAGES` that are installed."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def torch_build() -> dict[str, str]:
    """Return torch's version, commit and CUDA from its ``version.py``, without importing it."""
    spec = util.find_spec("torch")
    if spec is None or not spec.origin:
        return {}
    text = _read(Path(spec.origin).with_name("version.py"))
    found = re.findall(
        r"^(__version__|git_version|cuda|hip)\b[^=\n]*=\s*['\"]([^'\"]+)", text, re.MULTILINE
    )
    return {name.strip("_"): value for name, value in found}


def gpu_names() -> list[str]:
    """Return the names of the GPUs: as the driver lists them, or as a loaded torch sees them."""
    files = sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
    names = [match[1] for file in files if (match := re.search(r"Model:\s*(.+)", _read(file)))]
    torch = sys.modules.get("torch")
    if not names and torch is not None and torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return names


def cgroup_limits() -> dict[str, float | int]:
    """Return the limits on this process: ``cpus`` and ``memory_bytes``, where there are any."""
    limits: dict[str, float | int] = {}
    for folder in _cgroup_folders():
        quota, _, period = _read(folder / "cpu.max").strip().partition(" ")
        if quota.isdigit() and period.isdigit():
            limits["cpus"] = min(limits.get("cpus", 1e9), int(quota) / int(period))
        memory = _read(folder / "memory.max").strip()
        if memory.isdigit():
            limits["memory_bytes"] = min(limits.get("memory_bytes", 1 << 62), int(memory))
    if not limits:
        limits = _cgroup_v1_limits()
    return limits


def _cgroup_folders() -> list[Path]:
    root = Path("/sys/fs/cgroup")
    match = re.search(r"^0::(/.*)$", _read(Path("/proc/self/cgroup")), re.MULTILINE)
    own = root / (match[1].lstrip("/") if match else "")
    return [root, *(path for path in (own, *own.parents) if root in path.parents)]


def _cgroup_v1_limits() -> dict[str, float | int]:
    root = Path("/sys/fs/cgroup")
    limits: dict[str, float | int] = {}
    quota = _read(root / "cpu/cpu.cfs_quota_us").strip()
    period = _read(root / "cpu/cpu.cfs_period_us").strip()
    if quota.isdigit() and period.isdigit():
        limits["cpus"] = int(quota) / int(period)
    memory = _read(root / "memory/memory.limit_in_bytes").strip()
    if memory.isdigit() and int(memory) < 1 << 60:
        limits["memory_bytes"] = int(memory)
    return limits


def _cpu_model() -> str:
    match = re.search(r"^model name\s*:\s*(.+)$", _read(Path("/proc/cpuinfo")), re.MULTILINE)
    return match[1] if match else platform.processor() or platform.machine()


def _disk_bytes(path: str) -> int | None:
    try:
        return shutil.disk_usage(path).total
    except OSError:
        return None


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
