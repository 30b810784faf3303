"""One Python process, in a jail or (trust) not, that is asked one thing at a time. All that it says is hostile."""

import contextlib
import os
import re
import secrets
import select
import signal
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

from . import walls
from .inside import pack, unpack

MISUSED = "something else than one answer came out of the notebook's process"


class Reply(NamedTuple):
    value: object  # None, bool, int, float, str, numpy array, or list or dict of them
    error: str | None  # why there is no value


class Ended(Exception):
    """The process is gone, or must go."""


def clean(text, length=300, keep=""):
    """Printable characters only, and no folder of this machine."""
    for path in sorted({str(walls.PACKAGE.parent), sys.prefix, sys.base_prefix}, key=len, reverse=True):
        text = text.replace(path, "...")
    return "".join(c if c.isprintable() or c in keep else " " for c in text[:length])


class Process:
    """Leave its `with` block, and nothing of it is left."""

    def __init__(self, limits, trust):
        self.limits, self.trust, self.output, self.watched = limits, trust, b"", None
        with contextlib.ExitStack() as theirs, contextlib.ExitStack() as ours:
            self.replies, replies = os.pipe()
            info, its_info = os.pipe()
            seccomp, program = os.pipe()
            for fd in (replies, its_info, seccomp):
                theirs.callback(os.close, fd)
            for fd in (self.replies, info):
                ours.callback(os.close, fd)
            with open(program, "wb") as file:
                file.write(b"" if trust else walls.seccomp_filter())
            command = [] if trust else walls.command(limits.disk, its_info, seccomp)
            folder = ours.enter_context(tempfile.TemporaryDirectory()) if trust else "/"
            self.process = ours.enter_context(subprocess.Popen(
                [*command, sys.executable, "-IBu", str(walls.INSIDE), str(replies)], bufsize=0, start_new_session=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=folder,
                env=walls.ENVIRONMENT | {"HOME": folder},
                pass_fds=(replies,) if trust else (replies, its_info, seccomp)))
            theirs.close()
            child = re.search(rb'"child-pid": (\d+)', os.read(info, 1000))
            self.pid, self.pidfd = self.process.pid, None
            if child:
                self.pid = int(child[1])  # the jail's process 1: the kernel ends all others with it
                self.pidfd = os.pidfd_open(self.pid)
                ours.callback(os.close, self.pidfd)
            self.stdin, self.stdout = self.process.stdin.fileno(), self.process.stdout.fileno()
            os.set_blocking(self.stdin, False)
            os.set_blocking(self.stdout, False)
            self.ours = ours.pop_all()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with self.ours:
            with contextlib.suppress(ProcessLookupError):
                if self.pidfd is None:
                    os.killpg(self.process.pid, signal.SIGKILL)
                else:
                    signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
            if self.pidfd is not None:
                poll = select.poll()
                poll.register(self.pidfd, select.POLLIN)
                poll.poll(30_000)  # the first process of a jail ends after all others
            self.process.wait(30)
            while self._read_output():
                pass

    def start(self, files):
        most = self.limits
        limits = {"CORE": 0, "NOFILE": 256, "FSIZE": most.disk, "CPU": int(most.total_seconds) + 1}
        if sys.platform == "linux":
            limits |= {"DATA": most.memory, "AS": most.memory + (4 << 30), "MSGQUEUE": 0}
        if not self.trust:  # there it would count all that this user runs
            limits["NPROC"] = most.processes
        message = {"do": "start", "path": str(walls.PACKAGE.parent), "limits": limits, "files": files}
        try:
            error = self.ask(message, time.monotonic() + 60).error
        except Ended as reason:
            self._read_output()
            error = f"{reason}: {self.output.decode(errors='replace')}"
        if error:
            raise RuntimeError(f"the jail did not start: {error}")
        self.watched = time.monotonic()

    def ask(self, message, end):
        """The Reply to one message. It carries the message's nonce; anything else on the channel is the end."""
        nonce, body, got = secrets.token_bytes(16), pack(message), bytearray()
        send = memoryview(nonce + len(body).to_bytes(8, "big") + body)
        poll, seconds = select.poll(), end - time.monotonic()
        poll.register(self.replies, select.POLLIN)
        if poll.poll(0) and os.read(self.replies, 1):
            raise Ended(MISUSED)  # an answer before the question
        poll.register(self.stdout, select.POLLIN)
        poll.register(self.stdin, select.POLLOUT)
        while True:
            for fd, _ in poll.poll(100):
                if fd == self.stdout and self._read_output() == b"":
                    poll.unregister(fd)
                elif fd == self.stdin:
                    with contextlib.suppress(BlockingIOError, BrokenPipeError):
                        send = send[os.write(fd, send[: 1 << 16]):]
                    if not send:
                        poll.unregister(fd)
                elif fd == self.replies:
                    part = os.read(fd, 1 << 16)
                    if not part:
                        raise Ended(self._how())
                    got += part
            length = int.from_bytes(got[16:24], "big")
            if not nonce.startswith(got[:16]) or length > self.limits.reply + 2**16 or 24 + length < len(got) > 24:
                raise Ended(MISUSED)
            if len(got) > 24 and len(got) == 24 + length:
                return _judge(bytes(got[24:]))
            if time.monotonic() > end:
                raise Ended(f"took too long, and was stopped after {seconds:.1f} s")
            self._watch()

    def _read_output(self):
        """What was printed just now: b"" at its end, None when there is nothing yet. Only the beginning is kept."""
        try:
            data = os.read(self.stdout, 1 << 16)
        except BlockingIOError:
            return None
        self.output += data[: self.limits.output - len(self.output)]
        return data

    def _watch(self):
        """Ten times a second: what no limit of the kernel holds for all processes together."""
        if self.trust or self.watched is None or time.monotonic() < self.watched + 0.1:
            return
        self.watched = time.monotonic()
        if walls.memory(self.pid) > self.limits.memory:
            raise Ended(f"used more than {self.limits.memory >> 20} MB of memory")
        if walls.files(self.pid) > walls.FILES:
            raise Ended(f"made more than {walls.FILES} files")

    def _how(self):
        """How the process ended, after it closed the channel."""
        try:
            code = self.process.wait(5)
        except subprocess.TimeoutExpired:
            return MISUSED
        signalled = -code if code < 0 else code - 128
        return f"the process ended ({f'signal {signalled}' if signalled > 0 else f'exit code {code}'})"


def _judge(body):
    """The Reply that the bytes are. If they are none, the end."""
    try:
        answer = unpack(body)
        value, error = answer["value"], answer["error"]
    except (ValueError, TypeError, KeyError):
        raise Ended(MISUSED) from None
    return Reply(value, None) if error is None else Reply(None, clean(str(error)) or "an error")
