"""The explorers in a real browser, in their lessons: every control moves the picture, and the picture is right.

The lesson is opened and run. Then the picture in the page is compared, pixel by pixel, with what the same explorer
draws in this process for the values that the page shows.
"""

import base64
import io
import math
import re

import ipywidgets
import numpy as np
import pytest
from PIL import Image

from ddpm_lesson import widgets

from .conftest import SHOTS

pytestmark = pytest.mark.browser
LESSONS = {"schedule": "03_schedule", "forward": "02_forward", "posterior": "05_posterior",
           "predictor": "06_predictors", "loss": "07_losses", "sampling": "08_sampling"}
SAME = 0.02  # of 255: values come from the page as rounded text, and may move a few pixels of a line's edge


class Shown:
    """An explorer in a page, and its double in this process."""

    def __init__(self, page, server, front_end, name):
        self.page, self.name = page, name
        page.goto(server.url(front_end, LESSONS[name]))
        page.wait_for_selector(".jp-Notebook .jp-Cell", timeout=60_000)
        page.wait_for_timeout(1000)
        page.problems.clear()  # what a front end says of itself while it starts
        self.box = page.locator(".widget-vbox", has=page.locator("img.widget-image")).last
        run_all(page, self.box)
        self.image = self.box.locator("img.widget-image")
        self.double = getattr(widgets, f"{name}_explorer")()
        self.box.scroll_into_view_if_needed()
        self.wait_until_right()

    def row(self, control):
        """The part of the page that belongs to a control of the double."""
        return self.box.locator(".widget-inline-hbox, .jupyter-widgets").filter(
            has=self.page.locator(f"label:text-is({control.description!r})")).last

    def pixels(self):
        """The picture in the page."""
        data = self.page.evaluate(
            """async image => { const bytes = await (await fetch(image.src)).blob();
               return new Promise(done => { const reader = new FileReader();
                 reader.onload = () => done(reader.result); reader.readAsDataURL(bytes); }); }""",
            self.image.element_handle())
        return pixels(base64.b64decode(data.split(",")[1]))

    def copy_values(self):
        """Set the double's controls to what the page says."""
        for control in self.double.controls.values():
            if isinstance(control, ipywidgets.Play):
                continue
            text = self.row(control).locator(".widget-readout").text_content()
            if isinstance(control, ipywidgets.SelectionSlider):
                control.value = text
            else:
                value = float(text.replace("−", "-").replace(",", ""))
                if isinstance(control, ipywidgets.FloatLogSlider):
                    value = 10 ** (control.min + round((math.log10(value) - control.min) / control.step) * control.step)
                control.value = type(control.value)(value)

    def wait_until_right(self):
        """The picture becomes, and stays, the one for the values shown."""
        for _ in range(60):
            self.copy_values()
            wanted = pixels(self.double.picture.value)
            shown = self.pixels()
            if difference(shown, wanted) < SAME:
                return
            self.page.wait_for_timeout(100)
        SHOTS.mkdir(exist_ok=True)
        Image.fromarray(shown.astype(np.uint8)).save(SHOTS / "wrong.png")
        (SHOTS / "wanted.png").write_bytes(self.double.picture.value)
        self.page.screenshot(path=SHOTS / "page.png")
        raise AssertionError(f"{self.name}: the picture is not the one for {self.double.values}: it differs by "
                             f"{difference(shown, wanted)} of 255")

    def place(self, control):
        """Where on its track the control's handle is, from 0 to 1."""
        handle = self.row(control).locator(".noUi-handle").bounding_box()
        track = self.row(control).locator(".noUi-target").bounding_box()
        return (handle["x"] + handle["width"] / 2 - track["x"]) / track["width"]

    def click(self, control, where):
        """Click on the control's track, at a place from 0 to 1."""
        self.row(control).scroll_into_view_if_needed()
        self.page.wait_for_timeout(200)
        track = self.row(control).locator(".noUi-target").bounding_box()
        self.page.mouse.click(track["x"] + where * track["width"], track["y"] + track["height"] / 2)

    def wait_for_another(self, before):
        self.page.wait_for_function("([image, src]) => image.src !== src && image.naturalWidth > 0",
                                    arg=[self.image.element_handle(), before], timeout=10_000)

    def changes(self, action, what):
        """The action changes the picture, and the new one is right."""
        before = self.image.get_attribute("src")
        action()
        try:
            self.wait_for_another(before)
        except Exception:
            raise AssertionError(f"{self.name}: {what} does not change the picture") from None
        self.wait_until_right()
        assert "Error" not in self.box.inner_text(), what


def difference(one, other):
    """The mean difference of two pictures' pixels, of 255."""
    return np.abs(one - other).mean() if one.shape == other.shape else math.inf


