"""No page keeps people out: axe finds nothing critical or serious, in the light and in the dark."""

import json
from pathlib import Path

import axe_playwright_python
import pytest
from playwright.sync_api import Browser, Page

from pages import page_names

PAGES = [f"{name}.html" for name in page_names()] + ["genindex.html", "search.html"]
AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()
RUN = """async (options) => (await axe.run(document, {resultTypes: ["violations"], ...options})).violations
    .filter((found) => ["critical", "serious"].includes(found.impact))
    .map((found) => [found.id, found.nodes.length, found.nodes[0].html.slice(0, 160)])"""


def violations(page: Page, options: dict | None = None) -> list:
    return page.evaluate(RUN, options or {})


@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing_serious(browser: Browser, site: str, name: str) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme="light")
    page.set_default_timeout(120_000)
    page.goto(site + name)
    page.evaluate("async () => { if (window.MathJax && MathJax.startup) await MathJax.startup.promise; }")
    page.evaluate(AXE)
    light = violations(page)
    page.emulate_media(color_scheme="dark")
    page.evaluate("() => { document.documentElement.dataset.theme = 'dark'; }")
    page.wait_for_timeout(400)  # colours fade from one theme to the other
    dark = violations(page, {"runOnly": ["color-contrast", "link-in-text-block"]})  # only colours differ
    page.close()
    assert (light, dark) == ([], []), json.dumps([light, dark], indent=1)


def test_axe_would_find_something(browser: Browser) -> None:
    page = browser.new_page()
    page.set_content(
        "<html lang='en'><title>x</title><main><img src='data:,'><p style='color: #ccc'>pale</p></main></html>"
    )
    page.evaluate(AXE)
    assert {found[0] for found in violations(page)} == {"image-alt", "color-contrast"}
    page.close()
