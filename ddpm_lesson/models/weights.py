"""Trained networks in files: safetensors, whose header says how to build the network again and what trained it."""

import json
import os
import platform
import subprocess
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from .. import __version__
from ..inputs import check_choice

SHIPPED = Path(__file__).parents[1] / "checkpoints"


def save_weights(network, path, settings, **notes):
    """Writes network's weights to path, whole or not at all, with what `type(network)(**settings)` needs.

    notes: what a reader should know of the training, name=value, any that JSON can hold; `load_notes` returns them.
    Three come by themselves unless they are given: commit (None where git does not know it), versions and machine.
    """
    notes = _origin() | notes
    header = {"network": type(network).__name__, "settings": json.dumps(settings), "notes": json.dumps(notes)}
    content = save({name: v.detach().cpu().contiguous() for name, v in network.state_dict().items()}, header)
    part = Path(f"{path}.part")
    part.write_bytes(content)
    os.replace(part, path)


def load_weights(source):
    """The network of a file, ready to sample with: in eval mode, on the CPU, its weights fixed.

    source: a path, or the name of a checkpoint that comes with the package, such as "mnist_unet".
    ValueError for a name that does not exist, and for a file that is damaged or of no network of this package.
    """
    from . import NETWORKS

    path = _find(source)
    try:
        with safe_open(path, "pt") as file:
            header = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}
        network = NETWORKS[header["network"]](**json.loads(header["settings"]))
        network.load_state_dict(weights)
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{path} is damaged, or holds no network of this package: {error!r}") from error
    return network.eval().requires_grad_(False)


def load_notes(source):
    """What the file's maker wrote beside the weights: a dict, {name: value}. source and errors as in `load_weights`."""
    path = _find(source)
    try:
        with safe_open(path, "pt") as file:
            return json.loads((file.metadata() or {})["notes"])
    except (SafetensorError, KeyError, ValueError) as error:
        raise ValueError(f"{path} is damaged, or holds no network of this package: {error!r}") from error


def _origin():
    commit = None
    if (SHIPPED.parents[1] / ".git").exists():  # a checkout: an installed package may lie in anybody's repository
        git = ["git", "describe", "--always", "--dirty", "--exclude=*"]
        commit = subprocess.run(git, cwd=SHIPPED.parent, capture_output=True, text=True, check=False).stdout.strip()
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {"commit": commit, "machine": gpu or platform.machine(),
            "versions": f"ddpm_lesson {__version__}, torch {torch.__version__}"}


def _find(source):
    if isinstance(source, os.PathLike) or (isinstance(source, str) and Path(source).is_file()):
        if not (path := Path(source)).is_file():
            raise ValueError(f"{path} does not exist")
        return path
    names = sorted(path.stem for path in SHIPPED.glob("*.safetensors"))
    return SHIPPED / f"{check_choice('source', source, names)}.safetensors"
