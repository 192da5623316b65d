"""The server lets nobody else in; a page's word is checked; a real browser runs the files."""

import http.client
import json
import re
import subprocess
import threading

import numpy as np
import pytest
from edgesr.benchmarks.devices import open_device, parity, web
from edgesr.benchmarks.devices.bench import bench_on
from edgesr.benchmarks.devices.device import DeviceError, Work
from edgesr.benchmarks.devices.tools import WEB
from edgesr.benchmarks.devices.web_serve import serve
from edgesr.benchmarks.devices.web_server import RESULT_LIMIT, BenchServer, Job
from edgesr.benchmarks.harness import Plan

from edgesr.errors import BadFileError


@pytest.fixture
def server(artifact, tmp_path):
    """A server with one job and one library file."""
    package = tmp_path / "onnxruntime-web" / "dist"
    package.mkdir(parents=True)
    (package / "a.wasm").write_bytes(b"wasm")
    (tmp_path / "secret").write_text("secret")
    job = Job(parity.payload_for(artifact()), "wasm", Work(runs=2))
    with BenchServer([job], tmp_path) as running:
        yield running


def ask(server, path, *, method="GET", body=None, own=True, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    place = f"/{server.token}/{path}" if own else path
    if method == "POST":
        headers.setdefault("Origin", f"http://127.0.0.1:{server.port}")
    connection.request(method, place, body=body, headers=headers)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, content, answer


def test_the_page_and_what_it_needs(server, artifact):
    for path, words in (("", b"edgesr bench"), ("bench.js", b"runJob"),
                        ("lib/onnxruntime-web/dist/a.wasm", b"wasm")):  # fmt: skip
        status, content, answer = ask(server, path)
        assert status == 200 and words in content
        assert answer.getheader("Cross-Origin-Embedder-Policy") == "require-corp"
    (job,) = json.loads(ask(server, "jobs")[1])
    assert job["answer"] is None
    assert (job["runtime"], job["dtype"], job["shape"]) == ("litert", "uint8", [1, 16, 24, 3])
    assert ask(server, "model/0")[1] == artifact().read_bytes()
    assert ask(server, "input/0")[1] == server.jobs[0].payload.golden.tobytes()


@pytest.mark.parametrize(
    "path",
    [
        "/", "/jobs", "/0000/jobs", "/%2e%2e/jobs", "{}/lib/secret", "{}/lib/../secret",
        "{}/lib/onnxruntime-web/../secret", "{}/lib/onnxruntime-web/%2e%2e/secret", "{}/model/1",
        "{}/model/x", "{}/model/-1", "{}/model/9999999999999999999", "{}/nothing",
        "{}/lib/onnxruntime-web/..%2f..%2f..%2fetc/passwd", "{}//etc/passwd",
    ],
)  # fmt: skip
def test_nothing_else_is_handed_out(server, path):
    status, content, _ = ask(server, path.format(f"/{server.token}"), own=False)
    assert status == 404 and content == b""


def test_a_foreign_host_or_origin_is_refused(server):
    assert ask(server, "jobs", Host="evil.example")[0] == 421
    assert ask(server, "jobs", Host=f"localhost:{server.port}")[0] == 200
    for origin in ("http://evil.example", "null", f"https://127.0.0.1:{server.port}"):
        assert ask(server, "result/0", method="POST", body="{}", Origin=origin)[0] == 403
    assert server.jobs[0].result is None


def test_uploads_are_bounded(server):
    too_long = str(RESULT_LIMIT + 1)
    post = {"method": "POST"}
    assert ask(server, "result/0", **post, body=b"", **{"Content-Length": too_long})[0] == 413
    assert ask(server, "result/0", **post, body=b"", **{"Content-Length": "-5"})[0] == 411
    assert ask(server, "result/0", **post, body=b"not json")[0] == 400
    assert ask(server, "result/0", **post, body=b"[1]")[0] == 400
    assert ask(server, "output/0", **post, body=bytes(9))[0] == 400
    wanted = server.jobs[0].output_bytes
    assert wanted == 32 * 48 * 3
    assert ask(server, "output/0", **post, body=bytes(wanted + 1))[0] == 413
    assert ask(server, "output/0", **post, body=bytes(wanted))[0] == 200
    assert not server.wait(0)
    assert ask(server, "result/0", **post, body=b'{"samples": [1, 2]}')[0] == 200
    assert ask(server, "result/0", **post, body=b'{"samples": [8, 8]}')[0] == 200
    assert server.wait(0) and server.jobs[0].result["samples"] == [1, 2]  # the first counts
    (job,) = json.loads(ask(server, "jobs")[1])
    assert job["answer"] == "1.50"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"error": "no such operator"}, "no such operator"),
        ({"samples": [1.0]}, "posted no 2 samples"),
        ({"samples": "ab"}, "posted no 2"),
        ({"samples": [1.0, "x"]}, "no times"),
        ({"samples": [1.0, -1.0]}, "no times"),
        ({"samples": [1.0, float("inf")]}, "no times"),
        ({"samples": [0, 0]}, "too coarse"),
    ],
)
def test_a_page_s_word_is_checked(artifact, answer, words):
    job = Job(parity.payload_for(artifact()), "wasm", Work(runs=2), result=answer)
    with pytest.raises(DeviceError, match=words):
        web.run_of(job, "web:wasm")