def pixels(png):
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def run_all(page, until):
    """Run the lesson. A click while the kernel is still connecting is lost without a word: look, and click again."""
    started = page.locator(".jp-InputPrompt").filter(has_text=re.compile(r"\[\*\]"))
    for _ in range(20):
        page.wait_for_timeout(700)
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        try:
            started.first.wait_for(timeout=2000, state="attached")
            break
        except Exception:
            continue
    # A long notebook is drawn in parts: go through it until the explorer is there.
    for _ in range(240):
        if until.count() and until.locator("img.widget-image").count():
            until.locator("img.widget-image").wait_for(timeout=60_000, state="attached")
            break
        page.evaluate("""() => { const panel = document.querySelector('.jp-WindowedPanel-outer');
            const end = panel.scrollHeight - panel.clientHeight;
            panel.scrollTop = panel.scrollTop + 600 > end ? 0 : panel.scrollTop + 600; }""")
        page.wait_for_timeout(250)
    page.wait_for_function("""() => ![...document.querySelectorAll('.jp-InputPrompt')]
        .some(prompt => prompt.textContent.includes('*'))""", timeout=90_000)


def choose(shown, key, option):
    """Move a slider over names to this one, by mouse."""
    control = shown.double.controls[key]
    shown.click(control, control.options.index(option) / (len(control.options) - 1))


@pytest.mark.parametrize("name", LESSONS)
@pytest.mark.parametrize("front_end", ["lab", "notebook"])
def test_each_control_moves_the_picture_and_the_picture_is_right(page, server, front_end, name):
    shown = Shown(page, server, front_end, name)
    start, values = shown.pixels(), shown.double.values
    for key, control in shown.double.controls.items():
        if key in ("beta_1", "s"):  # the cosine schedule has no ends to choose, the others no offset
            choose(shown, "kind", "linear" if key == "beta_1" else "cosine")
        if isinstance(control, ipywidgets.Play):
            buttons = shown.box.locator(".widget-play button")
            before = shown.image.get_attribute("src")
            buttons.first.click()
            shown.wait_for_another(before)
            buttons.first.click()  # the same button pauses
            page.wait_for_timeout(500)
            shown.wait_until_right()
            continue
        where = 0.35 if shown.place(control) > 0.5 else 0.6
        where = 0.95 if key == "versus" else where  # to compare a schedule with itself changes nothing
        shown.changes(lambda c=control, w=where: shown.click(c, w), f"{key} by mouse")
        if front_end == "lab":  # Notebook 7 keeps the arrow keys for itself
            key_name = "ArrowRight" if where == 0.35 else "ArrowLeft"
            shown.changes(lambda c=control, k=key_name: shown.row(c).locator(".noUi-handle").press(k), f"{key} by key")
    SHOTS.mkdir(exist_ok=True)
    page.screenshot(path=SHOTS / f"{front_end}_{name}.png")
    if difference(shown.pixels(), start) < SAME:  # the moves may have cancelled: then there is nothing to reset
        first = next(iter(shown.double.controls.values()))
        shown.changes(lambda: shown.click(first, 0.9), "one more move")
    shown.changes(shown.box.get_by_role("button", name="Reset").click, "reset")
    assert difference(shown.pixels(), start) < SAME
    assert shown.double.values == values
    assert page.problems == []
    page.close()
    server.close_kernels()


def test_a_fast_drag_ends_on_the_right_picture_without_flicker_or_growth(page, server):
    """200 moves in a few seconds: the last position wins, no frame is without a picture, nothing piles up."""
    shown = Shown(page, server, "lab", "forward")
    heap = page.context.new_cdp_session(page)

    def used():
        heap.send("HeapProfiler.collectGarbage")
        return heap.send("Runtime.getHeapUsage")["usedSize"]

    control = shown.double.controls["t"]
    before = used()
    page.evaluate("""image => { window.sources = new Set();
        const look = () => { window.sources.add(image.src); requestAnimationFrame(look); };
        requestAnimationFrame(look); }""", shown.image.element_handle())
    shown.click(control, 0.3)
    shown.wait_until_right()
    track = shown.row(control).locator(".noUi-target").bounding_box()
    y = track["y"] + track["height"] / 2
    page.wait_for_timeout(500)  # the handle glides to where the click was
    page.mouse.move(track["x"] + shown.place(control) * track["width"], y)
    page.mouse.down()
    frames = []  # what the screen shows, frame by frame
    heap.on("Page.screencastFrame", lambda event: (frames.append(event["data"]), heap.send(
        "Page.screencastFrameAck", {"sessionId": event["sessionId"]})))
    heap.send("Page.startScreencast", {"format": "png"})
    for move in range(200):
        page.mouse.move(track["x"] + track["width"] * abs(math.sin(move / 7)), y)
    page.mouse.move(track["x"] + 0.7 * track["width"], y)
    page.mouse.up()
    heap.send("Page.stopScreencast")
    box = {side: round(length) for side, length in shown.image.bounding_box().items()}
    shown.wait_until_right()
    page.wait_for_timeout(1500)
    shown.wait_until_right()  # and it stays
    assert abs(control.value - 70) <= 2
    for frame in frames:  # a picture has dark lines; an empty place has none
        seen = pixels(base64.b64decode(frame))[box["y"] : box["y"] + box["height"], box["x"] : box["x"] + box["width"]]
        assert seen.min() < 100 and seen.std() > 10, "a frame without a picture"
    assert len(frames) > 5 and page.evaluate("window.sources.size") > 5  # the picture followed
    page.evaluate("window.sources.clear()")
    assert used() - before < 5e6
    page.close()
    server.close_kernels()
