"""Small artifacts of a random network, written once for all devices; a real adbd in a sandbox."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from edgesr.benchmarks.devices.adb import read_devices
from edgesr.export import export

from edgesr.models.registry import create

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))  # app_stub.py, programs.py

from app_stub import HELPFUL  # noqa: E402
from programs import SECOND, SERIAL, executable  # noqa: E402


@pytest.fixture(scope="session")
def artifact(tmp_path_factory):
    """`artifact("tflite", "int8", "uint8")`: path of a file for 16x24 pixels, x2."""
    folder, made = tmp_path_factory.mktemp("artifacts"), {}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    pixels = np.random.default_rng(0).integers(0, 256, (4, 48, 48, 3), np.uint8)
    network = create("plain-s-x2")
    for parameter in network.module.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    network.module.eval().requires_grad_(False)

    def make(target="tflite", precision="int8", io="uint8"):
        key = (target, precision, io)
        if key not in made:
            out = folder / "-".join(key)
            made[key] = export(
                network, target=target, precision=precision, shape=(16, 24), io=io, out=out,
                calibration=list(pixels),
            ).path  # fmt: skip
        return made[key]

    yield make
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory):
    """A real adbd in namespaces of its own; `adb` on PATH enters them. Yields its root folder."""
    root = os.environ.get("EDGESR_ADBD_ROOT", "")
    if not root:
        pytest.skip("EDGESR_ADBD_ROOT is not set: `sh make_adbd_root.sh FOLDER` makes one")
    for program in ("adb", "unshare", "nsenter", "ip"):
        if shutil.which(program) is None:
            pytest.skip(f"no {program}: apt-get install adb util-linux iproute2")
    log = (tmp_path_factory.mktemp("adbd") / "log").open("w+")
    process = subprocess.Popen(["sh", str(HERE / "adbd_sandbox.sh"), root], stdout=log, stderr=log)
    bin_folder, patch = tmp_path_factory.mktemp("bin"), pytest.MonkeyPatch()
    try:
        inside = _wait_for_adbd(process, log)
        executable(
            bin_folder / "adb",
            f"#!/bin/sh\nexec nsenter --target {inside} --user --net --preserve-credentials "
            f'{shutil.which("adb")} "$@"\n',
        )
        patch.setenv("PATH", f"{bin_folder}:{os.environ['PATH']}")
        connect(SERIAL)
        yield Path(root)
    finally:
        subprocess.run(["adb", "kill-server"], capture_output=True, timeout=30, check=False)
        patch.undo()
        process.kill()
        process.wait()


def _wait_for_adbd(process, log):
    """Process id of adbd outside its namespaces."""
    for _ in range(100):
        if process.poll() is not None:
            break
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        log.seek(0)
        if children and "adbd started" in log.read():
            return children[0]
        time.sleep(0.1)
    log.seek(0)
    pytest.skip(f"adbd does not start here: {log.read()[-300:]}")


def connect(serial):
    for _ in range(50):
        adb = {"capture_output": True, "text": True, "timeout": 30}
        subprocess.run(["adb", "connect", serial], check=True, **adb)
        listing = subprocess.run(["adb", "devices"], check=True, **adb)
        if read_devices(listing.stdout).get(serial) == "device":
            return
        subprocess.run(["adb", "disconnect", serial], check=False, **adb)  # what it was before
        time.sleep(0.2)
    pytest.skip(f"adbd started, and adb does not see {serial}")


GETPROP = '[ "$1" = ro.product.cpu.abi ] && echo arm64-v8a || echo made-up-${1##*.}'


@pytest.fixture
def phone(sandbox):
    """`phone(getprop=..., uname=...)`: programs of the sandboxed phone, gone afterwards."""
    folder = sandbox / "data" / "local" / "bin"

    def make(**programs):
        for name, body in {"getprop": GETPROP, **programs}.items():
            executable(folder / name, f"#!/bin/sh\n{body}\n")

    make()
    yield make
    for file in folder.iterdir():
        file.unlink()
    for left in (sandbox / "data" / "local" / "tmp").iterdir():  # by a phone that was cut off
        shutil.rmtree(left)


@pytest.fixture
def second_phone(phone, sandbox):
    """Another phone beside it: an object with `plug()` and `unplug()`, and `bin`, its programs."""
    second = Second(sandbox / "second")
    second.plug()
    executable(second.bin / "getprop", f"#!/bin/sh\n{GETPROP}\n")
    yield second
    second.plug()  # so that the next one finds it started
    subprocess.run(["adb", "disconnect", SECOND], capture_output=True, timeout=30, check=True)
    for left in (*second.bin.iterdir(), *(second.data / "local" / "tmp").iterdir()):
        shutil.rmtree(left) if left.is_dir() else left.unlink()


class Second:
    """The phone that `adbd_sandbox.sh` plugs in again after it was killed."""

    def __init__(self, data):
        self.data, self.bin = data, data / "local" / "bin"

    def plug(self):
        (self.data / "unplugged").unlink(missing_ok=True)
        connect(SECOND)

    def unplug(self):
        """For good, if nobody plugs it in."""
        (self.data / "unplugged").touch()
        port = f"ADBD_PORT={SECOND.rpartition(':')[2]}".encode()
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # ended meanwhile, or somebody else's
                environment = (process / "environ").read_bytes().split(b"\0")
                if port in environment and (process / "comm").read_text().strip() == "adbd":
                    os.kill(int(process.name), signal.SIGKILL)


@pytest.fixture
def app_phone(phone, sandbox):
    """A phone with the app on it, or rather with `am` and `pm`; yields its root folder."""
    for tool in ("mkdir", "cp", "sleep", "pidof"):
        link = sandbox / "usr" / "bin" / tool
        if not os.path.lexists(link):
            link.symlink_to("busybox")
    phone(**HELPFUL)
    (sandbox / "data" / "app.apk").write_bytes(b"an app")
    yield sandbox
    for name in ("app.apk", "am.log", "golden.bin"):
        (sandbox / "data" / name).unlink(missing_ok=True)
    shutil.rmtree(sandbox / "sdcard", ignore_errors=True)
