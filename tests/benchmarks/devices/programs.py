"""Programs written by tests."""

import stat

SERIAL = "127.0.0.1:5555"
"""Of the sandboxed phone."""


def executable(path, text):
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IEXEC)
    return path
