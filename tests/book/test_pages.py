"""Open every page of the built book in a browser, with every other host refused, as a reader without a network would."""

import re
from functools import partial
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

import pytest
from playwright.sync_api import Browser, Page

from pages import page_names

PAGES = [f"{name}.html" for name in page_names()] + ["genindex.html", "search.html"]
RAW_MYST = re.compile(r"```|:::|\{(?:quiz|eq|doc|ref|numref|cite\S*|prf:\S+|exercise|solution)\}")
RAW_TEX = re.compile(r"\$\$|\\\(|\\\[|\\begin\{|\\frac|\\mathcal|\\bar")

# What is wider than its box and neither fades at its side nor is let be: marks for screen readers, parts of a formula.
SILENTLY_CUT = """() => [...document.querySelectorAll('article *')].filter(box => {
    if (box.scrollWidth <= box.clientWidth + 2 || box.clientWidth < 30) return false;
    if (box.closest('mjx-assistive-mml, .visually-hidden, .sd-d-none')) return false;
    if (box.matches('.player .screen')) return false;  // a window on a sheet of frames; SQUEEZED looks at the frames
    if (getComputedStyle(box).overflowX === 'visible' || box.matches('mjx-container, mjx-container *')) return false;
    return !box.matches('.goes-on-right, .goes-on-left');
}).map(box => box.outerHTML.slice(0, 100))"""

# Formulas that fade at their side although they fit; a formula is looked at when it comes into the window.
FADED = """async () => {
    for (let y = 0; y < document.documentElement.scrollHeight; y += innerHeight / 2) {
        scrollTo(0, y);
        await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
    }
    return [...document.querySelectorAll('mjx-container.goes-on-right, .math-scroll.goes-on-right')].filter(box =>
        box.querySelector('mjx-math').getBoundingClientRect().width <= box.clientWidth + 1).map(box => box.textContent);
}"""

# Pictures that lie on a card of another colour, or are one: most of such a picture is light paper, and no filter turns it about.
CARDS = """async () => {
    const paper = async image => {
        image.loading = 'eager';
        await image.decode();
        const canvas = Object.assign(document.createElement('canvas'), {width: 64, height: 64});
        const context = canvas.getContext('2d');
        context.drawImage(image, 0, 0, 64, 64);
        const pixels = context.getImageData(0, 0, 64, 64).data;
        let light = 0;
        for (let at = 0; at < pixels.length; at += 4)
            light += Math.min(pixels[at], pixels[at + 1], pixels[at + 2]) > 140 && pixels[at + 3] > 140;
        return light / 64 / 64;
    };
    const found = [], dark = document.documentElement.dataset.theme === 'dark';
    for (const image of [...document.querySelectorAll('article img')].filter(e => e.offsetWidth)) {
        const card = getComputedStyle(image).backgroundColor !== 'rgba(0, 0, 0, 0)';
        const turned = getComputedStyle(image.closest('.screen') || image).filter.includes('invert');
        if (card || dark && !turned && await paper(image) > 0.5) found.push(image.alt.slice(0, 100));
    }
    return found;
}"""

HIDDEN = """() => [...document.querySelectorAll(
    'article *:not(script, style, template, noscript, .headerlink, .citation .label)')].filter(e =>
    e.textContent.trim() && getComputedStyle(e).display === 'none' && !e.closest('details:not([open])') &&
    e.parentElement.checkVisibility()).map(e => e.textContent.trim().slice(0, 80))"""

# Players whose sheet of frames is not as many windows wide as it has columns.
SQUEEZED = """() => [...document.querySelectorAll('.player')].filter(player => {
    const [sheet, screen] = [player.querySelector('.screen img'), player.querySelector('.screen')];
    return Math.abs(sheet.getBoundingClientRect().width / screen.getBoundingClientRect().width - player.dataset.columns) > 0.02;
}).map(player => player.querySelector('img').alt)"""


