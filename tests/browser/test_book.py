"""The site in a real browser, opened as files and without a network: accessible, at rest, and its explorers right."""

import json
import subprocess
import sys

import pytest
from test_book_explorers import NUMBERS, RUN, check_data, check_noise, check_tables, check_values, check_words

from ddpm_lesson import widgets

from .conftest import ROOT, SHOTS

pytestmark = pytest.mark.browser
EXPLORERS = {"schedule": "03_schedule", "forward": "02_forward", "posterior": "05_posterior"}
SHIFTS = """() => new Promise(done => { let sum = 0;
    new PerformanceObserver(list => list.getEntries().forEach(entry => sum += entry.value))
        .observe({type: "layout-shift", buffered: true});
    setTimeout(() => done(sum), 300); })"""


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    out = tmp_path_factory.mktemp("site") / "html"
    done = subprocess.run([sys.executable, "-m", "book.build", str(out)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


@pytest.fixture
def open_page(browser, site):
    """Open a page of the site. What goes wrong in it, or is asked of the network, is collected in page.problems."""
    contexts = []

    def opened(name, **options):
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}} | options)
        contexts.append(context)
        context.set_offline(True)
        context.set_default_timeout(120_000)
        page = context.new_page()
        page.problems = []
        page.on("pageerror", lambda error: page.problems.append(str(error)))
        page.on("console", lambda m: page.problems.append(m.text) if m.type in ("error", "warning") else None)
        page.on("request", lambda r: None if r.url.startswith(("file:", "data:")) else page.problems.append(r.url))
        page.on("requestfailed", lambda request: page.problems.append(request.url))
        file, _, query = name.partition("?")
        page.goto(f"{(site / file).as_uri()}?{query}")
        page.wait_for_load_state("load")
        return page

    yield opened
    for context in contexts:
        context.close()


def axe_on(names, open_page, scheme):
    """What axe calls serious or critical, a line for each page and problem."""
    from axe_playwright_python.sync_playwright import Axe

    rules = {"preload": False}  # from file:// axe may not fetch the style sheets a second time
    rules |= {"runOnly": ["color-contrast"]} if scheme == "dark" else {}  # nothing else depends on it
    found = []
    for name in names:
        page = open_page(name, color_scheme=scheme)
        assert page.problems == [], name
        for problem in Axe().run(page, options=rules).response["violations"]:
            if problem["impact"] in ("serious", "critical"):
                places = [node["html"][:120] for node in problem["nodes"][:3]]
                found.append(f"{name}: {problem['id']} x {len(problem['nodes'])}: {places}")
        page.context.close()
    return found


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_on_a_page_of_each_kind(open_page, scheme):
    assert axe_on(["index.html", "explorers.html", "00_start_here.html", "glossary.html"], open_page, scheme) == []


@pytest.mark.slow  # minutes: every formula is looked at
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_on_any_page(open_page, site, scheme):
    names = sorted(path.relative_to(site).as_posix() for path in site.rglob("*.html"))
    assert len(names) > 15 and axe_on(names, open_page, scheme) == []


def test_nothing_moves_while_a_page_arrives_and_is_read_and_it_fits_a_phone(open_page, site):
    moved, wide = {}, {}
    for path in sorted(site.rglob("*.html")):
        page = open_page(path.relative_to(site).as_posix())
        for _ in range(20):
            page.mouse.wheel(0, 1500)
            page.wait_for_timeout(20)
        moved[path.name] = page.evaluate(SHIFTS)
        page.set_viewport_size({"width": 390, "height": 800})
        wide[path.name] = page.evaluate("document.scrollingElement.scrollWidth - innerWidth")
        page.context.close()
    assert {name: shift for name, shift in moved.items() if shift > 0.1} == {}  # Web Vitals call 0.1 good
    assert {name: excess for name, excess in wide.items() if excess > 0} == {}


@pytest.mark.parametrize("check", [check_tables, check_values, check_words, check_noise], ids=lambda c: c.__name__)
def test_the_sites_mathematics_is_the_packages_in_a_browser(check, open_page):
    page = open_page("explorers.html")
    check(lambda calls: json.loads(page.evaluate(f"calls => JSON.stringify(({RUN})(calls), {NUMBERS})", calls)))
    check_data(page.evaluate("({DIGITS: explorerMath.DIGITS, MIXTURE: explorerMath.MIXTURE})"))


def words(html):
    """What HTML says, without its tags and with simple spaces."""
    return " ".join(html.replace("\xa0", " ").split())


