"""Runs what a student handed in, in a jail, and brings back plain values. Points are decided elsewhere, outside.

The jail is bubblewrap's: no network, no files but Python's, this package's and a small working folder, no process but
its own. The kernel holds what one process may take (inside.start); what all take together is watched (process.py).
When root starts it, the jail belongs to a user of its own. Every byte that comes out is taken for hostile.
"""

import functools
import subprocess
import time
from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np

from . import walls
from .process import Ended, Process, Reply, clean

HELP = """{reason}
Student code runs only in a jail, which needs Linux and bubblewrap 0.8 or newer:
    apt-get install bubblewrap util-linux    (Debian 12, Ubuntu 24.04, or newer)
    dnf install bubblewrap util-linux        (Fedora)
    docker run --privileged -it -v "$PWD":/course -w /course python:3.12-bookworm    (in it, the first line)
It also needs user namespaces. Where the setting kernel.apparmor_restrict_unprivileged_userns exists, it must be 0."""


class Limits(NamedTuple):
    seconds: float = 60  # for one request
    cells_seconds: float = 120  # for all cells together
    total_seconds: float = 300
    restarts: int = 4  # after cells or requests that ended the process
    memory: int = 4 << 30  # bytes, of one process and of all together
    processes: int = 64  # threads count
    disk: int = 64 << 20  # bytes, in each of /tmp (the working folder is there) and /dev/shm
    output: int = 1 << 20  # bytes of stdout and stderr that are kept
    reply: int = 16 << 20  # bytes of one answer


LIMITS = Limits()


class Request(NamedTuple):
    """A line of Python for the notebook's namespace. All of it is public: no expected value may stand here."""

    call: str  # such as "my_step(xt, t, schedule)"
    inputs: object = {}  # name -> number, str, bool, None, numpy array, or list or dict of them. A list of such dicts:
    #                      one try after the other in one request; its value is a list
    setup: str = ""  # such as "import torch, ddpm_lesson; xt, schedule = torch.tensor(xt), ddpm_lesson.Schedule(beta)"


class Result(NamedTuple):
    replies: list  # of Reply(value, error), one per request
    cells: dict  # cell id -> what went wrong, for the cells where something did
    output: str  # what was printed, its beginning


class NoJail(RuntimeError):
    """This machine offers no jail. The message tells how to get one."""


def run(cells, requests, limits=LIMITS, files=None, trust=False):
    """The Result of running the code cells [(id, source), ...] once, in order, and then of the requests.

    A cell that raises is noted, and the next one runs. A cell or request that ends the process or takes too long is
    noted too: a fresh process runs the other cells again and goes on after it. `files` (name -> bytes) lie read-only
    in the working folder. trust=True runs all of this without a jail. Raises NoJail, ValueError for names or sizes of
    files, TypeError for inputs that are not plain, RuntimeError when no jail starts where one did: all before any code
    of the student's is blamed.
    """
    files = {name: np.frombuffer(data, np.uint8) for name, data in (files or {}).items()}
    for path in map(PurePosixPath, files):
        if path.is_absolute() or ".." in path.parts or not path.name or "\0" in str(path):
            raise ValueError(f"files must be names inside the working folder, not {str(path)!r}")
    if sum(content.size for content in files.values()) > limits.disk / 2:
        raise ValueError(f"files must fill at most half of the working folder's {limits.disk >> 20} MB")
    if not trust:
        _probe()
    todo = [{"do": "cell", "name": f"cell {name}", "source": source} for name, source in cells]
    todo += [{"do": "request", "reply": limits.reply, **request._asdict()} for request in requests]
    done, killers, output, end = {}, set(), "", time.monotonic() + limits.total_seconds
    for _ in range(limits.restarts + 1):
        if len(done) == len(todo) or time.monotonic() > end:
            break
        with Process(limits, trust) as process:
            process.start(files)
            cells_end = min(end, time.monotonic() + limits.cells_seconds)
            for k, message in enumerate(todo):
                if k in killers or (k in done and k >= len(cells)):
                    continue
                try:
                    reply = process.ask(
                        message, cells_end if k < len(cells) else min(end, time.monotonic() + limits.seconds))
                except Ended as reason:
                    done[k] = Reply(None, str(reason))
                    killers.add(k)
                    break
                done.setdefault(k, reply)
        output = output or clean(process.output.decode(errors="replace"), limits.output, "\n\t")
    never = Reply(None, "not tried: the notebook ended too often, or took too long")
    replies = [done.get(k, never) for k in range(len(todo))]
    wrong = {name: reply.error for (name, _), reply in zip(cells, replies, strict=False) if reply.error}
    return Result(replies[len(cells):], wrong, output)


@functools.cache
def _probe():
    """Raises NoJail unless a jail starts here, is one, and can be watched."""
    try:
        with Process(LIMITS, False) as process:
            process.start({})
            if not walls.apart(process.pid):
                raise OSError("what bubblewrap started is not apart from this machine's processes, files and network")
            if not walls.memory(process.pid) or not walls.files(process.pid):
                raise OSError("the processes of a jail cannot be watched")
    except (OSError, RuntimeError, AttributeError, subprocess.SubprocessError) as error:
        raise NoJail(HELP.format(reason=error)) from None