class Visit:
    """A page opened at some width and colour scheme, with what went wrong on the way."""

    def __init__(self, browser: Browser, site: str, name: str, width: int = 1280, dark: bool = False) -> None:
        self.foreign: list[str] = []
        self.errors: list[str] = []
        context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light"
        )
        self.page: Page = context.new_page()
        self.page.route("**/*", partial(self._admit, site))
        self.page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("response", lambda r: self.errors.append(f"{r.status} {r.url}") if r.status >= 400 else None)
        self.page.goto(site + name)
        # MathJax typesets after the page has loaded; its promise says when it is done.
        self.page.evaluate("async () => { if (window.MathJax && MathJax.startup) await MathJax.startup.promise; }")

    def _admit(self, site: str, route) -> None:
        if route.request.url.startswith((site, "data:", "blob:")):
            route.continue_()
        else:
            self.foreign.append(route.request.url)
            route.abort()

    def typeset_all(self) -> None:
        """Typeset the formulas that are far from the window, too, as the browser has it done before it prints."""
        self.page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
        self.page.wait_for_function("!document.querySelector('mjx-lazy')", timeout=120_000)
        self.page.evaluate("window.dispatchEvent(new Event('afterprint'))")

    def close(self) -> None:
        """Free the page."""
        self.page.context.close()


@pytest.mark.parametrize("name", PAGES)
def test_page_stands_alone_and_shows_its_formulas(browser: Browser, site: str, name: str) -> None:
    visit = Visit(browser, site, name)
    visit.typeset_all()
    text = visit.page.evaluate(
        "() => { const main = document.querySelector('article, main').cloneNode(true);"
        "main.querySelectorAll('pre, code, mjx-container, script').forEach(e => e.remove()); return main.textContent; }"
    )
    formulas = visit.page.evaluate("() => document.querySelectorAll('.math').length")
    typeset = visit.page.evaluate("() => document.querySelectorAll('.math mjx-container').length")
    broken = visit.page.evaluate(
        "() => [...document.querySelectorAll('mjx-merror, [data-mjx-error]')].map(e => e.outerHTML)"
    )
    pictures = visit.page.evaluate(
        "async () => { const all = [...document.querySelectorAll('article img')]; for (const i of all) i.loading = 'eager';"
        "await Promise.allSettled(all.map(i => i.decode())); return all.filter(i => !i.naturalWidth).map(i => i.src.slice(0, 80)); }"
    )
    stops = visit.page.evaluate(
        "() => document.querySelectorAll('mjx-container[tabindex], mjx-container [tabindex]').length"
    )
    wide = visit.page.evaluate(
        "() => [...document.querySelectorAll('.math-scroll, .scrolls, .table-container, .pst-scrollable-table-container')]"
        ".filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.parentElement.id || e.textContent.trim().slice(0, 80))"
    )
    visit.close()
    assert visit.foreign == [], "the page asks another host"
    assert visit.errors == []
    assert (typeset, broken) == (formulas, [])
    assert RAW_TEX.findall(text) == [], "a formula is shown as raw TeX"
    assert RAW_MYST.findall(text) == [], "a directive or role is shown as text"
    assert pictures == [], "a picture does not load"
    assert stops == 0, "the Tab key stops at formulas"
    assert wide == [], (
        "an equation or a table is wider than its column: break the one, and give the other fewer or shorter columns"
    )


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_page_fits_a_phone(browser: Browser, site: str, name: str, dark: bool) -> None:
    visit = Visit(browser, site, name, width=390, dark=dark)
    visit.typeset_all()
    visit.page.wait_for_timeout(300)  # for the observers of sizes
    silent = visit.page.evaluate(SILENTLY_CUT)
    wide = visit.page.evaluate("() => document.documentElement.scrollWidth")
    theme = visit.page.evaluate("() => document.documentElement.dataset.theme")
    faded, cards, hidden = visit.page.evaluate(FADED), visit.page.evaluate(CARDS), visit.page.evaluate(HIDDEN)
    squeezed = visit.page.evaluate(SQUEEZED)
    visit.close()
    assert wide <= 390, "the page moves sideways on a phone"
    assert silent == [], "something goes on beyond its box, and nothing says so"
    assert theme == ("dark" if dark else "light")
    assert faded == [], "a formula fades although all of it is there"
    assert cards == [], "a picture lies on a card of another colour"
    assert hidden == [], "text of the page, such as a caption, is never seen"
    assert squeezed == [], "the frames of a player are not as wide as its window"
    assert visit.errors == []