class Shown:
    """An explorer in a page, and its double in this process."""

    def __init__(self, page, name):
        self.page, self.form = page, page.locator(f"#{name}-explorer")
        self.double = getattr(widgets, f"{name}_explorer")()
        self.form.scroll_into_view_if_needed()

    def picture(self):
        return self.form.locator("canvas").evaluate("canvas => canvas.toDataURL()")

    def control(self, key):
        return self.form.locator(f"[name={key}]")

    def readout(self):
        """What the page says: in the form of the notebook, x_t for a lowered t."""
        return words(self.form.locator(".readout").evaluate(
            "p => { const copy = p.cloneNode(true); for (const low of copy.querySelectorAll('sub')) low.prepend('_');"
            "for (const line of copy.querySelectorAll('br')) line.replaceWith(' '); return copy.textContent; }"))

    def is_right(self):
        """The readout is what the notebook's explorer says for the values of the page."""
        for key, control in self.double.controls.items():
            value = self.control(key).input_value()
            if self.control(key).get_attribute("data-power") is not None:
                control.value = 10 ** float(value)
            else:
                control.value = type(control.value)(value)
        message = self.double.message.value.replace("&nbsp;", " ").replace("<br>", " ")
        wanted = words(message.replace("<b>", "").replace("</b>", ""))
        assert self.readout() == wanted


@pytest.mark.parametrize("name", EXPLORERS)
def test_each_control_moves_the_picture_by_keyboard_and_the_readout_is_the_notebooks(open_page, name):
    page = open_page(f"{EXPLORERS[name]}.html")
    shown = Shown(page, name)
    shown.is_right()
    start = shown.picture()
    page.screenshot(path=shot(f"book_{name}_before.png"))
    for key, control in shown.double.controls.items():
        if key in ("beta_1", "beta_T", "versus"):  # only some kinds have ends
            shown.control("kind").select_option("linear")
        if key == "s":
            shown.control("kind").select_option("cosine")
        before = shown.picture()
        shown.control(key).focus()
        for _ in range(3):
            page.keyboard.press("ArrowLeft" if key == "T" else "ArrowRight")
        if hasattr(control, "options"):
            shown.control(key).select_option(control.options[1])
        assert shown.picture() != before or key == "way", key
        shown.is_right()
        assert shown.control(key).evaluate("e => getComputedStyle(e).outlineStyle") != "none", f"{key}: focus not seen"
    page.screenshot(path=shot(f"book_{name}_after.png"))
    shown.form.get_by_role("button", name="Reset").press("Enter")
    page.wait_for_timeout(50)
    assert shown.picture() == start
    shown.is_right()
    assert page.problems == []


def shot(name):
    SHOTS.mkdir(exist_ok=True)
    return SHOTS / name


def test_a_schedule_that_does_not_exist_is_said_and_the_last_picture_stays(open_page):
    shown = Shown(open_page("explorers.html"), "schedule")
    before = shown.picture()
    shown.form.evaluate("form => { form.elements.kind.value = 'constant'; form.elements.beta_T.value = -0.05; }")
    shown.control("beta_T").dispatch_event("input")
    assert "No such schedule" in shown.readout() and "equals" in shown.readout()
    assert shown.picture() == before


def test_the_step_follows_the_length_of_the_chain(open_page):
    shown = Shown(open_page("explorers.html"), "schedule")
    shown.control("T").evaluate("slider => { slider.value = 50; }")
    shown.control("T").dispatch_event("input")
    assert shown.control("t").input_value() == shown.control("t").get_attribute("max") == "50"
    shown.is_right()


def test_the_pictures_follow_the_theme(open_page):
    page = open_page("explorers.html")
    shown = Shown(page, "posterior")
    before = shown.picture()
    page.locator(".theme-toggle:visible").first.press("Enter")
    page.wait_for_timeout(100)
    page.locator(".theme-toggle:visible").first.press("Enter")
    page.wait_for_timeout(100)
    assert page.evaluate("document.body.dataset.theme") in ("dark", "light")
    page.emulate_media(color_scheme="dark")
    page.evaluate("document.body.dataset.theme = 'dark'")
    page.wait_for_timeout(100)
    assert shown.picture() != before


def test_the_keyboard_reaches_the_text_first_and_everything_else(open_page):
    page = open_page("02_forward.html")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent").strip() == "Skip to content"
    page.wait_for_function("document.activeElement.getBoundingClientRect().top >= 0")  # it slides into sight
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("!!document.activeElement.closest('article')")
    for _ in range(40):
        page.keyboard.press("Tab")
        assert page.evaluate("""() => { const style = getComputedStyle(document.activeElement);
            return style.outlineStyle !== 'none' && style.outlineWidth !== '0px'; }""")
    summary = page.locator("details > summary").first
    summary.focus()
    page.keyboard.press("Enter")
    assert summary.evaluate("summary => summary.parentElement.open")


def test_on_a_phone_the_keyboard_opens_the_list_of_lessons(open_page):
    page = open_page("02_forward.html", viewport={"width": 390, "height": 800})
    button = page.locator("label.nav-overlay-icon")
    button.focus()
    page.keyboard.press("Enter")
    page.wait_for_function("document.querySelector('.sidebar-drawer').getBoundingClientRect().left >= 0")
    assert page.locator(".sidebar-drawer a", has_text="Formula sheet").first.is_visible()


def test_the_search_works_without_a_server(open_page):
    page = open_page("search.html?q=posterior")
    page.wait_for_selector("#search-results li a")
    titles = page.locator("#search-results li a").all_inner_texts()
    assert any("osterior" in title for title in titles)
    assert page.problems == []
