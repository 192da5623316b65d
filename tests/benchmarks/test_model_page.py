"""`edgesr serve`: who is let in, what is refused, and the pixels of a real browser."""

import hashlib
import http.client
import json
import signal
import subprocess
import sys
import time
import urllib.request

import numpy as np
import pytest
import torch
from edgesr.benchmarks.devices.device import DeviceError
from edgesr.benchmarks.devices.model_page import MOST_PIXELS, ModelPage
from edgesr.benchmarks.devices.tools import WEB
from edgesr.benchmarks.devices.web import find_browser
from edgesr.export import export
from PIL import Image
from report_browser import Browser

from edgesr.data import bicubic
from edgesr.data.images import ImageFile, read_image, write_image
from edgesr.errors import BadFileError, UnsupportedError
from edgesr.models.registry import create
from edgesr.runtime import make_plan, open_session, upscale

SHAPE = (48, 64)


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    """`artifact("tflite", (48, 64))`: a random network in int8, x2."""
    folder, made = tmp_path_factory.mktemp("artifacts"), {}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    pixels = np.random.default_rng(0).integers(0, 256, (4, 48, 48, 3), np.uint8)
    network = create("plain-s-x2")
    for parameter in network.module.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    network.module.eval().requires_grad_(False)

    def make(target="tflite", shape=SHAPE, precision="int8"):
        key = (target, shape, precision)
        if key not in made:
            made[key] = export(
                network, target=target, precision=precision, shape=shape,
                out=folder / f"{target}-{shape[0]}-{precision}", calibration=list(pixels),
            ).path  # fmt: skip
        return made[key]

    yield make
    torch.set_num_threads(threads)


def ask(page, path, *, method="GET", body=None, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", page.port, timeout=10)
    connection.request(method, f"/{page.token}/{path}", body=body, headers=headers)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, content


def test_page_model_and_facts(artifact, tmp_path):
    with ModelPage(artifact(), tmp_path) as page:
        assert page.address.startswith("http://127.0.0.1:")
        for name in ("", "page.js", "upscale.js", "bicubic.js", "runtimes.js"):
            assert ask(page, name)[0] == 200
        assert ask(page, "model")[1] == artifact().read_bytes()
        facts = json.loads(ask(page, "about")[1])
        assert (facts["scale"], facts["dtype"], facts["runtime"]) == (2, "uint8", "litert")
        assert facts["encoding"] == facts["decoding"] == list(range(256))
        for nothing in ("nothing", "plan", "plan/1", "plan/-1/2", "plan/x/2", "plan/100000/1",
                        "plan/1/2/3", "lib/secret", "model_page.py"):  # fmt: skip
            assert ask(page, nothing) == (404, b"")


def test_a_foreign_host_or_origin_is_refused_and_nothing_is_taken(artifact, tmp_path):
    with ModelPage(artifact(), tmp_path) as page:
        own = f"http://127.0.0.1:{page.port}"
        assert ask(page, "model", Host="evil.example")[0] == 421
        assert ask(page, "model", Host=f"localhost:{page.port}")[0] == 200
        assert ask(page, "model", Origin="http://evil.example")[0] == 403
        assert ask(page, "model", Origin="null")[0] == 403
        assert ask(page, "model", Origin=own)[0] == 200
        assert ask(page, "model", method="POST", body=b"picture", Origin=own)[0] == 404
        assert ask(page, "model", method="POST", body=b"picture")[0] == 403


def test_plans_are_the_runtime_s_own(artifact, tmp_path):
    with ModelPage(artifact(), tmp_path) as page:
        for height, width in ((1, 1), (48, 64), (49, 200), (333, 77)):
            told = json.loads(ask(page, f"plan/{height}/{width}")[1])
            plan = make_plan(height, width, open_session(artifact()).tiling())
            for axis in ("rows", "columns"):
                spans = [(s.start, s.stop, s.keep_start, s.keep_stop) for s in getattr(plan, axis)]
                assert [tuple(span) for span in told[axis]] == spans
            assert told["why_inexact"] == plan.why_inexact
        side = int((MOST_PIXELS / 4) ** 0.5)
        assert "rows" in page.plan(side, side)
        assert "edgesr upscale" in page.plan(side + 1, side + 1)["refused"]
        assert "nothing to upscale" in page.plan(0, 5)["refused"]


def test_what_a_page_cannot_run_is_refused(artifact, tmp_path):
    def changed(**facts):
        source = artifact()
        copy = tmp_path / "-".join(facts) / source.name
        copy.parent.mkdir()
        copy.write_bytes(source.read_bytes())
        manifest = json.loads(source.with_name(source.name + ".json").read_text())
        copy.with_name(copy.name + ".json").write_text(json.dumps(manifest | facts))
        return copy

    for file, words in (
        (changed(colour="y"), "luma"),
        (changed(exact_tiling=False), "receptive field"),
        (changed(scale=[1.5, 1.5]), "whole number"),
        (changed(height=None), "--shape"),
    ):
        with pytest.raises(UnsupportedError, match=words):
            ModelPage(file, tmp_path)
    with pytest.raises(BadFileError, match="--io"):
        ModelPage(changed(dtype="int8"), tmp_path)
    with pytest.raises(BadFileError, match="sha256"):
        ModelPage(changed(sha256="0" * 64), tmp_path)
    with pytest.raises(BadFileError, match="no such file"):
        ModelPage(tmp_path / "none.tflite", tmp_path)


@pytest.fixture(scope="module")
def browser():
    try:
        find_browser()
        WEB.require()
    except DeviceError as error:
        pytest.skip(str(error))
    browser = Browser()
    browser.send("DOM.enable")
    yield browser
    browser.close()


def visit(browser, page):
    browser.events.clear()
    browser.send("Page.navigate", url=page.address)
    wait_for(browser, "document.body?.dataset.state === 'idle'")


def give(browser, file, seconds=60.0, wanted="done"):
    """Choose the file as a person would, and wait until its result is there."""
    root = browser.send("DOM.getDocument")["root"]["nodeId"]
    chooser = browser.send("DOM.querySelector", nodeId=root, selector="#file")["nodeId"]
    browser.ask("document.body.dataset.state = 'busy'")
    browser.send("DOM.setFileInputFiles", files=[str(file)], nodeId=chooser)
    wait_for(browser, f"document.body.dataset.state === '{wanted}'", seconds)


def wait_for(browser, condition, seconds=60.0):
    until = time.monotonic() + seconds
    while not browser.ask(condition):
        assert time.monotonic() < until, browser.ask("document.body.innerText")
        time.sleep(0.05)


def result_hash(browser):
    """Of the RGBA bytes on the page; alpha is opaque."""
    browser.ask("document.getElementById('hash').click()")
    wait_for(browser, "!!document.getElementById('hash').dataset.of")
    return browser.ask("document.getElementById('hash').dataset.of")


def hash_of(pixels):
    return hashlib.sha256(Image.fromarray(pixels).convert("RGBA").tobytes()).hexdigest()


def picture(folder, height, width):
    pixels = np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8)
    write_image(ImageFile(pixels), folder / f"{width}x{height}.png")
    return folder / f"{width}x{height}.png"


