"""`edgesr serve` in a real browser: pixels, slider, refusals."""

from pathlib import Path

import numpy as np
import pytest
from edgesr.benchmarks.devices.model_page import ModelPage
from PIL import Image
from visitor import give, hash_of, picture, result_hash, visit

import edgesr
from edgesr.data import bicubic
from edgesr.data.images import ImageFile, read_image, write_image
from edgesr.runtime import open_session, plan_for, upscale
from edgesr.scales import enlarged_size

SAMPLES = Path(edgesr.__file__).parent / "data" / "samples" / "evaluation"


@pytest.mark.parametrize(
    ("target", "name", "precision"),
    [
        ("tflite", "rgb", "int8"), ("onnx", "rgb", "int8"), ("tflite", "luma", "int8"),
        ("onnx", "luma", "fp32"), ("tflite", "x1.5", "int8"), ("tflite", "x2.2x1.5", "fp32"),
    ],
)  # fmt: skip
def test_pixels_equal_the_laptop_s(browser, artifact, tmp_path, target, name, precision):
    """Smaller than a tile, of tiles in both directions, and a grey photo turned by its EXIF."""
    path = artifact(target, name, precision)
    small, large = picture(tmp_path, 20, 30), picture(tmp_path, 101, 150)
    turned = tmp_path / "turned.png"
    exif = Image.Exif()
    exif[0x0112] = 6
    grey = np.random.default_rng(5).integers(0, 256, (60, 90), np.uint8)
    Image.fromarray(grey).save(turned, exif=exif)
    session = open_session(path)
    with ModelPage(path) as page:
        visit(browser, page)
        for file in (small, large, turned):
            give(browser, file)
            assert result_hash(browser) == hash_of(upscale(session, read_image(file).pixels))
        words = browser.ask("document.getElementById('overlay').innerText")
        tiles = len(plan_for(session, 90, 60))
        for row in (f"{tiles} of {tiles}", "pre", "infer", "post", "init", "wasm"):
            assert row in words
        asked = browser.requests()
        assert asked and all(address.startswith((page.address, "blob:")) for address in asked)


@pytest.mark.parametrize("name", ["rgb", "x1.5"])
def test_the_other_side_of_the_slider_is_matlab_s_bicubic(browser, artifact, tmp_path, name):
    file = picture(tmp_path, 61, 83)
    with ModelPage(artifact(name=name)) as page:
        visit(browser, page)
        give(browser, file)
        shown = browser.ask(
            "Array.from(before.getContext('2d').getImageData(0, 0, before.width, before.height)"
            ".data)"
        )
        size = enlarged_size(61, 83, page.manifest.scale)
        got = np.array(shown, np.uint8).reshape(*size, 4)[..., :3]
        want = bicubic.imresize(read_image(file).pixels, (size[0] / 61, size[1] / 83))
        assert np.array_equal(got, want)


def test_what_is_no_picture_is_refused_in_a_sentence(browser, artifact, tmp_path):
    (tmp_path / "no.png").write_bytes(b"no picture")
    with ModelPage(artifact()) as page:
        visit(browser, page)
        give(browser, tmp_path / "no.png", wanted="failed")
        assert "did not work" in browser.ask("says.innerText")


def test_stop_stops_and_the_next_picture_works(browser, artifact, tmp_path):
    with ModelPage(artifact()) as page:
        visit(browser, page)
        browser.ask(
            "new MutationObserver(() => says.innerText.includes('tile 2 of') && "
            "document.getElementById('stop').click())"
            ".observe(says, {childList: true})"
        )
        give(browser, picture(tmp_path, 700, 700), wanted="idle")
        assert browser.ask("says.innerText").startswith("Stopped after ")
        small = picture(tmp_path, 20, 30)
        give(browser, small)
        assert result_hash(browser) == hash_of(
            upscale(open_session(artifact()), read_image(small).pixels)
        )


def slider(browser):
    """Where the line is, as a share of the picture's width; what is seen agrees."""
    at = browser.ask("position.valueAsNumber")
    left, width, top = browser.ask(
        "(({left, width, top}) => [left, width, top])(view.getBoundingClientRect())"
    )
    assert browser.ask("parseFloat(edge.style.left) / view.clientWidth") == pytest.approx(
        at / 100, abs=1e-3
    )
    for share in (0.03, 0.5, 0.97):
        if abs(share - at / 100) > 0.02:
            seen = browser.ask(f"document.elementFromPoint({left + share * width}, {top + 40}).id")
            assert seen == ("before" if share < at / 100 else "after")
    return at


