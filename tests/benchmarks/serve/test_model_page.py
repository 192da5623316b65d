"""`edgesr serve`: who is let in, what is refused, where pictures are cut."""

import json
import signal
import subprocess
import sys
import urllib.request
from urllib.parse import urlsplit

import pytest
from edgesr.benchmarks.devices.model_page import MOST_PIXELS, ModelPage
from visitor import ask

from edgesr.errors import BadFileError, UnsupportedError
from edgesr.runtime import make_plan, open_session
from edgesr.scales import enlarged_size


def test_page_model_and_facts(artifact, tmp_path):
    with ModelPage(artifact(), tmp_path) as page:
        assert page.address.startswith("http://127.0.0.1:")
        for name in ("", "page.js", "upscale.js", "bicubic.js", "colour.js", "runtimes.js"):
            assert ask(page, name)[0] == 200
        assert ask(page, "model")[1] == artifact().read_bytes()
        facts = json.loads(ask(page, "about")[1])
        assert (facts["scale"], facts["dtype"], facts["runtime"]) == ("2", "uint8", "litert")
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


def test_other_machines_are_let_in_when_told(artifact, tmp_path):
    """The address is one that a phone can open, and still nobody else's name for it will do."""
    with ModelPage(artifact(), tmp_path, host="0.0.0.0") as page:
        shown = urlsplit(page.address)
        assert shown.hostname != "0.0.0.0" and shown.port == page.port
        assert ask(page, "about", at=shown.hostname)[0] == 200
        assert ask(page, "about")[0] == 200
        for foreign in ("evil.example", f"evil.example:{page.port}", "0.0.0.0", shown.hostname, ""):
            assert ask(page, "about", at=shown.hostname, Host=foreign) == (421, b"")
        origin = f"http://{shown.hostname}:{page.port + 1}"
        assert ask(page, "about", at=shown.hostname, Origin=origin) == (403, b"")
    with ModelPage(artifact(), tmp_path) as page:
        own = urlsplit(ModelPage(artifact(), tmp_path, host="0.0.0.0").address).hostname
        if own != "127.0.0.1":
            with pytest.raises(OSError):
                ask(page, "about", at=own)


@pytest.mark.parametrize("name", ["rgb", "luma", "x1.5", "x2.2x1.5"])
def test_plans_are_the_runtime_s_own(artifact, tmp_path, name):
    """Every output pixel comes once, from the place in a tile where `upscale` takes it."""
    path = artifact(name=name)
    session = open_session(path)
    with ModelPage(path, tmp_path) as page:
        for height, width in ((1, 1), (48, 64), (49, 200), (333, 77)):
            told = json.loads(ask(page, f"plan/{height}/{width}")[1])
            plan = make_plan(height, width, session.tiling())
            assert told["why_inexact"] == plan.why_inexact
            assert (told["height"], told["width"]) == enlarged_size(
                height, width, session.manifest.scale
            )
            for axis, side in (("rows", told["height"]), ("columns", told["width"])):
                at = 0
                for span, tile in zip(getattr(plan, axis), told[axis], strict=True):
                    assert tile["read"] == [span.start, span.stop]
                    assert tile["place"][0] == at and tile["kept"][0] >= 0
                    at = tile["place"][1]
                    assert at - tile["place"][0] == tile["kept"][1] - tile["kept"][0]
                    assert tile["kept"][1] <= tile["made"]
                assert at == side


def test_a_picture_that_is_too_large_is_refused(artifact, tmp_path):
    with ModelPage(artifact(), tmp_path) as page:
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
        (changed(exact_tiling=False), "receptive field"),
        (changed(scale=[0.5, 1.5]), "smaller"),
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


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_the_command_prints_the_address_and_serves(artifact, host):
    # A shell's background jobs, and what they start, ignore Ctrl-C unless told otherwise.
    program = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    program += "from edgesr.cli import main; main()"
    command = [sys.executable, "-c", program, "serve"]
    process = subprocess.Popen(
        [*command, str(artifact()), "--host", host],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        address = process.stdout.readline().strip()
        if not address:
            pytest.skip(process.stderr.read())
        assert urlsplit(address).hostname != "0.0.0.0"
        with urllib.request.urlopen(address, timeout=10) as answer:
            assert b"edgesr" in answer.read()
    finally:
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 130 and "Traceback" not in said
    assert ("everybody in this network" in said) == (host == "0.0.0.0")
