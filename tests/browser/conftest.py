"""A real server on loopback and a real Chromium.

Without a Chromium the tests skip; DDPM_LESSON_REQUIRE_BROWSER=1 forbids that.
"""

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHOTS = ROOT / "tests" / "browser" / "screenshots"  # git-ignored; the artifacts of a run
ARGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--enable-precise-memory-info"]


class Server:
    """A Jupyter server of its own, with copies of the student lessons: JupyterLab saves notebooks by itself."""

    def __init__(self, folder):
        self.folder, self.token = folder, secrets.token_hex(16)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        for lesson in (ROOT / "notebooks" / "student").glob("*.ipynb"):
            shutil.copy(lesson, folder)
        home = {name: str(folder / ".jupyter") for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "HOME")}
        command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1",
                   f"--ServerApp.port={self.port}", "--ServerApp.port_retries=0",
                   f"--IdentityProvider.token={self.token}", f"--ServerApp.root_dir={folder}",
                   "--LabApp.news_url=None", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
                   "--LabApp.extension_manager=readonly"]
        self.log = open(folder / "server.log", "w")
        self.process = subprocess.Popen(command, cwd=folder, env=os.environ | home, stdout=self.log, stderr=self.log,
                                        start_new_session=True)
        for _ in range(600):
            try:
                self.api("status")
                return
            except OSError:
                assert self.process.poll() is None, (folder / "server.log").read_text()
                time.sleep(0.1)
        raise TimeoutError("the Jupyter server does not answer")

    def api(self, path, method="GET"):
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/api/{path}", method=method,
                                         headers={"Authorization": f"token {self.token}"})
        with urllib.request.urlopen(request, timeout=10) as reply:
            return json.loads(reply.read() or "null")

    def url(self, front_end, name):
        page = {"lab": f"lab/workspaces/{secrets.token_hex(4)}/tree", "notebook": "notebooks"}[front_end]
        return f"http://127.0.0.1:{self.port}/{page}/{name}.ipynb?token={self.token}"

    def close_kernels(self):
        for session in self.api("sessions"):
            self.api(f"sessions/{session['id']}", "DELETE")
        assert self.api("kernels") == []

    def stop(self):
        os.killpg(self.process.pid, signal.SIGTERM)
        self.process.wait(20)
        self.log.close()


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("lessons"))
    yield server
    server.stop()
    left = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
    assert str(server.folder) not in left, "a process of the server is left behind"


def chromium():
    """Debian's Chromium, or None for Playwright's own."""
    return os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="session")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=chromium(), args=ARGS)
        except sync_api.Error as error:
            if os.environ.get("DDPM_LESSON_REQUIRE_BROWSER") == "1":
                raise
            pytest.skip(f"no Chromium: install it, or `playwright install chromium` ({str(error)[:80]})")
        yield browser
        browser.close()


@pytest.fixture
def page(browser):
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.problems = []
    page.on("pageerror", lambda error: page.problems.append(str(error)))
    page.on("console", lambda message: page.problems.append(f"{message.text} {message.location.get('url')}")
            if message.type == "error" and "/static/" not in str(message.location) else None)  # not its own fonts
    yield page
    page.close()