def place(browser, selector, share):
    """Screen coordinates of a place in an element."""
    return browser.ask(
        f"(({{left, width, top, height}}) => [left + width * {share}, top + height / 2])"
        f"(document.querySelector('{selector}').getBoundingClientRect())"
    )


def drag(browser, selector, start, stop):
    """Press, move in steps, let go."""
    shares = [start, *np.linspace(start, stop, 6), stop]
    kinds = ["mousePressed", *["mouseMoved"] * 6, "mouseReleased"]
    for kind, share in zip(kinds, shares, strict=True):
        x, y = place(browser, selector, share)
        browser.send(
            "Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1,
            buttons=int(kind != "mouseReleased"),
        )  # fmt: skip


def swipe(browser, selector, start, stop):
    """The same with a finger."""
    shares = [start, *np.linspace(start, stop, 6)]
    for kind, share in zip(["touchStart", *["touchMove"] * 6], shares, strict=True):
        x, y = place(browser, selector, share)
        browser.send("Input.dispatchTouchEvent", type=kind, touchPoints=[{"x": x, "y": y}])
    browser.send("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])


def press(browser, key, code, times=1):
    for _ in range(times):
        for kind in ("rawKeyDown", "keyUp"):
            browser.send(
                "Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code
            )


def test_the_slider_is_moved_by_mouse_finger_and_keys(browser, artifact, tmp_path):
    file = picture(tmp_path, 100, 150)
    screen = {"height": 800, "deviceScaleFactor": 1}
    with ModelPage(artifact()) as page:
        browser.send("Emulation.setDeviceMetricsOverride", width=1000, mobile=False, **screen)
        visit(browser, page)
        give(browser, file)
        assert slider(browser) == 50
        drag(browser, "#view", 0.5, 0.2)
        assert slider(browser) == pytest.approx(20, abs=0.5)
        drag(browser, "#position", slider(browser) / 100 * 0.98 + 0.01, 0.8)
        assert slider(browser) == pytest.approx(80, abs=2)

        browser.ask("document.activeElement.blur()")
        for _ in range(20):  # every control is reached by Tab
            press(browser, "Tab", 9)
            if browser.ask("document.activeElement.id") == "position":
                break
        assert browser.ask("document.activeElement.id") == "position"
        before = slider(browser)
        press(browser, "ArrowLeft", 37, times=10)
        assert slider(browser) == pytest.approx(before - 10, abs=0.01)
        press(browser, "Home", 36)
        assert slider(browser) == 0
        press(browser, "End", 35)
        assert slider(browser) == 100

        browser.send("Emulation.setDeviceMetricsOverride", width=400, mobile=True, **screen)
        browser.send("Emulation.setTouchEmulationEnabled", enabled=True)
        visit(browser, page)
        give(browser, file)
        assert browser.ask("document.documentElement.scrollWidth") <= 400
        swipe(browser, "#view", 0.5, 0.9)
        assert slider(browser) == pytest.approx(90, abs=1)
        browser.send("Emulation.setTouchEmulationEnabled", enabled=False)
        browser.send("Emulation.clearDeviceMetricsOverride")


@pytest.mark.slow
def test_three_pictures_one_of_twelve_megapixels(browser, artifact, tmp_path):
    """A photo, noise, and a photo as large as a phone's camera takes them."""
    photo = read_image(next(iter(sorted(SAMPLES.glob("*.webp"))))).pixels
    large = bicubic.imresize(photo, (3000 / photo.shape[0], 4000 / photo.shape[1]))
    files = [tmp_path / "photo.png", picture(tmp_path, 101, 150), tmp_path / "large.png"]
    for file, pixels in ((files[0], photo), (files[2], large)):
        write_image(ImageFile(pixels), file)
    assert large.shape == (3000, 4000, 3)
    model = artifact(shape=(256, 320))
    session = open_session(model)
    with ModelPage(model) as page:
        visit(browser, page)
        for file in files:
            give(browser, file, 280.0)
            assert result_hash(browser) == hash_of(upscale(session, read_image(file).pixels))
