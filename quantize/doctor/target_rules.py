"""The rule about the target's runtime: what it rounds differently, and what its file did here."""

from __future__ import annotations

from collections.abc import Iterator

from edgesr.quantize.doctor.diagnosis import Diagnosis, Finding, Severity
from edgesr.quantize.doctor.runtime import merged

OK, NOTICE, PROBLEM = Severity.OK, Severity.NOTICE, Severity.PROBLEM


def inexact(d: Diagnosis) -> Iterator[Finding]:
    """Operators that runtimes round differently, and what the file did here."""
    run = d.runtime
    if run is None:
        return
    where = run.inexact if d.target != "tflite" else {
        kind: names for kind, names in run.inexact.items() if kind == "mul"
    }  # fmt: skip
    for kind, names in where.items():
        cause = f"`{kind}` is rounded differently by {d.target} and the integer reference"
        if d.target == "tflite":
            cause = "XNNPACK multiplies in float on x86 and in fixed point on arm64: 1 code apart"
        yield Finding(
            NOTICE, "exactness", merged(names, 2).replace("`", ""), f"{len(names)} layers", cause,
            "nothing to do unless the devices' pictures must be equal", "",
        )  # fmt: skip
    if run.identical is None or run.max_difference is None:
        return
    figure = f"{100 * run.identical:.4g} % of the pixels, at most {run.max_difference:g} codes off"
    beyond = run.max_difference > run.expected
    yield Finding(
        PROBLEM if beyond else OK, "runtime", "", figure,
        f"{run.runtime} {'does not compute' if beyond else 'computes'} what the integer reference "
        f"does (allowed: {run.expected:g})",
        "report this file: a kernel of the runtime differs" if beyond else "", "", 1.0,
    )  # fmt: skip
    if run.one_partition is False:
        yield Finding(
            NOTICE, "delegation", "", "split graph",
            "XNNPACK does not take the whole graph; tensors go back and forth between kernels",
            "look at the operators in the report for the one it leaves", "",
        )  # fmt: skip
