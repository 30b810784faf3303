"""Formulas as MathML, made when the site is built: no script, nothing that jumps, and a screen reader can read them."""

import html
import logging
import re
from importlib.metadata import distribution

from docutils import nodes
from fontTools import subset
from math_core import LatexError, LatexToMathML
from sphinx.errors import ExtensionError
from sphinx.util import logging as sphinx_logging
from sphinx.util.osutil import relative_uri

CONVERTER = LatexToMathML(unicode_substitution="never", fancy_error=False)
# STIX Two Math, under the Open Font License. Only the file is used: ziamath itself is not even imported.
FONT = distribution("ziamath").locate_file("ziamath/fonts/STIXTwoMath-Regular.ttf")
BY_THE_BROWSER = {0x221A, *range(0x1D434, 0x1D468), 0x210E, *range(0x1D6E2, 0x1D71C)}  # the root, and slanted letters


def mathml(tex, display=False, where=None):
    """A formula as a <math> element; a formula that cannot be converted is a warning, that is an error of the build."""
    try:
        return CONVERTER.convert_with_local_state(tex, displaystyle=display)
    except LatexError as error:
        sphinx_logging.getLogger(__name__).warning("%s in the formula %s", error, tex, location=where)
        return f"<code>{html.escape(tex)}</code>"


def inline(self, node):
    self.body.append(mathml(node.astext(), where=node))
    raise nodes.SkipNode


def block(self, node):
    """A displayed formula. Its label is NUMBER:CLAIM:LANGUAGE; the number links the claim in the formula sheet.

    Without a claim the number links the formula itself, so that the place can be shared.
    """
    number, claim, _ = (node.get("label") or "::").split(":")
    formula = f'<div class="formula">{mathml(node.astext(), True, node)}</div>'
    if number:
        here = self.builder.get_target_uri(self.builder.current_docname)
        sheet = relative_uri(here, self.builder.get_target_uri("formula_sheet"))
        link = f"{sheet}#{claim}" if claim else f"#{node['ids'][0]}"
        title = f"{claim}, in the formula sheet" if claim else "Link to this formula"
        formula += f'<a class="eqno" href="{link}" title="{title}">({number})</a>'
    self.body.append(self.starttag(node, "div", CLASS="math") + formula + "</div>\n")
    raise nodes.SkipNode


def write_font(app, error):
    """Leave a math font in _static with those characters only that the formulas of the site are made of."""
    if error:
        return
    text = "".join(page.read_text("utf-8") for page in app.outdir.rglob("*.html"))
    used = set(html.unescape(re.sub("<[^>]+>", "", "".join(re.findall(r"<math.*?</math>", text, re.S)))))
    logging.getLogger("fontTools").setLevel(logging.WARNING)
    options = subset.Options(layout_features=["ssty", "dtls", "flac"], hinting=False, flavor="woff")
    font = subset.load_font(str(FONT), options)
    lengthen(font)
    subsetter = subset.Subsetter(options)
    subsetter.populate(unicodes={ord(character) for character in used} | BY_THE_BROWSER)
    subsetter.subset(font)
    have = {chr(code) for code in font.getBestCmap()} | set(" \n\u2061\u200b\ufe00")
    lost = {c for c in used - have if not "\u2e80" <= c <= "\uffef"}  # Chinese words take the reader's own font
    if lost:
        raise ExtensionError(f"the math font has no {sorted(lost)}")
    subset.save_font(font, str(app.outdir / "_static" / "math.woff"), options)


def lengthen(font, times=5):
    """Make the middle pieces of braces longer: Chromium sets some twenty of them, and then a long brace has no ends."""
    made = set()
    for construction in font["MATH"].table.MathVariants.HorizGlyphConstruction:
        pieces = construction.GlyphAssembly.PartRecords if construction.GlyphAssembly else []
        for piece in (piece for piece in pieces if piece.PartFlags & 1):  # those that may be repeated
            longer = (times - 1) * piece.FullAdvance
            if piece.glyph not in made:
                glyph, (advance, bearing) = font["glyf"][piece.glyph], font["hmtx"][piece.glyph]
                glyph.coordinates.scale((times, 1))
                glyph.recalcBounds(font["glyf"])
                font["hmtx"][piece.glyph] = advance + longer, bearing
                made.add(piece.glyph)
            piece.FullAdvance += longer
            piece.StartConnectorLength += longer
            piece.EndConnectorLength += longer


def setup(app):
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    app.connect("build-finished", write_font)
