"""The committed estimates, and the forms that the targets take from them."""

from edgesr.benchmarks import ethos_u
from edgesr.benchmarks.documents import read_document

from edgesr.models import intake
from edgesr.targets import INT8_FORMS, find_target


def row(**facts):
    base = {"network": "n", "anchor": "conv", "shuffle": "rows", "npu": "u55-256", "ms": 2.0}
    return base | {"on_cpu": [], "tool": "vela 5", **facts}


def test_no_form_beats_what_the_targets_write_by_two_percent():
    rows = read_document(ethos_u.RESULT, ethos_u.VERSION)["rows"]
    assert {r["network"] for r in rows} <= {*intake.shipped_names()}
    assert {"plain-m-x3", "plain-m-x2", "ncnet-x3"} <= {r["network"] for r in rows}
    assert {r["label"] for r in rows} == {"estimate"}
    for key in {(r["network"], r["npu"]) for r in rows}:
        mine = [r for r in rows if (r["network"], r["npu"]) == key]
        found, target = ethos_u.best(mine), find_target(f"ethos-{key[1]}")
        form = (INT8_FORMS.anchor, target.shuffle)
        (written,) = (r for r in mine if (r["anchor"], r["shuffle"]) == form)
        assert written["on_cpu"] == []
        assert written["ms"] <= 1.02 * found["ms"], key


def test_a_form_that_leaves_less_on_the_cpu_wins_over_a_faster_one():
    left = row(shuffle="codes", ms=1.0, on_cpu=["DEPTH_TO_SPACE"])
    assert ethos_u.best([left, row(), row(anchor="concat", ms=3.0)]) == row()


def test_the_table_says_what_stays_on_the_cpu_of_which_npu():
    rows = [
        row(), row(npu="u85-512", ms=1.0),
        row(anchor="resize", ms=1.5, on_cpu=["RESIZE"]),
        row(anchor="resize", npu="u85-512", ms=0.5),
        row(anchor="concat", ms=1.5, on_cpu=["A", "A"]),
        row(anchor="concat", npu="u85-512", ms=1.5, on_cpu=["A"]),
    ]  # fmt: skip
    text = ethos_u.markdown({"rows": rows, "height": 360, "width": 640})
    assert "| n | 1x1 convolution | by rows | **2.0** | 1.0 | nothing |" in text
    assert "| n | resize and add | by rows | 1.5 | **0.5** | RESIZE (U55-256) |" in text
    assert "| n | concat | by rows | 1.5 | 1.5 | A |" in text