def test_a_page_is_printed_on_white_with_its_title_and_without_what_only_a_screen_can_use(
    browser: Browser, site: str
) -> None:
    visit = Visit(browser, site, "chapters/07_evaluation/index.html", width=720, dark=True)
    visit.page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    visit.page.emulate_media(media="print")
    assert visit.page.evaluate("document.documentElement.dataset.theme") == "light"
    assert visit.page.locator("article h1").first.is_visible()
    for name in (".launch", "details.hide", ".bd-header-article", "#jb-print-docs-body", ".page-part"):
        assert not visit.page.locator(name).first.is_visible(), name
    cut = "() => [...document.querySelectorAll('article pre')].filter(e => e.checkVisibility() && e.scrollWidth > e.clientWidth + 1).length"
    assert visit.page.evaluate(cut) == 0, "code is cut at the side of the paper"
    visit.page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert visit.page.evaluate("document.documentElement.dataset.theme") == "dark"
    visit.close()


def links_of(file: Path) -> set[str]:
    """The targets of all links and pictures in an HTML file."""
    return set(re.findall(r'<(?:a|img|script|link)\b[^>]*?\s(?:href|src)="([^"]+)"', file.read_text()))


def anchors_of(file: Path) -> set[str]:
    """The ids in an HTML file."""
    return set(re.findall(r'\sid="([^"]+)"', file.read_text())) | set(
        re.findall(r'<a[^>]*\sname="([^"]+)"', file.read_text())
    )


@pytest.mark.parametrize("name", PAGES)
def test_internal_links_lead_somewhere(html: Path, name: str) -> None:
    lost = []
    for link in links_of(html / name):
        address, anchor = urldefrag(urljoin(f"http://book/{name}", link.replace("&amp;", "&")))
        parts = urlsplit(address)
        if parts.netloc != "book":
            continue
        target = html / unquote(parts.path).lstrip("/")
        target = target / "index.html" if target.is_dir() else target
        if not target.is_file() or (anchor and target.suffix == ".html" and unquote(anchor) not in anchors_of(target)):
            lost.append(link)
    assert lost == []


@pytest.mark.parametrize("name", PAGES)
def test_every_picture_is_described(html: Path, name: str) -> None:
    article = (html / name).read_text().partition("<article")[2].partition("</article>")[0]
    for tag in re.findall(r"<img\b[^>]*>", article):
        alt = re.search(r'\balt="([^"]*)"', tag)
        assert alt is not None and len(alt[1].split()) >= 4, f"an image says nothing to who cannot see it: {tag[:120]}"
        assert not re.search(r"\.(png|svg)$", alt[1]), f"the description is a file name: {alt[1]}"


def test_quiz_tells_why_when_an_answer_is_chosen(browser: Browser, site: str) -> None:
    visit = Visit(browser, site, "book/refresher.html")
    wrong = visit.page.locator(".quiz-answer.wrong").first
    reason = wrong.locator(".quiz-reason > span")
    assert not reason.is_visible()
    wrong.locator("input").check()
    assert reason.is_visible()
    assert len(reason.inner_text()) > 10
    right = visit.page.locator(".quiz-question").first.locator(".quiz-answer.right")
    right.locator("input").check()
    assert right.locator(".quiz-reason > span").is_visible()
    assert not reason.is_visible()
    visit.close()


def test_quiz_shows_its_answers_without_scripts(browser: Browser, site: str) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(site + "book/refresher.html")
    reason = page.locator(".quiz-reason").first
    assert not reason.locator("> span").is_visible()
    reason.locator("summary").click()
    assert reason.locator("> span").is_visible()
    context.close()


def test_mark_leads_to_the_source_of_the_check(browser: Browser, site: str) -> None:
    visit = Visit(browser, site, "book/refresher.html")
    visit.page.locator("a.equation-mark.proves").first.click()
    visit.page.wait_for_load_state()
    assert "book/equations.html#check-eq-" in visit.page.url
    entry = visit.page.locator(f"[id='{visit.page.url.partition('#')[2]}']")
    entry.locator("summary").click()
    assert "def " in entry.locator("pre").inner_text()
    visit.close()


def test_search_finds_a_word_of_the_text(browser: Browser, site: str) -> None:
    visit = Visit(browser, site, "search.html?q=reparameterisation")
    visit.page.wait_for_selector("#search-results li", timeout=10_000)
    assert visit.page.locator("#search-results li").count() > 0
    assert visit.foreign == []
    visit.close()