@pytest.mark.parametrize(
    ("adapter", "label"),
    [
        ({"vendor": "google", "architecture": "swiftshader", "fallback": True}, "software"),
        ({"vendor": "google", "architecture": "swiftshader"}, "software"),
        (None, "software"),
        ({"vendor": "qualcomm", "architecture": "adreno-7xx"}, "measured"),
    ],
)
def test_graphics_in_software_have_no_latency(artifact, adapter, label):
    answer = {"samples": [1.0, 2.0], "adapter": adapter, "isolated": True}
    job = Job(parity.payload_for(artifact()), "webgpu", Work(runs=2), result=answer)
    run = web.run_of(job, "web:webgpu")
    assert run.label == label and bool(run.samples) == (label == "measured")


def test_int8_ends_are_refused_where_javascript_has_no_such_tensor(artifact):
    with pytest.raises(BadFileError, match="another --io"):
        open_device("web").push(parity.payload_for(artifact(io="int8")))


def ready():
    try:
        open_device("web").probe()
    except DeviceError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("kind", [("tflite", "int8"), ("onnx", "int8")], ids="-".join)
def test_wasm_in_a_real_browser(artifact, kind):
    ready()
    (row,) = bench_on(open_device("web:wasm"), [artifact(*kind)], Plan(runs=3, warm_up=1)).rows
    assert row.label == "measured" and len(row.samples) == 3
    assert row.parity.exact, row.parity
    assert row.facts["isolated"] and "Chrome" in row.facts["user_agent"]


def test_webgpu_in_a_real_browser(artifact):
    ready()
    (row,) = bench_on(open_device("web:webgpu"), [artifact()], Plan(runs=1, warm_up=0)).rows
    assert row.label == "measured" or (row.label, row.samples) == ("software", [])
    assert row.parity.psnr is None or row.parity.psnr > 40


def test_another_browser_comes_to_the_address(artifact):
    """As a phone's would: it opens what `--serve` prints."""
    ready()
    told, browsers = [], []

    def tell(text):
        told.append(text)
        found = re.search(r"http://\S+/", text)
        if found:
            flags = ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage"]
            command = [web.find_browser(), *flags, f"{found.group()}?auto"]
            browsers.append(
                subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            )

    try:
        files = [artifact(), artifact("onnx")]
        result = serve(files, Plan(runs=2, warm_up=0), tell=tell, patience=200)
    finally:
        for browser in browsers:
            browser.kill()
            browser.wait()
    assert [row.device for row in result.rows[:2]] == ["web:wasm"] * 2
    assert all(row.parity.exact for row in result.rows[:2])
    refused = [text for text in told if "webgpu" in text]  # this browser has no adapter at all
    assert len(result.rows) + len(refused) == 4
    assert not any("already" in text for text in told)


def test_nobody_comes(artifact, monkeypatch, tmp_path):
    monkeypatch.setattr(type(WEB), "require", lambda self: tmp_path)
    with pytest.raises(DeviceError, match="no browser came"):
        serve([artifact()], tell=lambda text: None, patience=0.1)


def test_two_posts_at_once_do_no_harm(server):
    wanted = bytes(server.jobs[0].output_bytes)
    threads = [
        threading.Thread(
            target=ask, args=(server, "output/0"), kwargs={"method": "POST", "body": wanted}
        )
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert np.array_equal(server.jobs[0].output, np.frombuffer(wanted, np.uint8))


def test_runtimes_that_are_not_there_name_the_command(monkeypatch, tmp_path):
    monkeypatch.setenv("EDGESR_CACHE", str(tmp_path))
    with pytest.raises(DeviceError, match="edgesr devices --install web"):
        WEB.require()
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(DeviceError, match="apt-get install npm"):
        WEB.install()
