"""Latency of an explorer in a real browser, against plain `interact` that draws the same figure, in one run.

    python -m benchmarks.widgets [--keys 40]

Needs the test extra and a Chromium. For each figure: press an arrow key on the slider, wait for the new picture;
ours and theirs in turn. Prints a table of medians and 95th percentiles, in milliseconds, with the hardware.
"""

import argparse
import os
import platform
import re
import statistics
import tempfile
from pathlib import Path

import nbformat
from playwright.sync_api import sync_playwright

from tests.browser.conftest import ARGS, Server, chromium
from tests.browser.test_explorers import run_all

SET_UP = """\
import ipywidgets, matplotlib.pyplot as plt, torch
from ddpm_lesson import Schedule, cosine_schedule, linear_schedule, plots, widgets
from ddpm_lesson.data import digits
plt.style.use("ddpm_lesson.lesson")
toy, cosine = Schedule([0.05 * s for s in range(1, 11)]), cosine_schedule(1000)
hundred = linear_schedule(100, rescale=True)
image, noise, uniforms = digits()[0][1:2], torch.randn(1, 1, 8, 8), torch.rand(40)"""
FIGURES = {  # name: our explorer, and the same figure for interact
    "schedule": ("""\
def schedule(t):
    fig, axes = plt.subplots(2, 3, figsize=(9, 4.6))
    plots.draw_schedule((cosine, cosine), t, axes.ravel(), image, noise, widgets.MIXTURE)
    plt.show()
ipywidgets.interact(schedule, t=ipywidgets.IntSlider(value=300, min=1, max=1000))"""),
    "predictor": ("""\
def predictor(t):
    fig, axes = plt.subplots(1, 3, figsize=(9, 3.2))
    plots.draw_predictor_at(t, -0.4, axes, widgets.MIXTURE, hundred, uniforms)
    plt.show()
ipywidgets.interact(predictor, t=ipywidgets.IntSlider(value=30, min=1, max=100))"""),
    "posterior": ("""\
def posterior(t):
    fig, axes = plt.subplots(1, 3, figsize=(9, 3.2), width_ratios=(2, 1, 1))
    plots.draw_posterior_at(t, 0.7, 1.2, axes, toy)
    plt.show()
ipywidgets.interact(posterior, t=ipywidgets.IntSlider(value=5, min=1, max=10))"""),
}
WATCH = """box => { window.pressed = window.shown = null;
    const seen = () => [...box.querySelectorAll('img')].map(image => image.src).join();
    const before = seen();
    document.addEventListener('keydown', () => { window.pressed = performance.now(); }, {capture: true, once: true});
    const look = () => { const images = [...box.querySelectorAll('img')];
        if (window.pressed && images.length && images.every(i => i.naturalWidth) && seen() !== before)
            window.shown = performance.now();
        else requestAnimationFrame(look); };
    requestAnimationFrame(look); }"""


def notebook():
    cells = [SET_UP]
    for name, theirs in FIGURES.items():
        cells += [f"widgets.{name}_explorer()", theirs + ";"]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}}
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells], metadata=kernel)


def latency(page, box, keys):
    """Milliseconds from key press to new picture, for `keys` presses on the slider of t."""
    t = page.locator("label").filter(has_text=re.compile("^t(, step)?$"))
    slider = box.locator(".widget-hslider", has=t).locator(".noUi-handle")
    times = []
    for press in range(keys):
        page.wait_for_timeout(400)  # all quiet before the next
        page.evaluate(WATCH, box.element_handle())
        slider.press("ArrowRight" if press % 2 else "ArrowLeft")
        page.wait_for_function("window.shown !== null", timeout=20_000)
        times.append(page.evaluate("window.shown - window.pressed"))
    return times


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--keys", type=int, default=40, help="presses per explorer")
    keys = parser.parse_args().keys
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        nbformat.write(notebook(), Path(folder) / "bench.ipynb")
        server = Server(Path(folder))
        try:
            browser = playwright.chromium.launch(executable_path=chromium(), args=ARGS)
            page = browser.new_page(viewport={"width": 1280, "height": 6000})  # all in sight: nothing scrolls
            page.goto(server.url("lab", "bench"))
            page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=60_000)
            boxes = page.locator(".jp-Cell-outputArea", has=page.locator(".noUi-handle"))
            run_all(page, page.locator(".widget-vbox", has=page.locator("img.widget-image")).last)
            print(f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}, {keys} keys each")
            print(f"{'figure':10s} {'ours, ms':>18s} {'interact, ms':>18s} {'ratio of medians':>18s}")
            for k, name in enumerate(FIGURES):
                ours, theirs = latency(page, boxes.nth(2 * k), keys), latency(page, boxes.nth(2 * k + 1), keys)
                texts = [f"{statistics.median(t):.0f} ({sorted(t)[int(0.95 * keys) - 1]:.0f})" for t in (ours, theirs)]
                ratio = statistics.median(theirs) / statistics.median(ours)
                print(f"{name:10s} {texts[0]:>18s} {texts[1]:>18s} {ratio:18.1f}")
            print("median (95th percentile), from key press to new picture")
            server.close_kernels()
            browser.close()
        finally:
            server.stop()


if __name__ == "__main__":
    main()
