"""What hostile notebooks try. Each is a cell; `loot` is what it got, and test_jail.py says what it may be.

The words in capitals are filled in by the test: SECRET (also as HALVES) lies in the grader's environment, memory and
files; FOLDER holds those files; on PORT and SOCKET the grader's machine listens; MARK is a name to leave behind.
"""

from typing import NamedTuple


class Attack(NamedTuple):
    cell: str  # leaves `loot`
    loot: object = None  # what asking for `loot` must give; a str with "error: " in front: a regex for the error
    cell_error: str | None = None  # a regex for what is noted about the cell; None: nothing
    honest: bool = True  # whether requests after this one are answered
    limits: dict = {}


GONE = "the process ended"
MISUSED = "something else than one answer"

ATTACKS = {
    # lies: nothing that the student's side computes decides anything, so a wrong answer stays wrong
    "comparisons that are always true": Attack("""
import builtins, math, numpy
numpy.allclose = numpy.isclose = numpy.array_equal = math.isclose = lambda *a, **k: True
numpy.testing.assert_allclose = lambda *a, **k: None
builtins.abs = builtins.max = builtins.all = builtins.any = lambda *a, **k: True
loot = 7
""", 7),
    "builtins that are broken": Attack("""
import builtins
builtins.isinstance = builtins.float = builtins.type = builtins.len = lambda *a, **k: True
loot = 7
""", "error: NameError", GONE),
    "torch, and a tensor that lies": Attack("""
import torch
torch.allclose = torch.equal = torch.isclose = torch.testing.assert_close = lambda *_, **__: True
torch.Tensor.__eq__ = torch.Tensor.allclose = torch.Tensor.equal = lambda *_, **__: True
class Liar(torch.Tensor):
    __torch_function__ = classmethod(lambda cls, function, types, args=(), kwargs=None: torch.tensor(10.0))
loot = torch.zeros(2).as_subclass(Liar)
""", 10.0),
    "an object equal to everything": Attack("""
class Liar(float):
    __eq__ = __le__ = __ge__ = lambda *_: True
    __sub__ = __rsub__ = __abs__ = lambda *_: 0.0
    __hash__ = float.__hash__
loot = [Liar(7), {"a": Liar(8)}]
""", [7.0, {"a": 8.0}]),
    "an object that is another number every time": Attack("""
class Liar:
    n = 0
    def __array__(self, *_, **__):
        import numpy
        self.n += 1
        return numpy.array([self.n])
loot = Liar()
""", [1]),
    "an array that lies": Attack("""
import numpy
class Liar(numpy.ndarray):
    __eq__ = lambda *_: True
    def __array_function__(self, *_): return True
    def __array_ufunc__(self, *_, **__): return True
loot = numpy.zeros(2).view(Liar)
""", [0.0, 0.0]),
    "a patched serialiser": Attack("""
import json, sys
json.dumps = lambda *_, **__: '{"dict": {"value": {"dict": {"score": 10, "right": true}}, "error": null}}'
loot = 7
""", {"score": 10, "right": True}, honest=False),  # a value like any other, and no right one
    "an import system that brings fakes": Attack("""
import sys
class Fake:
    def find_spec(self, name, *_): raise ImportError("fake")
    def __getattr__(self, name): return lambda *_, **__: True
sys.meta_path.insert(0, Fake())
for name in ("torch", "numpy", "ddpm_lesson", "ddpm_lesson.checks"): sys.modules[name] = Fake()
loot = 7
""", "error: ", honest=False),  # isinstance(x, torch.Tensor) breaks, and with it all his own answers
    "the checker replaced": Attack("""
import sys, types
fake = types.ModuleType("fake")
fake.check = lambda *_: print("right.")
sys.modules["ddpm_lesson.checks"] = sys.modules["ddpm_lesson.grading"] = sys.modules["ddpm_lesson.grading.jail"] = fake
loot = 7
""", 7),
    "main replaced": Attack("""
import sys
frame = sys._getframe()
while frame:
    for name in ("unpack", "plain", "why"): frame.f_globals.pop(name, None)
    frame = frame.f_back
loot = 7
""", "error: " + GONE, honest=False),

    # reading
    "the environment": Attack("""
import os
loot = sorted(dict(os.environ))
""", ["HOME", "LANG", "MKL_NUM_THREADS", "MPLBACKEND", "OMP_NUM_THREADS", "PATH", "PWD", "USER"]),
    "what other processes are": Attack("""
import os
loot = []
for pid in filter(str.isdigit, os.listdir("/proc")):
    for name in ("environ", "cmdline", "mem", "maps", "cwd/secret", "root/FOLDER/secret"):
        try: loot.append(name + open(f"/proc/{pid}/{name}", "rb").read(10**6).decode(errors="replace"))
        except OSError: pass
loot = [text for text in loot if SECRET in text or "ptest" in text or "jail.py" in text]
""", []),
    "the tables of right answers": Attack("""
import importlib, os
import ddpm_lesson.exercises
folder = os.path.dirname(ddpm_lesson.exercises.__file__)
loot = [name for name in os.listdir(folder) if not name.startswith(("lesson_", "exercise.py", "__init__.py"))]
for name in ("hw1", "hw2", "hw3"):
    try: loot.append(importlib.import_module(f"ddpm_lesson.exercises.{name}").QUESTIONS)
    except ModuleNotFoundError: pass
""", []),
    "its processes alone": Attack("""
import os
loot = [os.getpid() < 10, os.getppid(), max(int(pid) for pid in os.listdir("/proc") if pid.isdigit()) < 20]
""", [True, 1, True]),
    "the grader's files": Attack("""
import os
loot = []
for top in ("FOLDER", "/proc/1/root", "/proc/self/root"):
    for where, folders, files in os.walk(top):
        if where.count("/") > 6 or "/proc" in where[5:]: folders.clear()
        loot += [name for name in files if name in ("secret", "test_jail.py", "jail.py", "grades.csv")]
for path in ("FOLDER/secret", "../../../../FOLDER/secret", "/proc/1/cwd/secret", "/etc/shadow", "/etc/passwd"):
    try: loot.append(open(path).read())
    except OSError: pass
""", []),
    "folders that hold secrets elsewhere": Attack("""
import os
loot = [path for path in ("/home", "/mnt", "/opt", "/srv", "/var", "/run", "/sys", "/boot", "/media", "/root/.ssh",
                          "/etc/passwd", "/var/run/docker.sock", "/dev/sda", "/dev/mem", "/dev/kmsg", "CHECKOUT/tests",
                          "CHECKOUT/notebooks", "CHECKOUT/.git", "CHECKOUT/pyproject.toml")
        if os.path.exists(path) and (not os.path.isdir(path) or not PYTHON.startswith(path + "/"))]
""", []),
    "the grader's own code": Attack("""
import os
loot = sorted(os.listdir("PACKAGE/grading"))
""", ["inside.py"]),
    "memory": Attack("""
import gc, os, re, sys
wanted = re.compile("(?:)".join(HALVES))  # whole, the word is nowhere in this process
seen = [y for x in gc.get_objects() for y in gc.get_referents(x) if isinstance(y, str)]
frame = sys._getframe()
while frame:
    seen += map(str, frame.f_locals.values())
    frame = frame.f_back
seen += map(str, vars(sys.modules["__main__"]).values())
loot = [len(seen) > 1000, sum(bool(wanted.search(text)) for text in seen), 0]
wanted = re.compile("(?:)".join(HALVES).encode())
with open("/proc/self/mem", "rb", 0) as memory:
    for line in open("/proc/self/maps"):
        start, end = (int(x, 16) for x in line.split()[0].split("-"))
        if " rw" in line and end - start < 1 << 30:
            memory.seek(start)
            loot[2] += bool(wanted.search(memory.read(end - start)))
""", [True, 0, 0]),
    "files through links": Attack("""
import os
os.remove("given.bin")
os.symlink("FOLDER/secret", "given.bin")
os.symlink("/", "everything")
loot = []
for path in ("given.bin", "everything/FOLDER/secret"):
    try: loot.append(open(path).read())
    except OSError as error: loot.append(type(error).__name__)
""", ["FileNotFoundError"] * 2),

    # writing
    "files outside": Attack("""
import os
loot = []
folders = ["/", "/dev", "/etc", "/usr", "/usr/lib", "/proc", "/proc/sys/kernel", "/sys", "/var/tmp", "/run", "/root"]
folders += ["/home", "FOLDER", "PACKAGE", "PACKAGE/grading", "CHECKOUT"]
folders += [os.path.dirname(os.__file__), os.path.dirname(PYTHON)]
own = os.stat("/tmp").st_dev  # a checkout may lie in /tmp, which is the jail's own inside
for folder in (folder for folder in folders if not os.path.exists(folder) or os.stat(folder).st_dev != own):
    for act in (lambda path: open(path, "w").write("1"), os.mkdir, lambda path: os.symlink("/", path),
                lambda path: os.link("/usr/bin/env", path), lambda path: os.mknod(path, 0o600)):
        try:
            act(folder + "/MARK")
            loot.append(folder)
        except OSError: pass
for path in ("FOLDER/secret", "PACKAGE/__init__.py", "PACKAGE/grading/inside.py", PYTHON, os.__file__):
    for act in (lambda path: open(path, "a"), os.remove, lambda path: os.chmod(path, 0o777), os.utime,
                lambda path: os.rename(path, path + "1"), lambda path: os.truncate(path, 0)):
        try:
            act(path)
            loot.append(path)
        except OSError: pass
""", []),
    "privileges": Attack("""
import ctypes, os, resource
libc, loot = ctypes.CDLL(None, use_errno=True), []
def tried(name, result):
    if result == 0: loot.append(name)
for name in ("setuid", "setgid", "setgroups"):
    try: tried(name, getattr(os, name)(*([[0]] if name == "setgroups" else [0])) or 0)
    except OSError: pass
for flag in (0x10000000, 0x00020000, 0x40000000, 0x20000000): tried("unshare", libc.unshare(flag))
tried("mount", libc.mount(b"none", b"/tmp", b"tmpfs", 0, None))
tried("remount", libc.mount(None, b"/usr", None, 32 | 4096, None))
tried("umount", libc.umount2(b"/usr", 2))
tried("chroot", libc.chroot(b"/tmp"))
tried("ptrace", libc.ptrace(16, os.getppid(), 0, 0))
tried("hostname", libc.sethostname(b"x", 1))
for name in ("NPROC", "DATA", "AS", "FSIZE", "CPU", "NOFILE"):
    limit = getattr(resource, "RLIMIT_" + name)
    hard = resource.getrlimit(limit)[1]
    try: tried(name, resource.setrlimit(limit, (hard + 1, hard + 1)) or 0)
    except (OSError, ValueError): pass
status = dict(line.split(":") for line in open("/proc/self/status").read().splitlines())
loot += [status[key].strip() for key in ("CapEff", "CapPrm", "CapBnd", "NoNewPrivs", "Seccomp")]
loot += [os.getuid(), os.getgid()]
""", ["0" * 16] * 3 + ["1", "2", 65534, 65534]),

    # the network
    "sockets": Attack("""
import socket
loot = []
for address in (("127.0.0.1", PORT), ("localhost", PORT), ("10.0.0.1", 80), ("1.1.1.1", 53)):
    try: loot.append(repr(socket.create_connection(address, 1)))
    except OSError: pass
for name in ("\\0SOCKET", "FOLDER/socket", "/run/docker.sock", "/run/dbus/system_bus_socket"):
    try:
        with socket.socket(socket.AF_UNIX) as s: s.connect(name)
        loot.append(name)
    except OSError: pass
try: loot += socket.getaddrinfo("example.org", 80)
except OSError: pass
loot += [name for _, name in socket.if_nameindex() if name != "lo"]
""", []),

    # taking much (the limits are small: see test_jail.py for the proof of each)
    "a little too much": Attack("loot = bytearray(400 << 20)", "error: NameError", "MemoryError",
                                limits={"memory": 300 << 20}),
    "ten gigabytes": Attack("loot = bytearray(10 << 30)", "error: NameError", "MemoryError",
                            limits={"memory": 300 << 20}),
    "memory in many processes": Attack("""
import os, time
for _ in range(5):
    if os.fork() == 0:
        x = bytearray(b"1") * (90 << 20)
        time.sleep(60)
time.sleep(60)
""", "error: NameError", "used more than 300 MB of memory", limits={"memory": 300 << 20}),
    "memory that belongs to no process": Attack("""
import ctypes, mmap, os
libc, loot = ctypes.CDLL(None, use_errno=True), []
def shared_zero(): mmap.mmap(os.open("/dev/zero", os.O_RDWR), 1 << 20)
def shm():
    if libc.shmget(0, 1 << 20, 0o1600) < 0: raise OSError
def keyring():
    if libc.syscall(248, b"user", b"x", b"y", 1, -3) < 0: raise OSError
for act in (lambda: mmap.mmap(-1, 1 << 20), lambda: os.memfd_create("x"), shared_zero, shm, keyring):
    try: loot.append(str(act()))
    except OSError: loot.append("refused")
""", ["refused"] * 5),
    "a full disk": Attack("""
loot = 0
for folder in ("/tmp", "/tmp/work", "/dev/shm"):
    try:
        for k in range(20):
            with open(f"{folder}/{k}", "wb") as file: loot += file.write(bytes(1 << 20))
    except OSError: pass
loot = loot >> 20 <= 8
""", True, limits={"disk": 4 << 20}),
    "many empty files": Attack("""
for k in range(10**5): open(f"/tmp/{k}", "w").close()
""", "error: NameError", "made more than 20000 files"),
    "many processes": Attack("""
import os, time
loot = 0
try:
    for _ in range(30):
        if os.fork() == 0:
            time.sleep(60)
            os._exit(0)
        loot += 1
except OSError: pass
loot = 10 < loot <= 20
""", True, limits={"processes": 20}),
    "many threads": Attack("""
import threading, time
loot = 0
try:
    for _ in range(30):
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
        loot += 1
except RuntimeError: pass
loot = 10 < loot <= 20
""", True, limits={"processes": 20}),
    "endless output": Attack("""
import os, threading
def flood():
    while True: os.write(1, b"flood " * 10000)
threading.Thread(target=flood, daemon=True).start()
loot = 7
""", 7, limits={"output": 10000}),
    "endless output, and nothing else": Attack("""
import os
while True: os.write(2, b"flood " * 10000)
""", "error: NameError", "took too long", limits={"cells_seconds": 2, "output": 10000}),
    "a huge answer": Attack("import numpy; loot = numpy.zeros(10**7)", "error: an answer of more than"),
    "a long list": Attack("loot = [0.123456789] * 10**6", "error: too many numbers outside of arrays",
                          limits={"reply": 16 << 20}),
    "a list in itself": Attack("loot = []; loot.append(loot)", "error: nested deeper than 20"),
    "deep lists": Attack("loot = []\nfor _ in range(10**5): loot = [loot]", "error: nested deeper than 20"),
    "a huge integer": Attack("loot = 10**4000", "error: 64 bits"),

    # ending
    "exit": Attack("import os; os._exit(0)", "error: NameError", GONE),
    "a crash": Attack("import ctypes; ctypes.string_at(0)", "error: NameError", GONE + r" \(signal 11\)"),
    "no end of recursion": Attack("""
import sys
sys.setrecursionlimit(10**9)
class A:
    def __getattr__(self, name): return repr(getattr(self, name + "x"))
A().a
""", "error: NameError", f"{GONE}|MemoryError|RecursionError"),
    "kill everything": Attack("""
import os, signal
for pid in (1, os.getppid(), 2**22, -1):
    try: os.kill(pid, signal.SIGKILL)
    except OSError: pass
os.killpg(0, signal.SIGKILL)
""", "error: NameError", GONE + r" \(signal 9\)"),
    "stand still": Attack("import os, signal; os.kill(os.getpid(), signal.SIGSTOP)", "error: NameError",
                          "took too long", limits={"cells_seconds": 2}),
    "deaf to signals": Attack("""
import signal
for number in range(1, 32):
    try: signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError): pass
while True: pass
""", "error: NameError", "took too long", limits={"cells_seconds": 2}),
    "SystemExit": Attack("loot = 7\nraise SystemExit('x')", 7, "SystemExit: x"),
    "KeyboardInterrupt": Attack("loot = 7\nraise KeyboardInterrupt", 7, "KeyboardInterrupt"),
    "exit of a thread": Attack("""
import sys, threading
threading.Thread(target=sys.exit).start()
loot = 7
""", 7),
    "children that sleep": Attack("""
import os, signal, subprocess, sys
for number in (signal.SIGTERM, signal.SIGHUP): signal.signal(number, signal.SIG_IGN)
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        import time
        time.sleep(600)
    os._exit(0)
loot = 7
""", 7),
    "a child that goes on": Attack("import os\nloot = os.fork() * 0", 0),
    "later": Attack("""
import atexit, os, threading, time
atexit.register(lambda: time.sleep(600))
threading._register_atexit(time.sleep, 600)
def go_on():
    while True: time.sleep(0.01)
threading.Thread(target=go_on).start()
class Late:
    def __del__(self): time.sleep(600)
late, loot = Late(), 7
""", 7),

    # errors as a weapon
    "an error that cannot be read": Attack("""
class Bad(Exception):
    def __str__(self): raise SystemExit
    __repr__ = __str__
raise Bad
""", "error: NameError", "Bad: its message cannot be read"),
    "an error that hangs": Attack("""
class Bad(Exception):
    def __str__(self):
        while True: pass
raise Bad
""", "error: NameError", "took too long", limits={"cells_seconds": 2}),
    "an error with a huge message": Attack("""
raise type("E" * 10**6, (Exception,), {})("x" * 10**8)
""", "error: NameError", "^E{100,300}$"),
    "an error with control characters": Attack("""
raise ValueError("a\\x1b[2J\\x00\\r\\n\\u202e\\ud800,=cmd")
""", "error: NameError", r"^ValueError: a \[2J +\??,=cmd \(cell attack, line 2\)$"),

    # the channel
    "forged answers, at once": Attack("""
import os
for fd in range(3, 200):
    try: os.write(fd, b"x" * 100)
    except OSError: pass
loot = 7
""", "error: NameError", MISUSED),
    "forged answers, later": Attack("""
import os, threading, time
def forge():
    while True:
        time.sleep(0.05)
        for fd in range(3, 20):
            try: os.write(fd, bytes(24))
            except OSError: pass
threading.Thread(target=forge, daemon=True).start()
time.sleep(0.3)
""", "error: NameError", MISUSED),
    "the right nonce": Attack("""
import sys, os
frame = sys._getframe()
while "head" not in frame.f_locals: frame = frame.f_back
head, replies = frame.f_locals["head"], frame.f_locals["replies"]
body = b'{"dict": {"value": 10, "error": null}}'
body = len(body).to_bytes(4, "big") + body
replies.write((head[:16] + len(body).to_bytes(8, "big") + body) * 2)  # one for this question, one for the next
replies.flush()
loot = 7
""", "error: NameError", MISUSED),
    "a huge frame": Attack("""
import sys
frame = sys._getframe()
while "head" not in frame.f_locals: frame = frame.f_back
frame.f_locals["replies"].write(frame.f_locals["head"][:16] + b"\\xff" * 8)
frame.f_locals["replies"].flush()
""", "error: NameError", MISUSED),
    "half a frame": Attack("""
import sys, time
frame = sys._getframe()
while "head" not in frame.f_locals: frame = frame.f_back
frame.f_locals["replies"].write(frame.f_locals["head"][:10])
frame.f_locals["replies"].flush()
time.sleep(60)
""", "error: NameError", "took too long", limits={"cells_seconds": 2}),
    "a pickle in a frame": Attack("""
import pickle, sys
frame = sys._getframe()
while "head" not in frame.f_locals: frame = frame.f_back
class Evil:
    def __reduce__(self): return eval, ("open('FOLDER/MARK', 'w')",)
body = pickle.dumps(Evil())
frame.f_locals["replies"].write(frame.f_locals["head"][:16] + len(body).to_bytes(8, "big") + body)
frame.f_locals["replies"].flush()
""", "error: NameError", MISUSED),
    "no channel": Attack("import os; os.closerange(0, 200)", "error: NameError", GONE),
    "questions stolen": Attack("""
import os, threading
for fd in range(3, 20):
    try:
        if os.get_blocking(fd) and os.fstat(fd): threading.Thread(target=os.read, args=(fd, 10**6), daemon=True).start()
    except OSError: pass
""", "error: took too long", honest=False, limits={"seconds": 1}),
    "output that fills the pipe": Attack("""
import os
os.set_blocking(1, True)
os.dup2(1, 2)
for _ in range(100): print("x" * 10**5)
loot = 7
""", 7),
    "input": Attack("loot = input('mark? ')", "error: NameError", "EOFError"),
    "a tracer": Attack("""
import sys, threading
def trace(frame, event, arg):
    for name in frame.f_locals:
        if name in ("answer", "value"): frame.f_locals[name] = 10
    return trace
frame = sys._getframe()
while frame:
    frame.f_trace, frame = trace, frame.f_back
sys.settrace(trace)
loot = 7
""", "error: NameError", MISUSED),
}
