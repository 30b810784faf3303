"""The book: how long it takes to build, and its explorers to answer, from a key to the painted frame.

    python -m benchmarks.book [--keys 60]

Headless Chromium opens the pages as files. Each explorer's sliders are moved by keys in turn; the clock starts at the
key's event and stops when the page's thread is free again after the next frame. Prints milliseconds.
"""

import argparse
import platform
import shutil
import statistics
import tempfile
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

from book.build import build

CLOCK = """() => {
    window.took = [];
    document.addEventListener('keydown', event => {
        const pressed = performance.now();
        requestAnimationFrame(() => setTimeout(() => window.took.push(performance.now() - pressed)));
    }, {capture: true});
}"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--keys", type=int, default=60, help="for each slider")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        start = time.perf_counter()
        assert build(Path(folder) / "html", work=Path(folder) / "work") == 0
        print(f"{platform.machine()}: the book is built in {time.perf_counter() - start:.0f} s")
        options = {"executable_path": shutil.which("chromium"), "args": ["--no-sandbox"]}
        page = playwright.chromium.launch(**options).new_page(viewport={"width": 1280, "height": 900})
        page.goto(f"file://{folder}/html/explorers.html")
        page.evaluate(CLOCK)
        print("| explorer | ms: median (95th percentile) |\n|---|---|")
        for explorer in page.locator(".explorer").all():
            page.evaluate("() => { window.took = []; }")
            sliders = explorer.locator("input[type=range]:not([disabled])").all()
            for slider in sliders:
                for key in range(args.keys):
                    slider.press("ArrowLeft" if key % 20 < 10 else "ArrowRight")
            page.wait_for_timeout(200)
            took = page.evaluate("window.took")
            assert len(took) == args.keys * len(sliders)
            print(f"| {explorer.get_attribute('data-explorer')} | {statistics.median(took):.1f} "
                  f"({statistics.quantiles(took, n=20)[-1]:.1f}) |")


if __name__ == "__main__":
    main()
