"""The quantization table as people read it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from edgesr.benchmarks.markdown import table
from edgesr.benchmarks.subjects import BUDGETS

_INT8 = ("ptq", "split", "qat")
_OURS = ("fp32", *_INT8)
COLUMNS = {
    "network": "network", "set": "set", "fp32": "fp32 dB", "ptq": "PTQ dB", "ptq_drop": "drop",
    "split": "split dB", "split_drop": "drop", "qat": "QAT dB", "qat_drop": "drop",
    "ptq_fidelity": "PTQ vs fp32 dB", "split_fidelity": "split", "qat_fidelity": "QAT",
    "litert": "LiteRT = reference",
}  # fmt: skip
PUBLISHED = {
    "file": "published int8 file", "network": "network", "set": "set", "fp32": "fp32 dB",
    "psnr": "int8 dB", "drop": "drop", "fidelity": "vs fp32 dB", "ours": "our drop, best",
}  # fmt: skip


def markdown(document: dict[str, Any]) -> str:
    """The table, what is missing, the authors' own files, and how all was measured."""
    rows = [flat for row in document["rows"] for flat in _rows(row)]
    published = [flat for row in document["rows"] for flat in _published(row)]
    missing = [f"- {row['network']}: {row['skipped']}" for row in document["rows"] if _empty(row)]
    budgets = "; ".join(
        f"{group} networks {budget.ptq} dB after PTQ and {budget.qat} dB after QAT"
        for group, budget in BUDGETS.items()
    )
    parts = [table(rows, COLUMNS) if rows else "No row is measured.\n"]
    parts.append(
        f"Drop in dB against the same network in fp32; split is PTQ with `--split`, where there is "
        f"something to split. Budget: {budgets}; a drop beyond it is **bold**.\n"
    )
    untuned: dict[str, list[str]] = {}
    for row in document["rows"]:
        if row.get("no_qat"):
            untuned.setdefault(row["no_qat"], []).append(row["network"])
    missing += [f"- QAT of {', '.join(names)}: {reason}" for reason, names in untuned.items()]
    if missing:
        parts.append("Not measured:\n\n" + "\n".join(missing) + "\n")
    if published:
        parts.append(
            "int8 files of the networks' authors, on the same images, in LiteRT; drop against the "
            "float network behind the file:\n"
        )
        parts.append(table(published, PUBLISHED))
    if document["rows"]:
        photos = f"PTQ calibrated on {document['calibration_images']} photos."
        parts.append(f"{document['protocol']}. {photos} {provenance(document)}\n")
    return "\n".join(parts)


def _empty(row: dict[str, Any]) -> bool:
    return bool(row.get("skipped")) and not row["sets"]


def _rows(row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    budget = BUDGETS[row["group"]]
    for name, cells in row["sets"].items():
        flat: dict[str, Any] = {"network": row["network"], "set": name}
        flat["fp32"] = cells["fp32"]["mean"]
        for kind, allowed in (("ptq", budget.ptq), ("split", budget.ptq), ("qat", budget.qat)):
            cell = cells.get(kind)
            if cell is None:
                continue
            flat |= {kind: cell["mean"], f"{kind}_drop": _judged(cell["drop"], allowed)}
            flat[f"{kind}_fidelity"] = _fidelity(cell)
        flat["litert"] = _equality(cells)
        yield flat


def _published(row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for name, cells in row["sets"].items():
        ours = min(cells[kind]["drop"] for kind in _INT8 if kind in cells)
        for kind, cell in cells.items():
            if kind not in _OURS:
                yield {
                    "file": kind, "network": row["network"], "set": name,
                    "fp32": cells["fp32"]["mean"], "psnr": cell["mean"], "drop": cell["drop"],
                    "fidelity": _fidelity(cell), "ours": ours,
                }  # fmt: skip


def _judged(drop: float, allowed: float) -> str:
    """Judged as printed: 0.0504 is not within 0.050 by rounding."""
    return f"{drop:.3f}" if drop <= allowed else f"**{drop:.3f}**"


def _fidelity(cell: dict[str, Any]) -> str:
    value = cell["against_fp32"]
    return "identical" if value is None else f"{value:.1f}"


def _equality(cells: dict[str, Any]) -> str:
    checks = [cells[kind]["litert"] for kind in _INT8 if kind in cells]
    images = sum(check["images"] for check in checks)
    different = sum(check["different"] for check in checks)
    if not images:
        return "not run"
    if not different:
        return f"yes, on {images}"
    values, largest = sum(c["values"] for c in checks), max(c["largest"] for c in checks)
    return f"{different} of {values} values differ, by up to {largest}"


def provenance(document: dict[str, Any]) -> str:
    """When the cells were measured, and with which versions."""
    sets = [cells for row in document["rows"] for cells in row["sets"].values()]
    dates = sorted(cell["date"][:10] for cells in sets for cell in cells.values() if "date" in cell)
    packages = document["machine"]["packages"]
    named = [name for name in ("edgesr", "torch", "ai-edge-litert") if name in packages]
    versions = ", ".join(f"{name} {packages[name]}" for name in named)
    when = " to ".join(dict.fromkeys((dates[0], dates[-1]))) if dates else "never"
    return f"Measured {when}; {versions}."
