"""The page in a real browser: it loads without a word, asks nobody, and fits a phone."""

import json

import numpy as np
import pytest
from edgesr.benchmarks.devices.device import DeviceError
from edgesr.benchmarks.devices.web import find_browser
from edgesr.benchmarks.report import make_book, read_inputs, render
from edgesr.benchmarks.report.crops import Panel, Picture, data_uri
from report_browser import Browser
from test_report_page import bench, judged, suite


@pytest.fixture(scope="module")
def browser():
    try:
        find_browser()
    except DeviceError as error:
        pytest.skip(str(error))
    browser = Browser()
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Everything the report can show, with long names."""
    folder = tmp_path_factory.mktemp("report")
    name = "a-very-long-network-name-without-any-place-to-break-it-x3"
    certificate = {"exact": True, "interior": 0.0, "border": 1e-16, "rules": ["batch_norm 4"]}
    manifest = {"network": name, "size": 4096, "dtype": "uint8", "certificate": certificate}
    placement = {"on_device": 8, "on_cpu": ["DEPTH_TO_SPACE"], "full": False}
    runs = [
        bench(manifest=manifest, placement=placement, phases={"load": 3.0}, threads=threads)
        for threads in (1, 2)
    ]
    runs.append(bench(samples=[], label="estimate", estimate={"ms": 31.3}, device="npu"))
    failures = [{"cell": name, "device": "adb", "error": "unplugged " * 30, "attempts": 2}]
    source = folder / "suite.json"
    source.write_text(json.dumps(suite(runs, [judged(network=name)], failures)))
    colours = {"original": 0, "bicubic": 90, "int8": 200}
    pictures = tuple(
        Picture(caption, 30.0, data_uri(np.full((60, 60, 3), grey, np.uint8)))
        for caption, grey in colours.items()
    )
    book = make_book(read_inputs([source]))
    path = folder / "report.html"
    path.write_text(render(book, [Panel(name, 3, pictures, ("A note.",))]), encoding="utf-8")
    return path


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [320, 360, 768, 1280])
def test_opens_without_complaint_and_without_the_network(browser, page, width, dark):
    browser.open(page, width=width, dark=dark)
    assert browser.complaints() == []
    assert browser.requests() == [page.as_uri()]
    assert browser.ask("document.documentElement.scrollWidth") <= width
    shown = "getComputedStyle(document.querySelector('figure .{}')).display"
    phone, desk = (browser.ask(shown.format(kind)) for kind in ("phone", "desk"))
    assert (phone, desk) == (("block", "none") if width < 640 else ("none", "block"))


def test_a_wide_table_scrolls_in_its_own_box(browser, page):
    browser.open(page, width=360)
    assert browser.ask(
        "[...document.querySelectorAll('.scroll')].some(e => e.scrollWidth > e.clientWidth)"
    )
    assert browser.ask(
        "[...document.querySelectorAll('table')].every(e => e.closest('.scroll').tabIndex === 0)"
    )


def test_theme_follows_the_system_and_the_switch(browser, page):
    background = "getComputedStyle(document.body).backgroundColor"
    browser.open(page, width=800)
    light = browser.ask(background)
    browser.ask("document.querySelector('.theme').click()")
    dark = browser.ask(background)
    assert light != dark and browser.ask("document.querySelector('.theme').textContent") == "Light"
    browser.open(page, width=800, dark=True)
    assert browser.ask(background) == dark
    browser.ask("document.querySelector('.theme').click()")
    assert browser.ask(background) == light


COVERED = (
    "document.querySelector('.stage .over').getBoundingClientRect() && "
    "getComputedStyle(document.querySelector('.stage .over')).clipPath"
)


def test_slider_moves_with_keys_and_pointer(browser, page):
    browser.open(page, width=800, height=600)
    assert browser.ask("document.querySelector('.slide').value") == "50"
    before = browser.ask(COVERED)
    browser.ask("document.querySelector('.slide').focus()")
    for kind in ("keyDown", "keyUp"):
        browser.send("Input.dispatchKeyEvent", type=kind, key="Home", windowsVirtualKeyCode=36)
    assert browser.ask("document.querySelector('.slide').value") == "0"
    assert browser.ask(COVERED) != before
    box = browser.ask(
        "(() => { const s = document.querySelector('.stage'); s.scrollIntoView();"
        " const b = s.getBoundingClientRect(); return [b.left, b.top, b.width, b.height]; })()"
    )
    left, top, width, height = box
    place = {"x": left + 0.75 * width, "y": top + height / 2, "button": "left", "clickCount": 1}
    for kind in ("mousePressed", "mouseReleased"):
        browser.send("Input.dispatchMouseEvent", type=kind, **place)
    assert float(browser.ask("document.querySelector('.slide').value")) == pytest.approx(75, abs=1)
    seam = "getComputedStyle(document.querySelector('.seam')).left"
    assert float(browser.ask(seam)[:-2]) == pytest.approx(0.75 * width, abs=0.02 * width)


def test_slider_shows_the_pictures_that_are_chosen(browser, page):
    browser.open(page, width=800)
    names = "[...document.querySelectorAll('.stage img')].map(e => e.alt)"
    assert browser.ask(names) == ["int8", "bicubic"]  # under, over
    browser.ask(
        "(() => { const s = document.querySelector('.sides select'); s.selectedIndex = 0;"
        " s.dispatchEvent(new Event('change')); })()"
    )
    assert browser.ask(names) == ["int8", "original"]
    shown = browser.ask("document.querySelector('.stage .over').src")
    assert shown == browser.ask("document.querySelector('.thumbs img').src")


def test_page_is_built_for_readers_of_any_kind(browser, page):
    browser.open(page, width=800)
    assert browser.ask("document.documentElement.lang") == "en"
    assert browser.ask("document.querySelectorAll('h1').length") == 1
    for everything in (
        "[...document.querySelectorAll('svg')].every(e => e.getAttribute('aria-label'))",
        "[...document.querySelectorAll('th')].every(e => e.scope)",
        "[...document.querySelectorAll('select, input')]"
        ".every(e => e.labels.length || e.getAttribute('aria-label'))",
        "[...document.querySelectorAll('nav a')].every(e => document.querySelector(e.hash))",
        "[...document.querySelectorAll('.thumbs img')].every(e => e.alt && e.naturalWidth === 60)",
    ):
        assert browser.ask(everything), everything
