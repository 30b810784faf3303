"""The notebooks in an environment like Colab's: each alone in an empty folder, the package from the first cell.

It takes minutes and downloads packages: `pytest -m slow tests/test_colab.py`. Not Colab: its Python, its front end and
its GPU are not to be had here. Its packages are (colab.txt), and so is ipywidgets 7 in a browser, in Notebook 6.
"""

import base64
import importlib
import io
import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpecManager
from nbclient import NotebookClient
from PIL import Image

import ddpm_lesson

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
build = importlib.import_module("notebooks.build")

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name == "nt", reason="Colab is Linux")]
TAG = f"v{ddpm_lesson.__version__}"
PATTERNS = "*.ipynb", "student/*.ipynb", "homework/student/*.ipynb"  # other languages have the same code
NOTEBOOKS = [path for pattern in PATTERNS for path in sorted((ROOT / "notebooks").glob(pattern))]
FOREIGN = {"PYTHONPATH", "VIRTUAL_ENV", "MPLBACKEND", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR"}


class Colab:
    """A Python environment with Colab's packages and without this one, and a repository with a tag to install from."""

    def __init__(self, folder):
        self.folder, self.python = folder, str(folder / "venv/bin/python")
        subprocess.check_call([sys.executable, "-m", "venv", folder / "venv"])
        version = torch.__version__.split("+")[0]
        self.run("-m", "pip", "install", "-q", f"torch=={version}", "-r", str(ROOT / "tests/colab.txt"))
        # "https://github.com/owner/name" is this checkout as it lies here, committed and tagged.
        self.repository = folder / "name"
        listed = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        for name in filter(None, subprocess.check_output(listed, text=True).split("\0")):
            if (ROOT / name).is_file():
                (self.repository / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / name, self.repository / name)
        me = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false", "-c", "tag.gpgsign=false"]
        for words in (["init", "-q"], ["add", "-A"], [*me, "commit", "-qm", "all"], [*me, "tag", TAG]):
            subprocess.check_call(["git", "-C", str(self.repository), *words])

    @property
    def env(self):
        redirect = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": f"url.file://{self.repository}.insteadOf",
                    "GIT_CONFIG_VALUE_0": "https://github.com/owner/name"}
        mine = {key: value for key, value in os.environ.items() if key not in FOREIGN}
        home = {"HOME": str(self.folder), "JUPYTER_CONFIG_DIR": str(self.folder / ".jupyter")}
        return mine | redirect | home | {"SMOKE": "1", "OMP_NUM_THREADS": "1"}

    def run(self, *words):
        return subprocess.check_output([self.python, *words], env=self.env if hasattr(self, "repository") else None,
                                       cwd=self.folder, text=True)

    def packages(self):
        return {p["name"]: p["version"] for p in json.loads(self.run("-m", "pip", "list", "--format", "json"))}

    def execute(self, nb, empty):
        """Run a notebook with this environment's kernel in an empty folder; what it printed."""
        spec = {"argv": [self.python, "-m", "ipykernel_launcher", "-f", "{connection_file}"], "display_name": "colab",
                "language": "python"}
        (self.folder / "kernels/colab").mkdir(parents=True, exist_ok=True)
        (self.folder / "kernels/colab/kernel.json").write_text(json.dumps(spec))
        specs = KernelSpecManager(kernel_dirs=[str(self.folder / "kernels")])
        kernel = AsyncKernelManager(kernel_name="colab", kernel_spec_manager=specs)
        assert list(empty.iterdir()) == []
        NotebookClient(nb, km=kernel, timeout=600).execute(cleanup_kc=True, cwd=str(empty), env=self.env)
        return "".join(o.get("text", "") for c in nb.cells if c.cell_type == "code" for o in c.outputs)


@pytest.fixture(scope="module")
def colab(tmp_path_factory):
    return Colab(tmp_path_factory.mktemp("colab"))


@pytest.fixture(scope="module")
def installed(colab, tmp_path_factory):
    """The environment after the first cell of a student copy has run; and its packages before."""
    course = tmp_path_factory.mktemp("course")
    (course / "pyproject.toml").write_text(f'[tool.ddpm-lesson]\nrepository = "owner/name"\nref = "{TAG}"\n')
    source = course / "notebooks/src/02_sum.py"
    source.parent.mkdir(parents=True)
    source.write_text("# %% [markdown]\n# # Title\n\n# %%\nimport ddpm_lesson\n\nprint(ddpm_lesson.__file__)\n")
    nb, _ = build.load(source, course)
    before = colab.packages()
    printed = colab.execute(nb, tmp_path_factory.mktemp("empty"))
    assert str(colab.folder) in printed, "the package must come from this environment"
    return colab, before


