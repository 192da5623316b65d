"""The command line as a shell sees it: speed of `--help`, exit codes, one sentence per mistake."""

import os
import resource
import subprocess
import sys

import pytest

EDGESR = [sys.executable, "-c", "from edgesr.cli import main; main()"]


def edgesr(*arguments, **kwargs):
    return subprocess.run(
        [*EDGESR, *map(str, arguments)], capture_output=True, text=True, timeout=120, **kwargs
    )


def test_help_names_every_command_and_imports_nothing_heavy():
    probe = (
        "import sys; sys.argv = ['edgesr', '--help']\n"
        "from edgesr.cli import main\n"
        "try: main()\n"
        "finally:\n"
        "    heavy = {'torch', 'numpy', 'onnx', 'openvino', 'PIL', 'ai_edge_litert'}\n"
        "    print('HEAVY', sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )
    result = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True)
    assert result.returncode == 0
    assert "HEAVY []" in result.stderr
    for command in ("export", "bench", "eval", "upscale", "models", "info", "collapse", "demo"):
        assert command in result.stdout


def test_help_costs_little():
    """Processor time, which a busy machine does not stretch as it does wall time."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert edgesr("--help").returncode == 0
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.5


def test_version():
    assert edgesr("--version").stdout.startswith("edgesr 0.")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["export", "nonsense-x3"], 2, ["nonsense", "edgesr models"]),
        (["export", "plain-m"], 2, ["plain-m-x3"]),
        (["export", "plain-m-x7"], 2, ["scales"]),
        (["export", "plain-m-x3", "--target", "toaster"], 2, ["toaster", "tflite"]),
        (["export", "plain-m-x3", "--precision", "int3"], 2, ["int3", "int8"]),
        (["export", "plain-m-x3", "--shape", "big"], 2, ["big", "HEIGHTxWIDTH"]),
        (["export", "plain-m-x3", "--shape", "dynamic"], 2, ["one input size"]),
        (["export", "plain-m-x3", "--shape", "0x5"], 2, ["0x5"]),
        (["export", "missing.pth"], 3, ["missing.pth"]),
        (["bench", "missing.tflite"], 3, ["missing.tflite"]),
        (["eval", "missing.tflite", "--data", "samples"], 3, ["missing.tflite"]),
        (["info", "missing.tflite"], 3, ["missing.tflite"]),
    ],
)
def test_a_mistake_is_one_sentence_and_a_code(arguments, code, words, tmp_path):
    result = edgesr(*arguments, cwd=tmp_path)
    assert result.returncode == code, result.stderr
    assert "Traceback" not in result.stderr
    for word in words:
        assert word in result.stderr
    assert not list(tmp_path.iterdir())


def test_debug_shows_the_traceback(tmp_path):
    environment = os.environ | {"EDGESR_DEBUG": "1"}
    assert "Traceback" in edgesr("info", "missing.tflite", cwd=tmp_path, env=environment).stderr
