"""What the jail is made of: bubblewrap's arguments, a filter of system calls, and what its processes take together."""

import functools
import os
import platform
import re
import secrets
import shutil
import struct
import sys
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
INSIDE = PACKAGE / "grading" / "inside.py"
ANSWERS = PACKAGE / "exercises"  # the tables of the homework are here, and what they import
WORK = "/tmp/work"  # the working folder, in the jail
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "HOME": WORK, "USER": "student", "LANG": "C.UTF-8", "MPLBACKEND": "Agg",
               "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
FILES = 20_000  # files and folders that a jail may hold: each takes kernel memory, however small it is
NOBODY = 65534


def command(disk, info, seccomp):
    """What to put before a command line. The descriptors take the pid of the jail's process 1 and give the filter."""
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        raise FileNotFoundError("bwrap is not installed")
    environment = [word for name, value in ENVIRONMENT.items() for word in ("--setenv", name, value)]
    jail = [
        bwrap, "--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent", "--new-session",
        "--cap-drop", "ALL", "--uid", f"{NOBODY}", "--gid", f"{NOBODY}", "--hostname", "jail", "--clearenv",
        *environment, "--size", f"{disk}", "--tmpfs", "/tmp", *visible(), "--dir", WORK,
        "--proc", "/proc", "--dev", "/dev", "--size", f"{disk}", "--tmpfs", "/dev/shm",
        "--ro-bind", "/dev/null", "/dev/zero",  # shared maps of it would be memory that no limit sees
        # bubblewrap's own tmpfs have no limit
        "--remount-ro", "/dev", "--remount-ro", str(INSIDE.parent), "--remount-ro", str(ANSWERS), "--remount-ro", "/",
        "--chdir", WORK, "--seccomp", f"{seccomp}",
    ]
    if os.geteuid() != 0:
        return [*jail, "--info-fd", f"{info}", "--"]
    # The kernel excuses root from the limit on processes, so root becomes somebody first: a user nobody else is, with
    # a view of the same files, which may lie in root's own folders. All of it is in one more namespace of processes:
    # when the grader is killed, a wall that has given up root's powers may not signal somebody's, but the kernel may.
    somebody = f"{1_800_000_000 + secrets.randbelow(100_000_000)}"
    return [bwrap, "--tmpfs", "/tmp", *visible(), "--bind", "/proc", "/proc", "--dev-bind", "/dev", "/dev",
            "--unshare-pid", "--die-with-parent", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID",
            "--info-fd", f"{info}", "--", "setpriv", "--reuid", somebody, "--regid", somebody, "--clear-groups",
            "--no-new-privs", "--", *jail, "--"]


@functools.cache
def visible():
    """What a jail can read, at its own place: the system's programs, Python, this package less grader and answers."""
    binds = [("--ro-bind", Path("/usr"))]
    binds += [("--ro-bind", Path(path)) for path in ("/bin", "/lib", "/lib64", "/sbin", "/etc/ld.so.cache")]
    homes = {sys.prefix, sys.base_prefix, str(Path(sys.executable).resolve().parents[1])}
    homes = {Path(path) for path in homes | {os.path.realpath(path) for path in homes}} - {Path("/usr"), Path("/")}
    # not the whole folder: an environment may lie at the root of a checkout
    binds += [("--ro-bind", home / name) for home in sorted(homes) for name in ("bin", "lib", "lib64", "pyvenv.cfg")]
    binds += [("--ro-bind", PACKAGE), ("--tmpfs", INSIDE.parent), ("--ro-bind", INSIDE), ("--tmpfs", ANSWERS)]
    shown = [ANSWERS / "__init__.py", ANSWERS / "exercise.py", *sorted(ANSWERS.glob("lesson_*.py"))]
    binds += [("--ro-bind", path) for path in shown]
    words, bound = [], set()
    for how, path in binds:
        if not path.exists():
            continue
        for folder in reversed(path.parents):
            if folder != Path("/") and not bound & {folder, *folder.parents}:
                words += ["--perms", "0755", "--dir", str(folder)]  # bubblewrap would make it 0700
        if path.is_symlink():
            words += ["--symlink", os.readlink(path), str(path)]
        else:
            words += [how, *[str(path)] * (2 if how == "--ro-bind" else 1)]
            bound.add(path)
    return words


def seccomp_filter():
    """BPF that refuses system calls that reach into other processes or the kernel, or whose memory counts nowhere.

    In this order: memfd_create, memfd_secret, shmget, msgget, ptrace, process_vm_readv and _writev, add_key,
    request_key, keyctl, bpf, perf_event_open, userfaultfd, io_uring_setup; then mmap with MAP_SHARED | MAP_ANONYMOUS.
    """
    machines = {
        "x86_64": (0xC000003E, [319, 447, 29, 68, 101, 310, 311, 248, 249, 250, 321, 298, 323, 425], 9),
        "aarch64": (0xC00000B7, [279, 447, 194, 186, 117, 270, 271, 217, 218, 219, 280, 241, 282, 425], 222),
    }
    if platform.machine() not in machines:
        raise OSError(f"no filter of system calls for {platform.machine()}: it is known for {', '.join(machines)}")
    architecture, refused, mmap = machines[platform.machine()]
    load, equal, above, mask, give = 0x20, 0x15, 0x35, 0x54, 0x06
    kill, refuse, allow = 0x80000000, 0x00050001, 0x7FFF0000
    program = [(load, 0, 0, 4), (equal, 1, 0, architecture), (give, 0, 0, kill)]
    program += [(load, 0, 0, 0), (above, 0, 1, 0x40000000), (give, 0, 0, refuse)]  # x32's numbers
    for number in refused:
        program += [(equal, 0, 1, number), (give, 0, 0, refuse)]
    program += [(equal, 0, 3, mmap), (load, 0, 0, 40), (mask, 0, 0, 0x21), (equal, 1, 0, 0x21)]
    program += [(give, 0, 0, allow), (give, 0, 0, refuse)]
    return b"".join(struct.pack("=HBBI", *step) for step in program)


def below(pid):
    """(pid, text of its status) of a process and all below it, parents first."""
    pids, found = [pid], []
    for pid in pids:  # it grows
        try:
            status = Path(f"/proc/{pid}/status").read_text()
            for thread in os.listdir(f"/proc/{pid}/task"):
                pids += Path(f"/proc/{pid}/task/{thread}/children").read_text().split()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has just ended
        found.append((pid, status))
    return found


def apart(pid):
    """Whether the last of them shares no namespace with this process."""
    inner = below(pid)[-1][0]
    return all(os.readlink(f"/proc/{inner}/ns/{kind}") != os.readlink(f"/proc/self/ns/{kind}")
               for kind in ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts"))


def memory(pid):
    """Bytes that all processes of a jail take. What two of them share counts twice."""
    return 1024 * sum(int(kilobytes) for _, status in below(pid)
                      for kilobytes in re.findall(r"^(?:RssAnon|RssShmem|VmSwap):\s+(\d+)", status, re.M))


def files(pid):
    """How many files and folders lie where a jail can write."""
    try:
        inner = pid if os.geteuid() != 0 else below(pid)[2][0]  # root's jail has two walls, and a process between
        disks = [os.statvfs(f"/proc/{inner}/root/{folder}") for folder in ("tmp", "dev/shm")]
    except (FileNotFoundError, ProcessLookupError, IndexError):
        return 0  # it has just ended
    return sum(disk.f_files - disk.f_ffree for disk in disks)