def test_the_first_cell_installs_the_tagged_version_and_leaves_everything_else_alone(installed):
    colab, before = installed
    assert "ddpm-lesson" not in before
    assert colab.packages() == before | {"ddpm-lesson": ddpm_lesson.__version__}
    assert before["ipywidgets"] == "7.7.1"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_notebook_runs_alone_in_an_empty_folder(installed, path, tmp_path):
    colab, _ = installed
    nb = nbformat.read(path, 4)
    printed = colab.execute(nb, tmp_path)
    open_exercises = len(re.findall(r"^[\d.]+: not answered yet", printed, re.M))
    tags = [tag for cell in nb.cells if cell.cell_type == "code" for tag in cell.metadata.get("tags", [])]
    asked = sum(tag.startswith("exercise:") for tag in tags)
    assert open_exercises == (asked if path.parent.name == "student" and "homework" not in path.parts else 0)


# ---------------------------------------------------------------- an explorer in Notebook 6, with ipywidgets 7


@pytest.fixture
def notebook_6(installed, tmp_path):
    """The address of lesson 02 in a running Notebook 6."""
    colab, _ = installed
    shutil.copy(ROOT / "notebooks/student/02_forward.ipynb", tmp_path)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex(16)
    command = [colab.python, "-m", "notebook", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}",
               f"--NotebookApp.token={token}", f"--notebook-dir={tmp_path}"]
    with open(tmp_path / "log", "w") as log:
        server = subprocess.Popen(command, cwd=tmp_path, env=colab.env, stdout=log, stderr=log)
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/api/status?token={token}", timeout=5).close()
                break
            except OSError:
                assert server.poll() is None, (tmp_path / "log").read_text()
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/notebooks/02_forward.ipynb?token={token}"
    finally:
        server.terminate()
        server.wait(20)


def pixels(png):
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def test_an_explorer_moves_and_is_right(installed, notebook_6, tmp_path):
    sync_api = pytest.importorskip("playwright.sync_api")
    colab, _ = installed
    chromium = shutil.which("chromium")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1200, "height": 1000})
        page.goto(notebook_6)
        page.wait_for_function("() => window.Jupyter?.notebook?.kernel?.widget_manager && "
                               "Jupyter.notebook.kernel.info_reply.status === 'ok'", timeout=60_000)
        page.wait_for_timeout(3000)  # the manager first asks the kernel for old widgets; what comes then is not drawn
        page.evaluate("() => Jupyter.notebook.execute_all_cells()")
        page.wait_for_function("() => Jupyter.notebook.get_cells().every(cell => cell.input_prompt_number !== '*')",
                               timeout=300_000)
        image = page.locator("img.widget-image")
        image.wait_for(timeout=60_000, state="attached")
        image.scroll_into_view_if_needed()

        def shown():
            data = page.evaluate(
                """async image => { const bytes = await (await fetch(image.src)).blob();
                   return new Promise(done => { const reader = new FileReader();
                     reader.onload = () => done(reader.result); reader.readAsDataURL(bytes); }); }""",
                image.element_handle())
            return pixels(base64.b64decode(data.split(",")[1]))

        def wanted(t):
            code = (f"import sys; from ddpm_lesson import widgets; e = widgets.forward_explorer()\n"
                    f"e.controls['t'].value = {t}; sys.stdout.write(e.picture.value.hex())")
            return pixels(bytes.fromhex(colab.run("-c", code)))

        assert np.array_equal(shown(), wanted(20))
        handle = page.locator(".widget-slider .ui-slider-handle, .widget-slider .noUi-handle").first
        for _ in range(5):
            handle.press("ArrowRight")
        after = wanted(25)
        for _ in range(100):
            if np.array_equal(shown(), after):
                break
            page.wait_for_timeout(100)
        folder = ROOT / "tests/browser/screenshots"
        folder.mkdir(exist_ok=True)
        page.screenshot(path=folder / "colab_like.png")
        assert np.array_equal(shown(), after), "five steps to the right are t = 25"
        browser.close()
