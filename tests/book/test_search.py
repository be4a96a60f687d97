"""The search finds: for what readers ask, the right place comes first."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

# A query, and what must stand in the address or the title of the first hit: any of the pieces between the bars.
QUERIES = {
    "alpha bar": "notation.html|#signal-noise",
    "why sqrt(1-beta)": "01_fundamentals/index.html#one-step",
    "tweedie": "weedie|posterior mean",
    "posterior mean": "osterior mean|average",
    "how many steps": "steps",
    "KL of two Gaussians": "KL between Gaussians|Kullback",
    "U-Net attention": "unet|attention",
    "gradient of log p": "core",
    "equation 3.7": "Equation 3.7",
    "eq 37": "Equation 3.7",
    "(2.12)": "Equation 2.12",
    "exercise 3.1": "Exercise 3.1",
    "x0 prediction": "predict|x̂",
    "v prediction": "predict|v",
    "classifer free guidance": "lassifier-free guidance",
    "reparameterization trick": "eparameteri",
    "guidence scale": "scale",
    "ddim": "03_ddim|term-DDIM",
    "eta": "notation.html|03_ddim",
    "cosine schedule": "osine",
    "evidence lower bound": "bound|ELBO",
    "score matching": "core matching",
    "langevin dynamics": "angevin",
    "probability flow ODE": "robability flow|robability-flow",
    "FID": "Fréchet|FID",
    "frechet distance": "Fréchet",
    "inpainting": "npainting",
    "log likelihood": "ikelihood",
    "install": "how-to-use.html",
    "run in colab": "how-to-use.html#in-the-browser",
    "train my own model": "how-to-use.html|training",
    "slerp": "slerp",
    "noise added at the last step": "last step",
    "negative prompt": "egative",
}
RIGHT = 30  # of 34


@pytest.fixture(scope="module")
def search(browser: Browser, site: str) -> Page:
    """The page of the search."""
    page = browser.new_page()
    page.goto(site + "search.html")
    page.wait_for_function("window.bookSearch")
    return page


def first(page: Page, query: str) -> str:
    """The address and the title of the first hit."""
    found = page.evaluate(
        "query => window.bookSearch.search(query, 1).map(hit => hit.address + ' ' + hit.title)", query
    )
    return found[0] if found else ""


def test_the_right_place_comes_first(search: Page) -> None:
    wrong = {
        query: first(search, query) for query, right in QUERIES.items() if not is_right(first(search, query), right)
    }
    assert len(QUERIES) == 34
    assert len(wrong) <= len(QUERIES) - RIGHT, wrong


def is_right(hit: str, right: str) -> bool:
    return any(piece in hit for piece in right.split("|"))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("reparameterization", "reparameterisation"),
        ("color", "colour"),
        ("denoisers", "denoiser"),
        ("ᾱ", "alpha bar"),
        ("Fréchet", "frechet"),
        ("langevn", "langevin"),
    ],
)
def test_spellings_of_one_word_find_the_same(search: Page, one: str, other: str) -> None:
    assert first(search, one) == first(search, other) != ""


def test_what_is_typed_is_found_and_shown_with_its_words_marked(search: Page) -> None:
    search.fill("#search-field", "posterior mean")
    assert "places for" in search.inner_text("#search-status")
    assert search.locator("#search-results li a").first.inner_text()
    assert "posterior" in {
        mark.strip(" .,:").lower() for mark in search.locator("#search-results mark").all_inner_texts()
    }
    assert "\\" not in search.inner_text("#search-results"), "no raw TeX is shown"
    search.fill("#search-field", "xyzzyplugh")
    assert "Nothing for" in search.inner_text("#search-status")


def test_every_hit_leads_to_a_place_that_is_there(search: Page, html: Path) -> None:
    lost = []
    for address in search.evaluate("() => window.bookSearch.entries.map(entry => entry.address)"):
        name, _, anchor = address.partition("#")
        if anchor and f'id="{anchor}"' not in (html / name).read_text():
            lost.append(address)
    assert lost == []
