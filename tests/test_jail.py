"""The grader's jail: what students' code can say, take and do there.

Sabotage that turned this file red: the checkout, the grader's code visible; /, /dev writable; user namespaces allowed;
no filter of system calls, of mmap's, a real /dev/zero; no limit of processes, of memory, of the disk, of /dev/shm;
memory of all processes not watched, files not counted; no nonce; root's outer wall without a namespace of processes.
Refused by the jail's own probe, before any test: a shared network, a bubblewrap that jails nothing, root that stays
root. Not noticed, because something else holds: the environment not cleared (the grader gives it an empty one).
"""

import os
import re
import secrets
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from attacks import ATTACKS

from ddpm_lesson.grading import jail, process, walls
from ddpm_lesson.grading.inside import DTYPES, pack, unpack
from ddpm_lesson.grading.jail import Limits, NoJail, Request, run

try:
    jail._probe()
    reason = ""
except NoJail as error:
    reason = str(error).splitlines()[0]
jailed = pytest.mark.skipif(bool(reason), reason=f"no jail: {reason}")

HONEST = "def twice(x):\n    return 2 * x"
QUICK = Limits(seconds=30, cells_seconds=30, total_seconds=90)  # the machine may be busy


def value(call, cells=HONEST, limits=QUICK, **inputs):
    """What one request gives. An error fails the test."""
    result = run([("one", cells)], [Request(call, inputs)], limits)
    assert result.replies[0].error is None and not result.cells, result
    return result.replies[0].value


def same(a, b):
    """Equal, and of the same types, dtypes and shapes, nan being nan."""
    if isinstance(b, np.ndarray):
        return isinstance(a, np.ndarray) and a.dtype == b.dtype and a.shape == b.shape and (
            np.array_equal(a, b, equal_nan=b.dtype.kind == "f"))
    if isinstance(b, dict):
        return type(a) is dict and list(a) == list(b) and all(same(a[k], b[k]) for k in b)
    if isinstance(b, list):
        return type(a) is list and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and (a == b or (a != a and b != b))


# values


VALUES = [None, True, False, 0, -(2**63), 2**63 - 1, 0.1, -0.0, float("inf"), float("nan"), "", "ᾱ_t\n</script>", [],
          {}, [[1, [2.5, None]], {"a": [True], "": {"b": "c"}}], np.zeros(()), np.zeros((0, 3)),
          np.array([np.nan, np.inf]),
          {"x": [np.arange(6.0).reshape(2, 3), np.arange(3)]}]


def test_values_come_back_as_they_went():
    for x in [*VALUES, VALUES]:
        assert same(unpack(pack(x)), x)
    for dtype in DTYPES:
        for shape in [(), (0,), (3,), (2, 3, 4), (1, 0, 2)]:
            x = np.random.default_rng(0).integers(0, 2, shape).astype(dtype)
            assert same(unpack(pack(x)), x)
            assert unpack(pack(x)).flags.writeable


@pytest.mark.parametrize("body", [
    b"", b"\0\0\0\0", b"\0\0\0\1", b"\0\0\0\5nul", b"\xff\xff\xff\xff{}", b"\0\0\0\4nullx", b"\0\0\0\4true" * 2,
    b"\x80\4N.",
    *(len(text.encode()).to_bytes(4, "big") + text.encode() + bytes(64) for text in [
        "1", "{}", '{"a": 1}', '{"dict": 1}', '{"dict": []}', '{"dict": {}, "array": []}', '{"array": null}',
        '{"array": ["|O", [8]]}', '{"array": ["<f8", [7]]}', '{"array": ["<f8", [9]]}', '{"array": ["<f8", [-8]]}',
        '{"array": ["<f8", [8.0]]}', '{"array": ["<f8", [true, 8]]}', '{"array": ["<f8", "8"]}',
        '{"array": ["<f8", 8]}', '{"array": ["<f8", [0, 9999999999999999999]]}',
        '{"array": ["<f8", [2147483647, 2147483647, 2147483647]]}',
        '{"array": ["<f8", [1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,8]]}',
        '{"array": ["<U16", [1]]}', '{"array": ["V64", [1]]}',
        '{"array": ["<c16", [4]]}', '{"array": [["<f8"], [8]]}', '{"array": [{}, [8]]}', '{"array": ["<f8", [8], 0]}',
        '{"array": ["<M8[s]", [8]]}', "[" * 30 + "]" * 30, "[" * 10**6, '{"dict":' * 10**5, "9" * 100,
        "-9223372036854775809", "9223372036854775808", '"\\ud8', "nul", "[1,]", "(1,)", "__import__('os')", "\xff",
    ]),
])
def test_other_bytes_are_refused(body):
    with pytest.raises(ValueError):
        unpack(body)


