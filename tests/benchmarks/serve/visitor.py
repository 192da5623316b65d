"""What a person does with the page of `edgesr serve`, and a client that has no browser."""

import hashlib
import http.client
import time

import numpy as np
from PIL import Image

from edgesr.data.images import ImageFile, write_image


def ask(page, path, *, method="GET", body=None, at="127.0.0.1", **headers):
    """Status and content of the answer to a request for a path below the page's own."""
    connection = http.client.HTTPConnection(at, page.port, timeout=10)
    connection.request(method, f"/{page.token}/{path}", body=body, headers=headers)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, content


def visit(browser, page):
    """Open the page and wait until it can take a picture."""
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
    """Until the expression is true; what the page says when it never is."""
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
    """What the page must say of these pixels."""
    return hashlib.sha256(Image.fromarray(pixels).convert("RGBA").tobytes()).hexdigest()


def picture(folder, height, width):
    """A PNG of noise: every pixel matters."""
    pixels = np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8)
    write_image(ImageFile(pixels), folder / f"{width}x{height}.png")
    return folder / f"{width}x{height}.png"
