"""DDPM Lesson: the one command to start with.

    python3 start.py         open JupyterLab on lesson 00, on your own copies of the lessons (folder work/)
    python3 start.py test    run every test and every lesson, and compare what the lessons print
    python3 start.py pages   run every lesson without a browser and leave web pages in pages/

On Windows type `py start.py` in place of `python3 start.py`.

The first run makes a Python environment in .venv and downloads the packages, which takes a few minutes.
Later runs reuse it and need no network. What you write in work/ is never overwritten.

Words after `lab` go to JupyterLab (`lab --no-browser`); words after `test` go to pytest, which then runs
just what you ask for (`test -k posterior`). DDPM_LESSON_VENV names another folder for the environment.
"""
# Old Pythons must be able to read this file to say that they are too old: no f-strings, no pathlib.
import glob
import hashlib
import json
import os
import shutil
import subprocess
import sys

ROOT = os.path.dirname(os.path.realpath(__file__))
WINDOWS = os.name == "nt"
OLDEST, NEWEST = (3, 10), (3, 13)
FIRST_LESSON = "00_start_here.ipynb"
PIP_FAILED = """
pip could not install the packages. Its own message is just above. The usual reasons:
  - no network: the first set-up downloads PyTorch and JupyterLab. Behind a proxy, set HTTPS_PROXY.
  - a full disk ({free:.1f} GB are free here).
  - no PyTorch for this machine: it needs a 64-bit Python, and has no recent build for Macs with an Intel chip.
Then run the same command again. More help: notebooks/running.md, "If it does not start"."""
VENV_FAILED = """
Python could not make an environment in {venv}. Its own message is just above.
If it says that permission is denied, move this folder to one of your own, or name another in DDPM_LESSON_VENV."""


def check_python(version=sys.version_info):
    if OLDEST <= tuple(version[:2]) <= NEWEST:
        return
    names = ["python3.%d" % minor for minor in range(NEWEST[1], OLDEST[1] - 1, -1)]
    folders = os.environ.get("PATH", "").split(os.pathsep)
    there = [name for name in names if any(os.path.exists(os.path.join(folder, name)) for folder in folders)]
    sys.exit("DDPM Lesson needs Python 3.10 to 3.13; this is Python {}.{}.\n{}".format(
        version[0], version[1],
        "You have a fitting one. Type: {} start.py".format(there[0]) if there else
        "Get 3.13 from python.org or your package manager, then type: "
        + ("py -3.13 start.py" if WINDOWS else "python3.13 start.py")))


def check_folder():
    needed = ["pyproject.toml", "constraints.txt", "ddpm_lesson", os.path.join("notebooks", "student", FIRST_LESSON)]
    missing = [name for name in needed if not os.path.exists(name)]
    if missing:
        sys.exit("{} is missing in {}.\nstart.py needs the whole project beside it: clone it, or unpack its ZIP file, "
                 "again.".format(missing[0], ROOT))


def check_can_install(venv):
    home = os.path.dirname(venv)
    if not os.access(home, os.W_OK):
        sys.exit("{} does not exist, or you have no permission to write in it.\nMove this project to a folder of your "
                 "own, or name one in DDPM_LESSON_VENV.".format(home))
    free = free_gb(home)
    if os.path.isdir(venv) and os.listdir(venv) and not os.path.exists(os.path.join(venv, "pyvenv.cfg")):
        sys.exit("{} holds something else than a Python environment.\nMove it away, or name another folder in "
                 "DDPM_LESSON_VENV.".format(venv))
    if free < 3:
        sys.exit("Only {:.1f} GB are free in {}; the packages need 3 GB.\nMake room, or name a folder on another disk "
                 "in DDPM_LESSON_VENV.".format(free, home))
    if free < 8 and sys.platform.startswith("linux"):
        print("Note: {:.1f} GB are free. PyTorch for Linux brings CUDA along and can need 8 GB; notebooks/running.md, "
              "\"If it does not start\", tells how to get the small CPU build.".format(free))
    try:
        import ensurepip  # noqa: F401
        import venv as venv_module  # noqa: F401
    except ImportError:
        sys.exit("This Python has no venv module, which makes environments.\nOn Debian and Ubuntu type: "
                 "sudo apt install python3-venv\nElsewhere: install Python from python.org. "
                 "Then run the same command again.")


def free_gb(folder):
    return shutil.disk_usage(folder).free / 1e9


def python_in(venv):
    return os.path.join(venv, "Scripts", "python.exe") if WINDOWS else os.path.join(venv, "bin", "python")


def version_of(python):
    """Return "3.11", or None where this interpreter does not run."""
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    try:
        return subprocess.check_output([python, "-I", "-c", code], stderr=subprocess.DEVNULL).decode().strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def wanted(extra):
    """Return what the stamp in the environment must say for the environment to be used as it is."""
    digest = hashlib.sha256()
    for name in ("pyproject.toml", "constraints.txt"):
        with open(name, "rb") as file:
            digest.update(file.read())
    return {"extra": extra, "files": digest.hexdigest(), "folder": ROOT}


def read_stamp(stamp):
    try:
        with open(stamp) as file:
            return json.load(file)
    except (OSError, ValueError):
        return {}


