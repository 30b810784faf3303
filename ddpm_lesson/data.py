"""Real images: scikit-learn's 8x8 digits (embedded, no network) and MNIST (28x28, downloaded once, checked always).

Both functions return (images, labels): images float32 (N, 1, H, W) in [-1, 1], labels int64 (N,).
"""

import gzip
import hashlib
import math
import os
import struct
import sys
import tempfile
import warnings
import zlib
from pathlib import Path

import numpy as np
import torch

MD5 = {  # the canonical files
    "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
    "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
    "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
}
MIRRORS = [
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
]
CHECKOUT_DATA = Path(__file__).parents[1] / "data"  # only in a checkout does this folder exist, with its README


def digits():
    """Returns (images (1797, 1, 8, 8), labels (1797,)): scikit-learn's handwritten digits, no network.

    images = v / 8 - 1 for pixel values v in 0..16.
    Source: UCI Optical Recognition of Handwritten Digits (test part), as `sklearn.datasets.load_digits`.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = torch.tensor(bunch.images, dtype=torch.float32)[:, None] / 8 - 1  # (1797, 1, 8, 8)
    return images, torch.tensor(bunch.target, dtype=torch.int64)


def mnist(split="train"):
    """Returns (images (N, 1, 28, 28), labels (N,)) of MNIST: N = 60000 for "train" (188 MB), 10000 for "test".

    images = v / 127.5 - 1 for pixel values v in 0..255.
    Source: LeCun, Cortes and Burges; see data/README.md.
    Looks in $DDPM_LESSON_DATA, data/mnist/ of the checkout and the user's cache, in that order. Else downloads into the
    first of the last two that can be written. Every file's MD5 is checked at every load.
    Raises ValueError for another split or a bad file in $DDPM_LESSON_DATA, ConnectionError when no mirror sends the
    file, OSError when no folder can be written. After each of them the next try starts clean.
    """
    prefixes = {"train": "train", "test": "t10k"}
    if split not in list(prefixes):
        raise ValueError(f'split = {split!r}: must be "train" or "test"')
    images = read_idx(_locate(f"{prefixes[split]}-images-idx3-ubyte.gz"))  # (N, 28, 28) uint8
    labels = read_idx(_locate(f"{prefixes[split]}-labels-idx1-ubyte.gz"))  # (N,) uint8
    images = torch.from_numpy(images).float().div_(127.5).sub_(1)  # in place: this is the largest array of the course
    return images[:, None], torch.from_numpy(labels).long()


def read_idx(path):
    """Returns the uint8 array in a gzipped IDX file.

    Layout: bytes 0, 0, 8 (uint8), number of axes; one big-endian uint32 per axis; then the values, last axis fastest.
    Source: the format description on LeCun's MNIST page.
    Raises ValueError for a file that is not gzip, is cut short, or whose header and length disagree.
    """
    try:
        with gzip.open(path) as file:
            content = file.read()
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: not a complete gzip file ({error})") from error
    if len(content) < 4 or content[:3] != b"\0\0\x08" or content[3] == 0:
        raise ValueError(f"{path}: starts with bytes {content[:4].hex(' ')}, must be 00 00 08 and the number of axes")
    start = 4 + 4 * content[3]
    if len(content) < start:
        raise ValueError(f"{path}: the IDX header is cut short at {len(content)} of {start} bytes")
    shape = struct.unpack(f">{content[3]}I", content[4:start])
    if len(content) != start + math.prod(shape):
        raise ValueError(f"{path}: shape {shape} needs {math.prod(shape)} values, the file has {len(content) - start}")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape).copy()  # frombuffer alone is read-only


def _locate(name):
    """Path of a file whose MD5 is right: found on this machine, else downloaded."""
    return _find(name) or _download(name)


def _find(name):
    """Path of a file on this machine whose MD5 is right, or None."""
    for folder in _given_folders() + _own_folders():
        path = folder / name
        if not os.path.isfile(path):
            continue
        found = _md5(path)
        if found == MD5[name]:
            return path
        problem = f"{path} is not the canonical MNIST file: MD5 {found}, expected {MD5[name]}"
        if folder in _given_folders():  # the user's own files are never touched
            raise ValueError(f"{problem}. Replace or remove it, or unset DDPM_LESSON_DATA.")
        warnings.warn(f"{problem}. It is ignored, and replaced by the next good download.", stacklevel=4)
    return None


def _given_folders():
    given = os.environ.get("DDPM_LESSON_DATA")
    return [Path(given).expanduser()] if given else []


def _own_folders():
    """Where downloads go: the checkout's data/mnist where there is a checkout, then the user's cache."""
    import pooch

    checkout = [CHECKOUT_DATA / "mnist"] if (CHECKOUT_DATA / "README.md").is_file() else []
    return checkout + [pooch.os_cache("ddpm-lesson")]


def _md5(path):
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def _download(name):
    """Path of the downloaded file, in the first folder that can be written."""
    problems = []
    for folder in _own_folders():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            # A private folder per download, then one atomic rename: nobody ever sees half a file.
            with tempfile.TemporaryDirectory(prefix=".partial-", dir=folder) as partial:
                os.replace(_fetch(name, Path(partial)), folder / name)
            return folder / name
        except ConnectionError:  # the network's fault: another folder would not help
            raise
        except OSError as error:
            problems.append(f"{folder}: {error}")
    raise OSError(
        f"cannot store {name}:\n  " + "\n  ".join(problems) + "\n"
        "Free some space or make one of these folders writable, then try again. " + _by_hand(name)
    )


def _fetch(name, folder):
    """Path of the file in folder, from the first mirror that sends the right one."""
    import pooch
    import requests

    # A bar where someone watches, a terminal or a notebook; quiet in CI and in logs.
    show = sys.stderr is not None and (sys.stderr.isatty() or type(sys.stderr).__module__ == "ipykernel.iostream")
    problems = []
    for mirror in MIRRORS:
        if show:
            print(f"downloading {mirror}{name}", file=sys.stderr)
        try:
            # tqdm's bar, and a timeout for every read: a mirror that stalls counts as dead.
            get = pooch.HTTPDownloader(progressbar=show, chunk_size=2**16, timeout=20)
            get(mirror + name, folder / name, None)
        except requests.RequestException as error:
            problems.append(f"{mirror}: {type(error).__name__}: {error}")
            continue
        found = _md5(folder / name)
        if found == MD5[name]:
            return folder / name
        problems.append(f"{mirror}: sent another file: MD5 {found}, expected {MD5[name]}")
    raise ConnectionError(
        f"cannot download {name}:\n  " + "\n  ".join(problems) + "\nCheck the network and try again. " + _by_hand(name)
    )


def _by_hand(name):
    looked_in = ", ".join(str(folder) for folder in _given_folders() + _own_folders())
    return (
        f"Or get {name} by other means and put it into a folder that the environment variable DDPM_LESSON_DATA names "
        f"(data/README.md lists all four files). Looked in: {looked_in}."
    )
