"""Downloads from a server of our own that cuts connections, lies, and refuses."""

import hashlib
import io
import tarfile
import threading
import zipfile
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from edgesr.cli import app
from edgesr.data import catalogue
from edgesr.data.catalogue import SETS, Archive, ImageSet
from edgesr.data.download import check, fetch, get, unpack
from edgesr.errors import BadFileError, EnvironmentLimitError


def picture(seed):
    stream = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 50, 3), np.uint8)
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def zipped(names):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as pack:
        for number, name in enumerate(names):
            pack.writestr(name, picture(number))
    return stream.getvalue()


def tarred(names):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as pack:
        for number, name in enumerate(names):
            content = picture(number)
            info = tarfile.TarInfo(name)
            info.size = len(content)
            pack.addfile(info, io.BytesIO(content))
    return stream.getvalue()


class Server(ThreadingHTTPServer):
    """Gives `content`; cuts the first `cuts` answers after `after` bytes each."""

    content = b""
    cuts = 0
    after = 1000
    ranges = True
    status = 200
    asked: list

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}/set.zip"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server, start = self.server, 0
        wanted = self.headers.get("Range")
        server.asked.append(wanted)
        if server.status != 200:
            self.send_error(server.status)
            return
        if wanted and server.ranges:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(server.content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(server.content)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206)
        else:
            self.send_response(200)
        body = server.content[start:]
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if server.cuts > 0:
            server.cuts -= 1
            self.wfile.write(body[: server.after])
            self.close_connection = True
            return
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    running = Server(("127.0.0.1", 0), Handler)
    running.asked = []
    thread = threading.Thread(target=running.serve_forever, daemon=True)
    thread.start()
    yield running
    running.shutdown()
    running.server_close()


def md5(content):
    return hashlib.md5(content).hexdigest()


NAMES = [f"top/HR/{i}.png" for i in range(3)]


def toy(server, **changes):
    archive = Archive(server.url, "top/HR", "", 3, md5(server.content))
    return ImageSet("toy", "A toy", "do as you like", "http://x", "1 kB",
                    (replace(archive, **changes),))  # fmt: skip


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_a_set_arrives_whole(server, tmp_path, pack):
    server.content = pack([*NAMES, "top/LR/0.png", "top/HR/readme.txt"])
    place = get(toy(server), tmp_path)
    assert sorted(p.name for p in place.iterdir()) == ["0.png", "1.png", "2.png"]
    assert (place / "1.png").read_bytes() == picture(1)
    assert check(toy(server), tmp_path) == []
    get(toy(server), tmp_path)
    assert len(server.asked) == 1


def test_cut_connections_are_resumed(server, tmp_path):
    server.content, server.cuts = zipped(NAMES), 3
    seen = []
    fetch(server.url, tmp_path / "f", md5=md5(server.content), pause=0,
          report=lambda name, have, total: seen.append((name, have, total)))  # fmt: skip
    assert (tmp_path / "f").read_bytes() == server.content
    assert server.asked == [None, "bytes=1000-", "bytes=2000-", "bytes=3000-"]
    assert seen[-1] == ("f", len(server.content), len(server.content))


def test_a_stopped_download_goes_on_in_the_next_run(server, tmp_path):
    server.content = zipped(NAMES)
    (tmp_path / "f.part").write_bytes(server.content[:700])
    fetch(server.url, tmp_path / "f", md5=md5(server.content))
    assert server.asked == ["bytes=700-"]
    assert (tmp_path / "f").read_bytes() == server.content
    (tmp_path / "f").rename(tmp_path / "f.part")  # whole, but stopped before it was checked
    fetch(server.url, tmp_path / "f", md5=md5(server.content))
    assert (tmp_path / "f").read_bytes() == server.content


def test_a_server_without_ranges_starts_over(server, tmp_path):
    server.content, server.ranges, server.cuts = zipped(NAMES), False, 1
    fetch(server.url, tmp_path / "f", md5=md5(server.content), pause=0)
    assert (tmp_path / "f").read_bytes() == server.content


def test_wrong_bytes_are_refused_and_removed(server, tmp_path):
    server.content = zipped(NAMES)
    with pytest.raises(BadFileError, match=f"not the file it should be .* not {'0' * 32}"):
        fetch(server.url, tmp_path / "f", md5="0" * 32)
    assert list(tmp_path.iterdir()) == []


