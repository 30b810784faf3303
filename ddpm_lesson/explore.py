"""One function builds every explorer: controls above a picture that follows them.

The picture is drawn off screen. What stays is drawn once and kept, what moves is drawn over it, and one Image shows
the result: nothing flickers, and no second picture appears. Only ipywidgets' own controls are used, so it works
wherever they do.
"""

import base64
import contextlib
import html
import io
import threading

import ipywidgets as W
import matplotlib.style
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image


def explore(draw, controls, *, size, panels, ratios=None, notes=None, backend="image"):
    """An Explorer: the controls, the picture that `draw` makes of their values, and the notes below it.

    draw(axes=, artists=, **values) -> artists, as in plots; notes(**values) -> text (HTML).
    controls: a dict from name to widget, such as a slider; size: width and height in inches; panels: rows and columns.
    backend="output" prints each picture anew, for a front end that does not show an Image.
    """
    if backend not in ("image", "output"):
        raise ValueError(f"backend must be one of 'image', 'output', not {backend!r}")
    return Explorer(Picture(draw, size, panels, ratios), controls, notes, backend)


class Picture:
    """A figure off screen. `png(values)` draws it for these values."""

    def __init__(self, draw, size, panels, ratios=None):
        with matplotlib.style.context("ddpm_lesson.lesson"):
            self.figure = Figure(figsize=size)
            self.canvas = FigureCanvasAgg(self.figure)
            self.axes = self.figure.subplots(*panels, squeeze=False, width_ratios=ratios).ravel()
        self.draw, self.artists, self.limits = draw, None, None

    def png(self, values):
        """The picture as PNG bytes."""
        with matplotlib.style.context("ddpm_lesson.lesson"):
            self.artists = self.draw(axes=self.axes, artists=self.artists, **values)
        moving = self.artists.values()
        limits = [(ax.get_xlim(), ax.get_ylim()) for ax in self.axes]
        if limits != self.limits:  # the axes themselves have changed: what stays is drawn again
            for artist in moving:
                artist.set_animated(True)
            self.canvas.draw()
            self.still, self.limits = self.canvas.copy_from_bbox(self.figure.bbox), limits
        self.canvas.restore_region(self.still)
        for artist in moving:
            artist.axes.draw_artist(artist)
        return self.encoded(compress_level=1)  # fast, not small

    def encoded(self, **options):
        """The last picture as PNG bytes."""
        picture = io.BytesIO()
        Image.fromarray(np.asarray(self.canvas.buffer_rgba())[..., :3]).save(picture, "png", **options)
        return picture.getvalue()


class Explorer(W.VBox):
    """Controls, a picture and notes. `controls`: the widgets by name; `picture`: the Image; `message`: the notes."""

    _drawing = threading.RLock()  # JupyterLab calls back from two threads of a kernel, and matplotlib allows only one

    def __init__(self, picture, controls, notes, backend):
        self.controls, self._picture, self._notes, self._paused = controls, picture, notes, False
        self._start = {name: control.value for name, control in controls.items()}
        self.message, self.reset = W.HTML(), W.Button(description="Reset", tooltip="Back to the first position")
        self.reset.on_click(self._back)
        width = f"{picture.figure.bbox.width:.0f}px"
        if backend == "image":
            self.picture = W.Image(format="png", layout=W.Layout(width=width, max_width="100%", object_fit="contain"))
        else:
            self.picture = W.Output(layout=W.Layout(min_height=f"{picture.figure.bbox.height + 20:.0f}px"))
        for control in controls.values():
            control.observe(self._redraw, "value")
        row = W.Box([*controls.values(), self.reset], layout=W.Layout(flex_flow="row wrap", max_width=width))
        super().__init__([row, self.picture, self.message])
        self._redraw()

    def __repr__(self):
        return "An explorer: run this notebook to move its sliders."

    def _repr_mimebundle_(self, **options):
        """With ipywidgets 8: the picture goes along, for a reader who has no kernel (GitHub, a PDF, a web page)."""
        bundle = super()._repr_mimebundle_(**options)
        return bundle | {"image/png": base64.b64encode(self._picture.encoded(optimize=True)).decode()}

    @property
    def values(self):
        """The controls' values by name."""
        return {name: control.value for name, control in self.controls.items()}

    def _redraw(self, _=None):
        if self._paused:
            return
        with self._drawing:
            try:
                png = self._picture.png(self.values)
                text = self._notes(**self.values) if self._notes else ""
            except Exception as error:  # shown, because a widget's callback has no other place to say it
                text = f"<b>{type(error).__name__}:</b> {html.escape(str(error))} (the picture shows the last position)"
            else:
                self._show(png)
            self.message.value = text

    def _show(self, png):
        if isinstance(self.picture, W.Image):
            self.picture.value = png
        else:
            data = {"image/png": base64.b64encode(png).decode(), "text/plain": "a picture"}
            self.picture.outputs = ({"output_type": "display_data", "data": data, "metadata": {}},)

    def _back(self, _=None):
        self._paused = True  # one picture at the end, not one for each control
        try:
            with contextlib.ExitStack() as stack:
                for control in self.controls.values():  # one message each: a range sent before its value may move it
                    stack.enter_context(control.hold_sync())
                for name, control in self.controls.items():
                    control.value = self._start[name]
        finally:
            self._paused = False
        self._redraw()
