"""The explorers without a browser: every control changes the picture, and the picture is what plots draws afresh.

Tried and seen to fail: a picture that keeps its first frame, a background that is not drawn again when the axes
change, a Reset that forgets a control, a callback that lets its error through, two threads that draw at once.
"""

import base64
import io
import time
from concurrent.futures import ThreadPoolExecutor

import ipywidgets
import numpy as np
import pytest
import torch
from PIL import Image

from ddpm_lesson import explore, linear_schedule, widgets

EXPLORERS = ["schedule", "forward", "posterior", "predictor", "loss", "sampling"]


def build(name, **options):
    return getattr(widgets, f"{name}_explorer")(**options)


def pixels(png):
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def other_value(control):
    """A value of this control other than its present one."""
    if isinstance(control, ipywidgets.SelectionSlider):
        return next(option for option in reversed(control.options) if option != control.value)
    if isinstance(control, ipywidgets.FloatLogSlider):
        return control.value * 10**0.5
    return control.min if control.value != control.min else control.max


@pytest.fixture(scope="module", params=EXPLORERS)
def explorer(request):
    return request.param, build(request.param)


def test_each_control_changes_the_picture_and_reset_brings_it_back(explorer):
    name, explorer = explorer
    start, first = explorer.values, explorer.picture.value
    for key, control in explorer.controls.items():
        if isinstance(control, ipywidgets.Play):  # it moves the slider, in the browser
            continue
        if key in ("beta_1", "beta_T"):  # the cosine schedule has no ends to choose
            explorer.controls["kind"].value = "linear"
        before = explorer.picture.value
        control.value = other_value(control)
        if key == "s":
            explorer.controls["kind"].value = "cosine"
            before = explorer.picture.value
            control.value = control.min + control.step
        assert explorer.picture.value != before, key
        assert "Error" not in explorer.message.value
        explorer.reset.click()
        assert explorer.values == start
        assert (pixels(explorer.picture.value) == pixels(first)).all(), key


def test_the_picture_is_what_a_fresh_figure_shows(explorer):
    """The cached background and the artists updated in place against one draw of everything."""
    name, moved = explorer
    for control in moved.controls.values():
        if not isinstance(control, ipywidgets.Play):
            control.value = other_value(control)
    old = moved._picture
    spec = old.axes[0].get_gridspec()
    fresh = explore.Picture(old.draw, old.figure.get_size_inches(), (spec.nrows, spec.ncols), spec.get_width_ratios())
    assert np.abs(pixels(fresh.png(moved.values)) - pixels(moved.picture.value)).mean() < 0.05
    assert np.abs(pixels(build(name).picture.value) - pixels(moved.picture.value)).mean() > 0.5
    moved.reset.click()


def test_the_picture_equals_the_one_that_matplotlib_draws_without_the_cache(explorer):
    name, explorer = explorer
    control = next(iter(c for c in explorer.controls.values() if not isinstance(c, ipywidgets.Play)))
    control.value = other_value(control)
    cached, picture = pixels(explorer.picture.value), explorer._picture
    for artist in picture.artists.values():
        artist.set_animated(False)
    picture.canvas.draw()
    whole = np.asarray(picture.canvas.buffer_rgba())[..., :3].astype(int)
    for artist in picture.artists.values():
        artist.set_animated(True)
    assert np.abs(cached - whole).mean() < 0.5  # lines over the axes' frame, not under it: nothing else may differ
    explorer.reset.click()


@pytest.mark.parametrize("name", EXPLORERS)
def test_the_picture_does_not_depend_on_the_default_dtype(name):
    """Some lessons set float64. Their explorers must show what the stored picture shows."""
    torch.set_default_dtype(torch.float64)
    try:
        in_float64 = build(name).picture.value
    finally:
        torch.set_default_dtype(torch.float32)
    assert (pixels(in_float64) == pixels(build(name).picture.value)).all()


def test_two_threads_never_draw_at_once(monkeypatch):
    """JupyterLab sends a widget's first message to the kernel's main thread and the next ones to another."""
    explorers, same = (build("posterior"), build("posterior")), build("posterior")
    kind, drawing, overlaps = type(same._picture), [], []
    png = kind.png

    def slow(picture, values):
        overlaps.extend(drawing)
        drawing.append(values)
        time.sleep(0.05)
        drawing.pop()
        return png(picture, values)

    def move(explorer, key):
        for value in (1.0, -1.0, 0.5):
            explorer.controls[key].value = value

    monkeypatch.setattr(kind, "png", slow)
    with ThreadPoolExecutor(4) as pool:
        for moved in [pool.submit(move, explorer, key) for explorer in explorers for key in ("x0", "xt")]:
            moved.result()
    assert not overlaps
    move(same, "x0")
    move(same, "xt")
    for explorer in explorers:
        assert np.array_equal(pixels(explorer.picture.value), pixels(same.picture.value))


def test_t_follows_T():
    explorer = build("schedule")
    explorer.controls["t"].value = 700
    explorer.controls["T"].value = 50
    assert explorer.controls["t"].max == 50 and explorer.controls["t"].value == 50
    assert "T = 50" in explorer.message.value and "Error" not in explorer.message.value


def test_a_missed_prior_is_said_in_a_sentence():
    explorer = build("schedule")
    assert "missed" not in explorer.message.value
    explorer.controls["kind"].value = "linear"
    explorer.controls["T"].value = 50
    assert "The prior is missed" in explorer.message.value and "60.3%" in explorer.message.value


def test_the_readout_is_the_schedules_own():
    explorer = build("schedule")
    explorer.controls["kind"].value = "linear"
    explorer.controls["t"].value = 500
    schedule = linear_schedule(1000)
    assert f"{schedule.alpha_bar[500]:.4f}" in explorer.message.value
    assert f"{schedule.alpha_bar[-1]:.2e}" in explorer.message.value


def test_an_error_is_shown_and_the_next_good_position_is_drawn():
    def draw(axes, artists, n):
        if n == 2:
            raise ValueError("n must not be <2>")
        (line,) = axes[0].plot([0, n]) if artists is None else (artists["line"],)
        line.set_data([0, 1], [0, n])
        return {"line": line}

    control = ipywidgets.IntSlider(value=1, min=1, max=5)
    shown = explore.explore(draw, {"n": control}, size=(2, 2), panels=(1, 1))
    first = shown.picture.value
    control.value = 2
    assert "ValueError" in shown.message.value and "&lt;2&gt;" in shown.message.value
    assert shown.picture.value == first
    control.value = 3
    assert shown.message.value == "" and shown.picture.value != first


def test_without_a_kernel_it_is_a_picture_and_a_sentence():
    explorer = build("posterior")
    assert "run this notebook" in repr(explorer)
    if hasattr(ipywidgets.Widget, "_repr_mimebundle_"):  # ipywidgets 8
        stored = base64.b64decode(explorer._repr_mimebundle_()["image/png"])
        assert (pixels(stored) == pixels(explorer.picture.value)).all()
        assert len(stored) <= 60_000


def test_the_other_backend_prints_pictures():
    explorer = build("posterior", backend="output")
    explorer.controls["t"].value = 3
    (output,) = explorer.picture.outputs
    assert output["output_type"] == "display_data" and "image/png" in output["data"]
    with pytest.raises(ValueError, match="backend must be one of"):
        build("posterior", backend="canvas")
