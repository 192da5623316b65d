"""The measured forms: every alternative is there, and the targets follow the kept result."""

from __future__ import annotations

import json

from edgesr.benchmarks.forms import RESULT, table, variants

from edgesr.targets import find_target


def test_every_alternative_is_measured_once():
    found = [(v.precision, v.part, v.form) for v in variants()]
    assert len(set(found)) == len(found)
    assert {form for precision, part, form in found if (precision, part) == ("int8", "anchor")} == {
        "concat", "conv", "resize",
    }  # fmt: skip


def test_the_target_follows_the_kept_result():
    """Within the noise of the measurement nothing is faster than what the target chose."""
    document = json.loads(RESULT.read_text())
    target = find_target("tflite")
    for precision in ("fp32", "int8"):
        for part in ("anchor", "clip", "prelu"):
            rows = [r for r in document["rows"] if (r["precision"], r["part"]) == (precision, part)]
            if not rows:
                continue
            medians = {row["form"]: row["median"] for row in rows}
            chosen = getattr(target.forms(precision), part)
            noise = 1 + max(row["spread"] for row in rows)
            assert medians[chosen] <= noise * min(medians.values()), (precision, part)
    assert "conv" in table(document) and document["machine"]["packages"]["ai-edge-litert"]