def test_a_part_of_another_file_is_noticed(server, tmp_path):
    server.content = zipped(NAMES)
    (tmp_path / "f.part").write_bytes(b"x" * 500)
    with pytest.raises(BadFileError, match="not the file it should be"):
        fetch(server.url, tmp_path / "f", md5=md5(server.content))
    fetch(server.url, tmp_path / "f", md5=md5(server.content))
    (tmp_path / "g.part").write_bytes(b"x" * (len(server.content) + 5))
    fetch(server.url, tmp_path / "g", md5=md5(server.content), pause=0)
    assert (tmp_path / "g").read_bytes() == server.content


def test_a_server_that_always_cuts(server, tmp_path):
    server.content, server.cuts, server.after = zipped(NAMES), 99, 10
    with pytest.raises(EnvironmentLimitError, match="cut 8 times; the same command goes on"):
        fetch(server.url, tmp_path / "f", pause=0)
    assert (tmp_path / "f.part").stat().st_size == 80


@pytest.mark.parametrize(("status", "error"), [(404, BadFileError), (503, EnvironmentLimitError)])
def test_a_server_that_refuses(server, tmp_path, status, error):
    server.status = status
    with pytest.raises(error, match=str(status)):
        fetch(server.url, tmp_path / "f", pause=0)
    assert len(server.asked) == (1 if status == 404 else 8)


def test_no_server(tmp_path):
    with pytest.raises(EnvironmentLimitError, match=r"no connection to http://127\.0\.0\.1:9"):
        fetch("http://127.0.0.1:9/x", tmp_path / "f", pause=0)


def test_archives_cannot_write_elsewhere(tmp_path):
    file, into = tmp_path / "evil.tar", tmp_path / "deep" / "set"
    names = ["./top/HR/0.png", "../../top/HR/1.png", "/top/HR/2.png", "top/HR/../3.png"]
    file.write_bytes(tarred([*names, "top/HR/../../../4.png"]))
    unpack(file, Archive("", "top/HR", "", 1), into)
    assert [p.name for p in into.iterdir()] == ["0.png"]
    assert [p.name for p in tmp_path.iterdir() if p != file] == ["deep"]


def test_damaged_and_incomplete_archives_leave_nothing(tmp_path):
    whole = zipped(NAMES)
    archive, file = Archive("", "top/HR", "", 3), tmp_path / "set.zip"
    damaged = bytearray(whole)
    damaged[len(damaged) // 2] ^= 0xFF
    for content, message in (
        (bytes(damaged), "damaged"), (whole[:500], "damaged"), (b"hello", "damaged"),
        (zipped(NAMES[:2]), "holds 2 images in top/HR, not 3"),
    ):  # fmt: skip
        file.write_bytes(content)
        with pytest.raises(BadFileError, match=message):
            unpack(file, archive, tmp_path / "set")
        assert [p.name for p in tmp_path.iterdir()] == ["set.zip"]


def test_check_names_what_is_wrong(server, tmp_path):
    server.content = zipped(NAMES)
    place = get(toy(server), tmp_path)
    (place / "0.png").write_bytes(b"")
    (place / "1.png").unlink()
    missing, broken = check(toy(server), tmp_path)
    assert "holds 2 images, not 3" in missing and "0.png is empty" in broken


def test_the_licence_comes_first(server, tmp_path, monkeypatch):
    server.content = zipped(NAMES)
    monkeypatch.setitem(catalogue.SETS, "toy", toy(server))
    command = ["data", "get", "toy", "--folder", str(tmp_path)]
    refused = CliRunner().invoke(app, command, input="n\n")
    assert refused.exit_code != 0 and server.asked == []
    assert "do as you like" in refused.output
    accepted = CliRunner().invoke(app, [*command, "--yes"], catch_exceptions=False)
    assert accepted.exit_code == 0 and "3 images in" in accepted.output
    checked = CliRunner().invoke(app, ["data", "check", "toy", "--folder", str(tmp_path)])
    assert "3 images, all whole" in checked.output


def test_sets_that_need_registration_say_where(tmp_path):
    done = CliRunner().invoke(app, ["data", "get", "manga109", "--folder", str(tmp_path)])
    assert "www.manga109.org" in str(done.exception) and "registration" in str(done.exception)
    done = CliRunner().invoke(app, ["data", "get", "div2", "--folder", str(tmp_path)])
    assert "did you mean `div2k`" in str(done.exception)


def test_the_catalogue_is_complete():
    assert set(SETS) == {"div2k", "flickr2k", "lsdir", "set5", "set14", "b100", "urban100",
                         "manga109"}  # fmt: skip
    for one in SETS.values():
        assert one.licence and one.page.startswith("http")
        assert all(a.url.startswith("https://") and a.images for a in one.archives)
    done = CliRunner().invoke(app, ["data", "list"], catch_exceptions=False)
    assert all(name in done.stdout for name in SETS)
