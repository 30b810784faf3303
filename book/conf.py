"""Sphinx's settings for the site, and what happens to every page. `python -m book.build` runs it."""

import re
import struct
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from book import mathml  # noqa: E402

project, author = "DDPM Lesson", "The DDPM Lesson developers"
extensions = ["myst_nb"]
exclude_patterns = ["downloads"]
suppress_warnings = ["misc.highlighting_failure"]  # "!pip" and the like in a text's code
nb_execution_mode = "off"
nb_merge_streams = True
nb_render_markdown_format = "myst"
myst_enable_extensions = ["dollarmath", "attrs_block"]
myst_heading_anchors = 3
myst_update_mathjax = False
html_math_renderer = "mathml"

html_theme, html_title = "furo", "DDPM Lesson"
html_static_path, html_css_files, html_js_files = ["_static"], ["book.css"], ["book.js"]
html_copy_source = html_show_sourcelink = html_show_copyright = html_show_sphinx = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#0a5c94", "color-brand-content": "#0a5c94"},
    "dark_css_variables": {"color-brand-primary": "#7cc4f5", "color-brand-content": "#7cc4f5"},
}
LANGUAGES = {"zh": "zh-Hant"}


def finish(app, page, template, context, doctree):
    """Give each picture its size, so that nothing jumps when it arrives; load the explorers' scripts where one is."""
    context["language"] = LANGUAGES.get(page.split("/")[0], "en")
    pictures = {name: Path(app.srcdir, path) for path, name in app.builder.images.items()}

    def sized(match):
        name = re.search(r'_images/([^"]+\.png)"', match[0])
        width, height = struct.unpack(">II", pictures[name[1]].read_bytes()[16:24])
        return match[0].replace("<img", f'<img width="{width}" height="{height}" loading="lazy"', 1)

    # A heading of the side bar says of what level it is.
    tree = context.get("furo_navigation_tree", "")
    context["furo_navigation_tree"] = tree.replace('role="heading"', 'role="heading" aria-level="2"')
    if doctree:
        # A line may not break between a formula and the full stop behind it.
        body = re.sub(r"<math>(?:(?!</math>).)*</math>[.,;:?!)]+", r'<span class="nobr">\g<0></span>', context["body"])
        context["body"] = re.sub(r'<img [^>]*_images/[^"]+\.png"[^>]*>', sized, body)
        if 'class="explorer"' in context["body"]:
            for script in ("explorer-math.js", "explorer-plot.js", "explorers.js"):
                app.add_js_file(script, loading_method="defer")


def setup(app):
    mathml.setup(app)
    app.connect("html-page-context", finish, priority=900)  # after the theme
