"""What a bug report needs to know of a machine: versions, devices, threads, memory, access."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import netrc
import os
import platform
import resource
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import rlcore

PACKAGES = (
    "torch", "numpy", "gymnasium", "ray", "stable-baselines3", "wandb", "pydantic", "pyyaml",
    "typer", "rich", "safetensors", "ale-py", "opencv-python-headless", "numba", "matplotlib",
    "pygame-ce", "tensorboard", "imageio", "imageio-ffmpeg",
)  # fmt: skip
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
SHM = "/dev/shm"  # noqa: S108 - measured, not written
PLUGIN_GROUP = "rlcore.plugins"
PROBE_BYTES = 1 << 30
UNLIMITED = 1 << 60


def report(runs: str | Path = "runs") -> dict[str, Any]:
    """Return what there is on this machine, as JSON-able sections; holds no secret.

    Args:
        runs: Folder whose write access is checked; it is not created.
    """
    return {
        "rlcore": _project(),
        "packages": {name: _version(name) for name in PACKAGES},
        "machine": _machine(),
        "threads": _threads(),
        "devices": _devices(),
        "shared memory": _shared_memory(),
        "write access": _write_access(Path(runs)),
        "wandb": {
            "mode": os.environ.get("WANDB_MODE", "not set"),
            "key present": _wandb_key_present(),
        },
        "plugins": _plugins(),
    }


def render(sections: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the report as an aligned text table."""
    width = max(len(str(key)) for section in sections.values() for key in (*section, ""))
    lines = []
    for title, section in sections.items():
        lines.append(title)
        lines += [f"  {key:<{width}}  {_text(value)}" for key, value in section.items()]
        if not section:
            lines.append("  none")
    return "\n".join(lines)


def _text(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _project() -> dict[str, Any]:
    found = {"version": rlcore.__version__, "python": platform.python_version()}
    found["executable"] = sys.executable
    for package in ("rlcore", "agents", "envs", "experiments"):
        spec = importlib.util.find_spec(package)
        found[f"package {package}"] = (
            str(Path(spec.origin).parent) if spec and spec.origin else None
        )
    return found


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _machine() -> dict[str, Any]:
    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpu": _cpu_model(),
        "cores usable": len(os.sched_getaffinity(0)),
        "cores of the cgroup": _cgroup_cores(),
        "memory": _size(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")),
        "memory of the cgroup": _size(_cgroup_memory()),
        "open files": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        "ffmpeg": _ffmpeg(),
    }


def _cpu_model() -> str | None:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or None
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else None


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return None


def _cgroup_cores() -> float | None:
    quota, _, period = (_read("/sys/fs/cgroup/cpu.max") or "max").partition(" ")
    return None if quota == "max" or not period else round(int(quota) / int(period), 2)


def _cgroup_memory() -> int | None:
    value = _read("/sys/fs/cgroup/memory.max") or "max"
    return int(value) if value.isdigit() else None


def _ffmpeg() -> str:
    if _version("imageio-ffmpeg") is not None:
        return "with imageio-ffmpeg"
    return shutil.which("ffmpeg") or "none: pip install 'rlcore[video]'"


def _size(count: int | None) -> str | None:
    if count is None:
        return None
    return "unlimited" if count >= UNLIMITED else f"{count / 2**30:.1f} GiB"


def _threads() -> dict[str, Any]:
    return {name: os.environ.get(name, "not set") for name in THREAD_VARIABLES}


def _devices() -> dict[str, Any]:
    try:
        import torch
    except ImportError as error:
        return {"torch": f"cannot be imported: {error}"}
    found: dict[str, Any] = {
        "torch build": torch.__version__,
        "torch threads": torch.get_num_threads(),
        "cuda": torch.version.cuda,
    }
    for index in range(torch.cuda.device_count()):
        device = torch.cuda.get_device_properties(index)
        found[f"cuda:{index}"] = f"{device.name}, {_size(device.total_memory)}"
    return found


def _shared_memory() -> dict[str, Any]:
    found: dict[str, Any] = {}
    try:
        usage = shutil.disk_usage(SHM)
        found[SHM] = f"{_size(usage.free)} free of {_size(usage.total)} (used by Ray alone)"
    except OSError as error:
        found[SHM] = str(error)
    found["anonymous, 1 GiB"] = _memfd_probe()
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    found["largest block"] = "unlimited" if limit == resource.RLIM_INFINITY else _size(limit)
    return found


def _memfd_probe() -> str:
    """Reserve (not touch) 1 GiB of the memory that rings and parameters live in."""
    if not hasattr(os, "memfd_create"):
        return "no memfd on this system: unlinked temporary files are used"
    fd = os.memfd_create("rlcore-doctor", os.MFD_CLOEXEC)
    try:
        os.ftruncate(fd, PROBE_BYTES)
    except OSError as error:
        return f"refused: {error}"
    finally:
        os.close(fd)
    return "ok"


def _write_access(runs: Path) -> dict[str, Any]:
    nearest = runs.absolute()
    while not nearest.exists():
        nearest = nearest.parent
    found: dict[str, Any] = {}
    for folder in (nearest, Path(tempfile.gettempdir())):
        try:
            with tempfile.NamedTemporaryFile(dir=folder):
                free = shutil.disk_usage(folder).free
            found[str(folder)] = f"yes, {_size(free)} free"
        except OSError as error:
            found[str(folder)] = f"no: {error.strerror}"
    return found


def _wandb_key_present() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname
    try:
        return netrc.netrc().authenticators(str(host)) is not None
    except (OSError, netrc.NetrcParseError):
        return False


def _plugins() -> dict[str, Any]:
    return {
        point.name: point.value for point in importlib.metadata.entry_points(group=PLUGIN_GROUP)
    }