def set_up(extra):
    """Return the Python of an environment with the packages of this extra; install them unless the stamp says so."""
    venv = os.path.abspath(os.environ.get("DDPM_LESSON_VENV") or ".venv")
    stamp, python = os.path.join(venv, "ddpm-lesson.json"), python_in(venv)
    have, version = read_stamp(stamp), version_of(python)
    want = wanted("test" if have.get("extra") == "test" else extra)  # the test extra holds the lab extra
    fits = version == "%d.%d" % sys.version_info[:2] and have.get("folder", ROOT) == ROOT
    if fits and have == want:
        return python

    check_can_install(venv)
    if os.path.exists(stamp):
        os.remove(stamp)  # an interrupted set-up must not look like a finished one
    if not fits:
        if os.path.isdir(venv):
            print("The environment in {} is broken, moved or of another Python: making it afresh.".format(venv))
        make = [sys.executable, "-m", "venv", "--clear", "--without-pip", venv]
        step(make, VENV_FAILED.format(venv=venv))
    print("Installing the packages into {}. This takes a few minutes, once.".format(venv))
    step([python, "-m", "ensurepip", "--default-pip"], VENV_FAILED.format(venv=venv))
    package = ".[{}]".format(want["extra"])
    step([python, "-m", "pip", "install", "--editable", package, "--constraint", "constraints.txt"],
         PIP_FAILED.format(free=free_gb(venv)))
    with open(stamp, "w") as file:
        json.dump(want, file)
    return python


def step(command, advice):
    """Run a command of the set-up: one moving line on a terminal, and its last lines where it fails."""
    sys.stdout.flush()
    lines = []
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True,
                               errors="replace")
    for line in running.stdout:
        lines.append(line)
        if sys.stdout.isatty():
            sys.stdout.write("\r  {:76.76}".format(line.strip()))
            sys.stdout.flush()
    if sys.stdout.isatty():
        sys.stdout.write("\r" + 78 * " " + "\r")
    if running.wait():
        sys.exit("".join(lines[-20:]) + advice)


def become(command):
    sys.stdout.flush()
    if WINDOWS:  # there, exec returns to the prompt while the program still runs
        sys.exit(subprocess.call(command))
    os.execv(command[0], command)


def copy_lessons():
    """Copy the student lessons into work/; a file that is there is the student's, and stays."""
    student = os.path.join("notebooks", "student")
    in_languages = glob.glob(os.path.join(student, "[a-z][a-z]", "*.ipynb"))  # zh/: a lesson links its translation
    for lesson in glob.glob(os.path.join(student, "*.ipynb")) + in_languages:
        mine = os.path.join("work", os.path.relpath(lesson, student))
        os.makedirs(os.path.dirname(mine), exist_ok=True)
        if not os.path.exists(mine):
            shutil.copyfile(lesson, mine + ".part")  # so that an interrupted copy is not taken for an answer
            os.rename(mine + ".part", mine)


def lab(args):
    python = set_up("lab")
    copy_lessons()
    as_root = ["--allow-root"] if not WINDOWS and os.geteuid() == 0 else []  # in most containers one is root
    become([python, "-m", "jupyterlab", "--LabApp.default_url=/lab/tree/work/" + FIRST_LESSON] + as_root + args)


def test(args):
    python = set_up("test")
    os.environ["OMP_NUM_THREADS"] = "1"  # the lessons were built so; and the tests share the cores among them
    os.environ.setdefault("SMOKE", "1")  # short training; `SMOKE= python3 start.py test` trains in full
    # Last digits may differ between platforms: elsewhere the lessons must run, here they must print the same.
    compare = "--nbval" if sys.platform.startswith("linux") else "--nbval-lax"
    everything = ["-p", "tests.summary", "-n", "auto", "--maxprocesses", "4", "--dist", "loadfile",
                  compare, "--nbval-current-env", "--nbval-cell-timeout", "600",
                  "tests"] + sorted(glob.glob(os.path.join("notebooks", "*.ipynb")))
    become([python, "-m", "pytest"] + (args or everything))


def pages(args):
    if args:
        sys.exit("`start.py pages` takes no further words, and got: " + " ".join(args))
    python = set_up("lab")
    shutil.rmtree("pages", ignore_errors=True)
    os.makedirs("pages")
    done, failed = [], []
    for lesson in sorted(glob.glob(os.path.join("notebooks", "*.ipynb"))):
        name = os.path.splitext(os.path.basename(lesson))[0]
        print("Running " + name)
        sys.stdout.flush()
        code = subprocess.call([python, "-m", "nbconvert", "--execute", "--to", "html", "--log-level", "ERROR",
                                "--template", "classic",  # the default one drops the pictures' alt text
                                "--ExecutePreprocessor.store_widget_state=False",  # a page shows an explorer's picture
                                "--KernelManager.transport_encryption=auto",  # without, every kernel warns of it
                                "--output-dir", "pages", lesson])
        (failed if code else done).append(name)
    with open(os.path.join("pages", "index.html"), "w") as file:
        file.write("<!DOCTYPE html><title>DDPM Lesson</title><h1>DDPM Lesson</h1><ul>\n")
        file.writelines('<li><a href="{0}.html">{0}</a></li>\n'.format(name) for name in done)
        file.writelines("<li>{} stopped with an error</li>\n".format(name) for name in failed)
        file.write("</ul>\n")
    print("{} lessons ran. Open {} in a browser.".format(len(done), os.path.join("pages", "index.html")))
    if failed:
        sys.exit("Stopped with an error, shown above: " + ", ".join(failed))


def main(words):
    check_python()
    commands = {"lab": lab, "test": test, "pages": pages}
    command, args = (words or ["lab"])[0], words[1:]
    if command in ("-h", "--help", "help"):
        print(__doc__)
    elif command not in commands:
        sys.exit("start.py knows lab, test and pages, not {!r}.\n{}".format(command, __doc__))
    else:
        os.chdir(ROOT)
        check_folder()
        commands[command](args)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit("\nStopped. Run the same command again to go on.")
