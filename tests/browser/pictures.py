"""Makes the README's pictures again: `python -m tests.browser.pictures`, after a change of an explorer or of lesson 02.

forward.png is the first figure of lesson 02 as it is built; explorer.png is lesson 00 in a running JupyterLab.
"""

import base64
import io
import tempfile
from pathlib import Path

import nbformat
from PIL import Image
from playwright.sync_api import sync_playwright

from .conftest import ARGS, ROOT, Server, chromium
from .test_explorers import run_all

FIGURES = ROOT / "notebooks/figures"


def forward():
    nb = nbformat.read(ROOT / "notebooks/02_forward.ipynb", 4)
    outputs = [output for cell in nb.cells if cell.cell_type == "code" for output in cell.outputs]
    first = next(output.data["image/png"] for output in outputs if "image/png" in output.get("data", {}))
    (FIGURES / "forward.png").write_bytes(base64.b64decode(first))


def explorer(server, page):
    page.goto(server.url("lab", "00_start_here"))
    page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=60_000)
    page.wait_for_timeout(2000)
    page.add_style_tag(content=".Toastify { display: none; }")  # "Would you like to get notified ..."
    page.keyboard.press("Control+b")  # the file browser goes
    box = page.locator(".widget-vbox", has=page.locator("img.widget-image")).last
    run_all(page, box)
    handle = box.locator(".noUi-handle").first
    handle.scroll_into_view_if_needed()
    for _ in range(20):
        handle.press("ArrowRight")
    page.wait_for_timeout(1000)
    page.evaluate("""box => box.closest('.jp-Cell').previousElementSibling.scrollIntoView({block: 'start'})""",
                  box.element_handle())
    page.wait_for_timeout(1500)
    picture = Image.open(io.BytesIO(page.screenshot()))
    picture.convert("P", palette=Image.Palette.ADAPTIVE, colors=200).save(FIGURES / "explorer.png", optimize=True)


def main():
    forward()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        server = Server(Path(folder))
        try:
            browser = playwright.chromium.launch(executable_path=chromium(), args=ARGS)
            explorer(server, browser.new_page(viewport={"width": 1100, "height": 800}))
            browser.close()
        finally:
            server.stop()


if __name__ == "__main__":
    main()