def test_damaged_bytes_are_refused_or_plain():
    rng, whole = np.random.default_rng(0), pack(VALUES)
    for _ in range(2000):
        body = bytearray(whole)
        for position in rng.integers(len(body), size=rng.integers(1, 5)):
            body[position] = rng.integers(256)
        body = bytes(body[: rng.integers(len(body) // 2, 2 * len(body))])
        try:
            unpack(body)
        except ValueError:
            pass


def test_text_that_no_file_takes_is_mended():
    assert unpack(b'\0\0\0\x0a"a\\ud800b"') == "a?b"


@jailed
def test_what_a_notebook_answers():
    cells = """
import collections, numpy as np
Point = collections.namedtuple("Point", "x y")
values = [np.float32(0.5), np.int8(3), np.bool_(True), Point(1, 2.0), range(3), np.array(["a", "b"]), {1: 2},
          np.array([1, 2.5], dtype=object), np.arange(6).reshape(2, 3).T, np.array([1.5], dtype=">f8"),
          np.longdouble(2)]
class Array:
    def __array__(self, dtype=None, copy=None): return np.ones(2)
"""
    assert same(value("values", cells)[:8], [0.5, 3, True, [1, 2.0], [0, 1, 2], ["a", "b"], {"1": 2}, [1, 2.5]])
    assert same(value("values[8:]", cells), [np.array([[0, 3], [1, 4], [2, 5]]), np.array([1.5]), np.array(2.0)])
    assert same(value("Array()", cells), np.ones(2))
    calls = "1j", "np.ones(2) * 1j", "print", "Point", "object()", "np"
    result = run([("one", cells)], [Request(call) for call in calls])
    assert [reply.value for reply in result.replies] == [None] * 6
    assert all(re.match("TypeError: expected numbers or arrays, got ", reply.error) for reply in result.replies)


@jailed
def test_torch_and_the_package():
    cells = """
import torch, ddpm_lesson
def step(xt, t, schedule): return schedule.alpha_bar[t].sqrt() * xt
class Loud(torch.Tensor):
    @classmethod
    def __torch_function__(cls, *_, **__): return 10
"""
    setup = """import torch, ddpm_lesson
schedule, xt = ddpm_lesson.Schedule(beta), torch.tensor(xt, requires_grad=True)"""
    inputs = {"beta": [0.1, 0.3], "xt": np.ones((2, 2))}
    calls = ["step(xt, 2, schedule)", "torch.ones(2, dtype=torch.bfloat16)", "torch.arange(3)", "torch.tensor(True)",
             "torch.zeros(0, 3)", "torch.eye(2).to_sparse()", "[torch.nn.Parameter(xt)]",
             "torch.conj(torch.ones(1) * 1j).imag", "torch.get_num_threads()", "torch.ones(2).expand(3, 2).T",
             "torch.ones(2, device='meta')", "torch.zeros(2).as_subclass(Loud)"]
    result = run([("one", cells)], [Request(call, inputs, setup) for call in calls])
    assert result.cells == {}
    wanted = [np.full((2, 2), 0.63**0.5), np.ones(2, np.float32), np.arange(3), np.array(True),
              np.zeros((0, 3), np.float32), np.eye(2, dtype=np.float32), [np.ones((2, 2))], -np.ones(1, np.float32), 1,
              np.ones((2, 3), np.float32)]
    assert same(result.replies[0].value.round(12), wanted[0].round(12))
    assert same([reply.value for reply in result.replies[1:-2]], wanted[1:])
    assert "meta" in result.replies[-2].error and "'int' object" in result.replies[-1].error


# notebooks


@jailed
def test_a_notebook_runs_once_in_order_and_goes_on_after_errors():
    cells = [
        ("a", "count = 0"), ("b", "%matplotlib inline\n!touch from_shell\nfiles = !ls\n%time count += 1"),
        ("c", "%%time\ncount += 1"), ("d", "%%bash\nls"), ("e", "def f(:"),
        ("f", "%no_such_magic x\nprint?\ncount += 1"),
        ("g", "\n\ncount / 0"), ("h", "count += 1\ndisplay(count)\ncount"), ("i", ""), ("j", "# text"),
        ("k", "raise NotImplementedError('Exercise 4.2')"), ("l", "if __name__ == '__main__': count += 1"),
        ("m", "from dataclasses import dataclass\n@dataclass\nclass A:\n    x: 'int' = 1\nimport inspect\nA().x"),
        ("n", "def g():\n    return 1 / count0\nsource = inspect.getsource(g)\nprint('ᾱ')"),
    ]
    calls = "count", "g()", "source", "files", "A().x"
    result = run(cells, [Request(call) for call in calls], QUICK)
    assert [result.replies[k].value for k in (0, 2, 3, 4)] == [5, "def g():\n    return 1 / count0\n", [], 1]
    assert result.replies[1] == (None, "NameError: name 'count0' is not defined (cell n, line 2)")
    assert result.cells.keys() == {"e", "g", "k"}
    assert result.cells["e"].startswith("SyntaxError: invalid syntax")
    assert result.cells["g"] == "ZeroDivisionError: division by zero (cell g, line 3)"
    assert result.cells["k"] == "NotImplementedError: Exercise 4.2 (cell k, line 1)"
    assert result.output == "ᾱ\n"


@jailed
def test_a_request_has_inputs_of_its_own():
    cells = [("a", "x = 'mine'\ndef spoil(x): x[0] = 9; return x\ndef own(): return x")]
    x = np.zeros(2)
    calls = ["spoil(x)", "x", "own()", "helper(x)", "spoil(x)"]
    setups = ["", "", "", "def helper(x): return twice * len(x)\ntwice = 2\nglobals().update(extra=1)", "extra"]
    result = run(cells, [Request(c, {"x": x}, s) for c, s in zip(calls, setups, strict=True)] + [Request("x")], QUICK)
    assert same([r.value for r in result.replies], [np.array([9.0, 0]), x, "mine", 4, None, "mine"]) and x[0] == 0
    assert result.replies[4].error == "NameError: name 'extra' is not defined"


@jailed
def test_nothing_asked_and_nothing_handed_in():
    assert run([], []) == ([], {}, "")
    assert run([], [Request("1 + 1")]).replies == [(2, None)]
    assert run([("a", "x = 1 / 0")], []).cells == {"a": "ZeroDivisionError: division by zero (cell a, line 1)"}


@jailed
def test_files_are_there_and_are_read_only():
    cell = "import os\nnames = sorted(os.listdir())\nmode = os.stat('w.bin').st_mode & 0o777"
    result = run([("a", cell)], [Request("[names, mode, list(open('sub/x', 'rb').read()), os.getcwd()]")], QUICK,
                 {"w.bin": bytes(3 << 20), "sub/x": b"\x00\xff"})
    assert result.replies[0].value == [["sub", "w.bin"], 0o444, [0, 255], walls.WORK]
    with pytest.raises(ValueError, match="files must fill at most half of the working folder's 1 MB"):
        run([], [Request("1")], QUICK._replace(disk=1 << 20), {"w.bin": bytes(2 << 20)})


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../x", "a/../../x", "..", ".", "a\0b"])
def test_files_elsewhere_are_refused(name):
    with pytest.raises(ValueError, match="files must be names inside"):
        run([], [Request("1")], files={name: b""})


@jailed
def test_it_goes_on_after_what_ended_the_process():
    cells = [("a", "import os\nopen('seen', 'a').write('a')"), ("b", "os._exit(3)"),
             ("c", "seen = open('seen').read()"), ("d", "while True: pass")]
    calls = "seen", "os._exit(4)", "1 + 1", "while_()", "os.kill(os.getpid(), 9)", "2 + 2"
    result = run(cells, [Request(call) for call in calls], Limits(10, 1.5, 60, restarts=9))
    assert result.cells.keys() == {"b", "d"} and result.cells["b"] == "the process ended (exit code 3)"
    assert re.fullmatch(r"took too long, and was stopped after 1\.\d s", result.cells["d"])
    assert [r.value for r in result.replies] == ["a", None, 2, None, None, 4]
    assert [r.error for r in result.replies if r.error] == [
        "the process ended (exit code 4)", "NameError: name 'while_' is not defined", "the process ended (signal 9)"]


@jailed
def test_a_request_that_hangs():
    cells = [("a", HONEST + "\ndef hang():\n    while True: pass")]
    began = time.monotonic()
    result = run(cells, [Request("twice(1)"), Request("hang()"), Request("twice(2)")], QUICK._replace(seconds=2))
    assert result.replies == [(2, None), (None, "took too long, and was stopped after 2.0 s"), (4, None)]
    assert time.monotonic() - began < 20


@jailed
def test_restarts_and_time_have_an_end():
    cells = [("a", "import os, time")]
    result = run(cells, [Request("os._exit(1)")] * 3 + [Request("1")], QUICK._replace(restarts=1))
    assert [r.error for r in result.replies] == ["the process ended (exit code 1)"] * 2 + [
        "not tried: the notebook ended too often, or took too long"] * 2
    began = time.monotonic()
    result = run(cells, [Request("time.sleep(2)")] * 9, QUICK._replace(seconds=5, total_seconds=10))
    assert time.monotonic() - began < 20 and result.replies[0] == (None, None)
    assert re.match("took too long", next(r.error for r in result.replies if r.error))
    assert result.replies[-1].error.startswith("not tried")


# attacks


class Seen(process.Process):
    """A process that remembers the namespaces of all the jails there were, and keeps no more than it may."""

    namespaces = set()

    def __exit__(self, *error):
        super().__exit__(*error)
        assert len(self.output) <= self.limits.output

    def start(self, files):
        super().start(files)
        self.namespaces.update(os.readlink(f"/proc/{pid}/ns/pid") for pid, _ in walls.below(self.pid))


def left_behind():
    """Processes of this machine that are in one of those jails, and alive."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.readlink(f"/proc/{pid}/ns/pid") in Seen.namespaces:
                found += re.findall(r"(?s)^.*State:\t[^ZX].*$", Path(f"/proc/{pid}/status").read_text())
        except OSError:
            pass
    return found


@pytest.fixture(scope="module")
def grader(tmp_path_factory):
    """A grader's machine with secrets everywhere: word -> what stands for it in an attack's source."""
    secret, folder = f"S{secrets.token_hex(8)}", tmp_path_factory.mktemp("grader")
    (folder / "secret").write_text(secret)
    (folder / "grades.csv").write_text(secret)
    os.environ["GRADERS_PASSWORD"] = secret
    listeners = [socket.create_server(("127.0.0.1", 0)), socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)]
    listeners[1].bind(f"\0{secret}-abstract")
    listeners[2].bind(str(folder / "socket"))
    for listener in listeners:
        listener.listen()
    halves = [secret[:9], secret[9:]]  # so that an attack does not find its own source
    yield {"secret": secret, "SECRET": f"''.join({halves})", "HALVES": str(halves), "FOLDER": str(folder),
           "MARK": f"mark{secret[:6]}", "PYTHON": repr(sys.executable), "PORT": str(listeners[0].getsockname()[1]),
           "SOCKET": f"{secret}-abstract", "PACKAGE": str(walls.PACKAGE),
           "CHECKOUT": str(walls.PACKAGE.parent)}
    for listener in listeners:
        listener.close()
    del os.environ["GRADERS_PASSWORD"]


@jailed
@pytest.mark.parametrize("name", ATTACKS)
def test_attack(name, grader, monkeypatch):
    monkeypatch.setattr(jail, "Process", Seen)
    attack, cell = ATTACKS[name], ATTACKS[name].cell
    for word in filter(str.isupper, grader):
        cell = re.sub(rf"\b{word}\b", lambda found: grader[found[0]], cell)
    secret = grader["secret"]
    before = set(os.listdir("/tmp")), set(os.listdir(grader["FOLDER"])), set(os.listdir(walls.PACKAGE))
    requests = [Request("loot"), Request("twice(x)", {"x": 21}), Request("twice(x)", {"x": 4.5})]
    limits = Limits(30, 30, 90, restarts=3, reply=1 << 20)._replace(**attack.limits)
    result = run([("honest", HONEST), ("attack", cell)], requests, limits, {"given.bin": b"1"})

    said = result.cells.pop("attack", None)
    assert result.cells == {}
    assert (said is None) == (attack.cell_error is None) and re.search(attack.cell_error or "", said or ""), result
    loot = result.replies[0]
    if isinstance(attack.loot, str) and attack.loot.startswith("error: "):
        assert loot.value is None and re.search(attack.loot[7:], loot.error), result
    elif attack.cell_error and loot.error:
        assert loot.value is None and "NameError" in loot.error
    else:
        plain = loot.value.tolist() if isinstance(loot.value, np.ndarray) else loot.value
        assert loot.error is None and plain == attack.loot, result
    assert secret not in repr(result) and len(result.output) <= limits.output
    assert all(c.isprintable() and len(c) == 1 for error in [said or "", loot.error or ""] for c in error)
    if attack.honest:
        assert result.replies[1:] == [(42, None), (9.0, None)]
    assert left_behind() == []
    assert (set(os.listdir(grader["FOLDER"])), set(os.listdir(walls.PACKAGE))) == before[1:]
    assert not list(Path("/tmp").glob(grader["MARK"])) and Path(grader["FOLDER"], "secret").read_text() == secret


# the grader


@jailed
def test_submissions_at_the_same_time():
    def one(k):
        cell = f"import os\nopen('mine', 'w').write('{k}')\nseen = os.listdir()"
        return run([("a", cell)], [Request("[k * 2, seen]", {"k": k})], QUICK).replies[0]

    with ThreadPoolExecutor(4) as pool:
        replies = list(pool.map(one, range(8)))
    assert [reply.value for reply in replies] == [[2 * k, ["mine"]] for k in range(8)]


GRADER = """
import os, sys, types
package = sys.modules["ddpm_lesson"] = types.ModuleType("ddpm_lesson")
package.__path__ = [sys.argv[1]]  # not its __init__, which takes seconds to import torch
from ddpm_lesson.grading import jail, walls
class Told(jail.Process):
    def start(self, files):
        super().start(files)
        print(*[os.readlink(f"/proc/{pid}/ns/pid") for pid, _ in walls.below(self.pid)], flush=True)
jail._probe()
jail.Process = Told
jail.run([("a", "import os, time\\nos.fork(); os.setsid(); os.fork()\\ntime.sleep(600)")], [])
"""


@jailed
def test_a_killed_grader_leaves_nothing(monkeypatch):
    child = subprocess.Popen([sys.executable, "-c", GRADER, str(walls.PACKAGE)], stdout=subprocess.PIPE, text=True)
    monkeypatch.setattr(Seen, "namespaces", set(child.stdout.readline().split()))
    time.sleep(0.5)
    assert len(left_behind()) > 3
    child.kill()
    child.communicate()
    end = time.monotonic() + 10
    while left_behind() and time.monotonic() < end:
        time.sleep(0.05)
    assert left_behind() == []


@jailed
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can try both")
@pytest.mark.slow
def test_all_of_this_also_started_by_a_user():
    """This file again, as a user who is nobody, on this machine with Python where it is."""
    prefix = ["bwrap", "--tmpfs", "/", "--dev-bind", "/dev", "/dev", "--bind", "/proc", "/proc", "--perms", "1777",
              "--tmpfs", "/tmp", *walls.visible(), "--ro-bind", "/etc", "/etc", "--tmpfs", str(walls.INSIDE.parent)]
    for path in [walls.INSIDE.parent, *(walls.PACKAGE.parent / name for name in ("tests", "pyproject.toml"))]:
        prefix += ["--ro-bind", str(path), str(path)]
    prefix += ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID", "--chdir", str(walls.PACKAGE.parent), "--",
               "setpriv", "--reuid", "54321", "--regid", "54321", "--clear-groups", "--no-new-privs", "--"]
    tests = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "tests/test_jail.py"]
    child = subprocess.run(prefix + tests, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert child.returncode == 0 and " passed" in child.stdout and "skipped" not in child.stdout, child.stdout


@pytest.fixture
def fresh_probe():
    jail._probe.cache_clear()
    yield
    jail._probe.cache_clear()


@pytest.mark.parametrize("bwrap, message", [
    (None, "bwrap is not installed"),
    ("echo bwrap: No permissions to create a new namespace >&2; exit 1", "No permissions to create a new namespace"),
    ("echo bwrap: Unknown option --disable-userns >&2; exit 1", "Unknown option --disable-userns"),
    ("exit 0", "did not start"),
    # one that jails nothing
    ('while [ "$1" != -- ]; do shift; done; shift; exec "$@"', "(not apart|cannot be watched|did not start)"),
])
def test_without_a_jail_nothing_runs(bwrap, message, fresh_probe, tmp_path, monkeypatch):
    if bwrap:
        (tmp_path / "bwrap").write_text(f"#!/bin/bash\n{bwrap}\n")
        (tmp_path / "bwrap").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    mark = tmp_path / "ran"
    for _ in range(2):
        with pytest.raises(NoJail, match=f"{message}(?s:.*)apt-get install bubblewrap(?s:.*)dnf(?s:.*)docker"):
            run([("a", f"open({str(mark)!r}, 'w')")], [])
    assert not mark.exists()


def test_an_unknown_machine_has_no_jail(fresh_probe, monkeypatch):
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    with pytest.raises(NoJail, match="riscv64"):
        run([], [])


def test_trust_runs_without_a_jail(fresh_probe, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("GRADERS_PASSWORD", "secret")
    cells = [("a", f"{HONEST}\nimport os\nhere = os.getcwd(), 'GRADERS_PASSWORD' in os.environ"), ("b", "1 / 0"),
             ("c", "os._exit(3)"), ("d", "x = bytearray(10 << 30)")]
    requests = [Request("twice(x)", {"x": np.ones(2)}), Request("here"), Request("os._exit(4)"),
                Request("len(open('f').read())"), Request("os.fork() and time.sleep(60)", setup="import time"),
                Request("1")]
    result = run(cells, requests, QUICK._replace(seconds=2), {"f": b"abc"}, trust=True)
    assert result.cells.keys() == {"b", "c", "d"} and result.cells["d"].startswith("MemoryError")
    assert same(result.replies[0].value, np.full(2, 2.0))
    assert result.replies[3].value == 3 and result.replies[5].value == 1
    folder, told = result.replies[1].value
    assert not Path(folder).exists() and told is False
    assert [r.error is None for r in result.replies] == [True, True, False, True, False, True]


def test_errors_name_no_folder_of_this_machine():
    told = process.clean(f"{walls.PACKAGE}/x.py, {sys.prefix}/lib, {sys.base_prefix}/lib\n\x1b[0m\u2028é" + "y" * 400)
    assert str(walls.PACKAGE.parent) not in told and sys.base_prefix not in told
    assert len(told) == 300 and told.startswith(".../ddpm_lesson/x.py, .../") and "  [0m é" in told


def test_the_package_loads_no_grader():
    """A module may import it inside a function."""
    for path in walls.PACKAGE.rglob("*.py"):
        if path.parent != walls.INSIDE.parent:
            assert not re.search(r"(?m)^(from|import) .*grading", path.read_text(encoding="utf-8")), path
