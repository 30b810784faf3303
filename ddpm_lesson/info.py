"""What a bug report needs: `python -m ddpm_lesson.info` prints versions, devices and where the data is."""

import importlib.metadata
import os
import platform
import subprocess
import sys
from pathlib import Path

import torch

from . import __version__, data

PACKAGES = ["numpy", "matplotlib", "ipywidgets", "jupyterlab", "scikit-learn", "scipy", "diffusers"]
CHECKOUT = Path(__file__).resolve().parents[1]


def report():
    """Returns the lines of the report as one string; the home folder is written ~, as it can hold a name."""
    facts = {
        "ddpm-lesson": f"{__version__}, {_commit()}",
        "location": Path(__file__).resolve().parent,
        "Python": f"{platform.python_version()}, {sys.executable}",
        "system": platform.platform(),
        "processor": f"{os.cpu_count()} cores, {torch.get_num_threads()} torch threads, {_memory()}",
        "torch": f"{torch.__version__}, {_device()}",
        **{package: _version(package) for package in PACKAGES},
        "MNIST": _mnist(),
    }
    lines = "\n".join(f"{name:13} {fact}" for name, fact in facts.items())
    return lines.replace(str(Path.home()), "~") if len(Path.home().parts) > 1 else lines


def _version(package):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _commit():
    if not (CHECKOUT / ".git").exists():
        return "not a git checkout"
    try:
        git = ["git", "-C", str(CHECKOUT), "describe", "--always", "--dirty", "--exclude", "*"]
        return "commit " + subprocess.check_output(git, text=True, stderr=subprocess.DEVNULL).strip()
    except (OSError, subprocess.CalledProcessError):
        return "commit unknown"


def _memory():
    try:
        return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 1e9:.0f} GB memory"
    except (AttributeError, OSError, ValueError):  # Windows has no sysconf
        return "memory unknown"


def _device():
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
        return f"CUDA {torch.version.cuda}: {', '.join(names)}"
    return "Apple GPU (MPS)" if torch.backends.mps.is_available() else "CPU only"


def _mnist():
    try:
        found = [path for path in map(data._find, data.MD5) if path]
    except ValueError as error:
        return str(error)
    folders = ", ".join(sorted({str(path.parent) for path in found}))
    return f"{len(found)} of {len(data.MD5)} files in {folders}" if found else "not found (lessons use digits)"


if __name__ == "__main__":
    print(report())
