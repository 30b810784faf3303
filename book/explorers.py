"""The explorers that run on the site without a kernel: their controls, as the package's own explorers have them.

What they compute and draw is in _static/explorer-*.js; the tests hold that to the package.
"""

import html
import math
import re
from functools import cache

import ipywidgets

from ddpm_lesson import widgets

LIVE = ("schedule", "forward", "posterior")


@cache
def explorer(name, alt):
    """The HTML of an explorer: native controls with their labels, a canvas, and what it reads out at the start."""
    made = getattr(widgets, f"{name}_explorer")()
    controls = "".join(control(f"{name}-{key}", key, widget) for key, widget in made.controls.items())
    return (f'<form class="explorer" data-explorer="{name}" id="{name}-explorer" autocomplete="off">'
            f'<div class="controls">{controls}<button type="reset">Reset</button></div>'
            f'<canvas role="img" aria-label="{html.escape(alt)}"></canvas>'
            f'<p class="readout" role="status">{lowered(made.message.value)}</p></form>')


def control(ident, key, widget):
    """A control with its label. A slider over powers of ten moves the exponent, a slider over names is a list."""
    label = f'<label for="{ident}">{lowered(widget.description)}</label>'
    if isinstance(widget, ipywidgets.SelectionSlider):
        options = "".join(f"<option{' selected' * (o == widget.value)}>{o}</option>" for o in widget.options)
        return f'<div>{label}<select id="{ident}" name="{key}">{options}</select></div>'
    value, power = widget.value, isinstance(widget, ipywidgets.FloatLogSlider)
    if power:
        value = round(math.log10(value) / widget.step) * widget.step
    return (f'<div>{label}<input type="range" id="{ident}" name="{key}" min="{widget.min}" max="{widget.max}" '
            f'step="{widget.step}" value="{value:.12g}"{" data-power" * power}>'
            f'<output for="{ident}"></output></div>')


def lowered(text):
    """HTML with x_t written as x with a lowered t. explorers.js does the same."""
    return re.sub(r"_(\w+)", r"<sub>\1</sub>", text)
