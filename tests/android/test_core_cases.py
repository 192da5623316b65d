"""The Kotlin core's golden cases are what our code computes today."""

import json

from core_cases import FILE, cases


def test_the_committed_cases_are_current():
    """The JUnit tests read the committed file; if this fails, the Kotlin side must follow."""
    now = json.loads(json.dumps(cases()))
    then = json.loads(FILE.read_text())
    assert now.keys() == then.keys()
    for name, value in now.items():
        assert then[name] == value, f"{name} changed: python tests/android/core_cases.py"