@pytest.mark.parametrize("target", ["tflite", "onnx"])
def test_pixels_equal_the_laptop_s(browser, artifact, tmp_path, target):
    """Smaller than a tile, of tiles in both directions, and a grey photo turned by its EXIF."""
    small, large = picture(tmp_path, 20, 30), picture(tmp_path, 101, 150)
    turned = tmp_path / "turned.png"
    exif = Image.Exif()
    exif[0x0112] = 6
    grey = np.random.default_rng(5).integers(0, 256, (60, 90), np.uint8)
    Image.fromarray(grey).save(turned, exif=exif)
    session = open_session(artifact(target))
    with ModelPage(artifact(target)) as page:
        visit(browser, page)
        for file in (small, large, turned):
            give(browser, file)
            assert result_hash(browser) == hash_of(upscale(session, read_image(file).pixels))
        words = browser.ask("document.getElementById('overlay').innerText")
        for row in ("3 of 3", "pre", "infer", "post", "init", "wasm"):
            assert row in words
        asked = browser.requests()
        assert asked and all(address.startswith((page.address, "blob:")) for address in asked)


def test_the_other_side_of_the_slider_is_matlab_s_bicubic(browser, artifact, tmp_path):
    file = picture(tmp_path, 61, 83)
    with ModelPage(artifact()) as page:
        visit(browser, page)
        give(browser, file)
        shown = browser.ask(
            "Array.from(before.getContext('2d').getImageData(0, 0, before.width, before.height)"
            ".data)"
        )
        got = np.array(shown, np.uint8).reshape(122, 166, 4)[..., :3]
        assert np.array_equal(got, bicubic.imresize(read_image(file).pixels, 2))
        shown = browser.ask("view.clientWidth")
        for place in (0, 30):
            browser.ask(f"position.value = {place}; position.dispatchEvent(new Event('input'))")
            left = float(browser.ask("before.style.clipPath").split("100% - ")[1].split("px")[0])
            assert left == pytest.approx(shown * place / 100, abs=0.01)
            assert f"{left:g}px" == browser.ask("edge.style.left")


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


@pytest.mark.slow
def test_twelve_megapixels(browser, artifact, tmp_path):
    file = picture(tmp_path, 3000, 4000)
    model = artifact(shape=(256, 320))
    with ModelPage(model) as page:
        visit(browser, page)
        give(browser, file, 280.0)
        got = result_hash(browser)
    assert got == hash_of(upscale(open_session(model), read_image(file).pixels))


def test_the_command_prints_the_address_and_serves(artifact, tmp_path):
    command = [sys.executable, "-c", "from edgesr.cli import main; main()", "serve"]
    process = subprocess.Popen(
        [*command, str(artifact())], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        address = process.stdout.readline().strip()
        if not address:
            pytest.skip(process.stderr.read())
        with urllib.request.urlopen(address, timeout=10) as answer:
            assert b"edgesr" in answer.read()
    finally:
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 130 and "Traceback" not in said
