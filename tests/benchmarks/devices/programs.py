"""Programs written by tests."""

import stat

SERIAL, SECOND = "127.0.0.1:5701", "127.0.0.1:5702"
"""Of the sandboxed phone and of another one; ports of `adbd_sandbox.sh`."""


def executable(path, text):
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IEXEC)
    return path
