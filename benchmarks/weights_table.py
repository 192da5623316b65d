"""The tables of shipped weights as people read them: the whole one, and the README's."""

from __future__ import annotations

from string import ascii_uppercase
from typing import Any

from edgesr.benchmarks.markdown import table
from edgesr.benchmarks.quantization_table import provenance

Document = dict[str, Any]
Row = dict[str, Any]
_KINDS = {"fp32": "fp32", "ptq": "PTQ", "qat": "NAME.int8"}


def page_table(document: Document) -> str:
    """Every figure: one column per image set and precision."""
    columns = {"network": "network", "parameters": "parameters", "gmacs": "GMAC"}
    for name in _sets(document):
        columns |= {f"{name} {kind}": f"{name} {text}" for kind, text in _KINDS.items()}
    columns |= {machine: f"int8 {text}" for machine, text in _machines(document).items()}
    rows = []
    for row in document["rows"]:
        flat = _facts(row)
        for name, cells in row["sets"].items():
            for kind in _KINDS:
                if kind in cells:
                    flat[f"{name} {kind}"] = f"{cells[kind]['mean']:.2f}"
        rows.append(flat)
    return f"{table(rows, columns)}\n{_notes(document)}"


def readme_table(document: Document) -> str:
    """In short: fp32 and the better int8 in one cell."""
    sets = _sets(document)
    columns = {"network": "network", "parameters": "parameters", "gmacs": "GMAC"}
    columns |= {name: f"{name} dB" for name in sets} | _machines(document)
    rows = []
    for row in document["rows"]:
        flat = _facts(row)
        for name, cells in row["sets"].items():
            int8 = [cells[kind]["mean"] for kind in ("ptq", "qat") if kind in cells]
            flat[name] = f"{cells['fp32']['mean']:.2f} / {max(int8):.2f}"
        rows.append(flat)
    about = f"dB: fp32 / int8, {document['protocol']}. GMAC and ms: for an output of 1280x720"
    return f"{table(rows, columns)}\n{about}; {_times(document)}.\n"


def _sets(document: Document) -> list[str]:
    return list(dict.fromkeys(name for row in document["rows"] for name in row["sets"]))


def _machines(document: Document) -> dict[str, str]:
    """The headings of times: a column for every machine that took some."""
    found = [machine for row in document["rows"] for machine in row.get("latencies", {})]
    machines = sorted(set(found), key=lambda machine: (-found.count(machine), machine))
    if len(machines) < 2:
        return dict.fromkeys(machines or ["ms"], "ms")
    return {
        machine: f"ms {letter}" for machine, letter in zip(machines, ascii_uppercase, strict=False)
    }


def _facts(row: Row) -> Row:
    return {
        "network": row["network"],
        "parameters": f"{row['parameters']:,}",
        "gmacs": f"{row['macs'] / 1e9:.2f}",
    } | {machine: f"{one['ms']:.1f}" for machine, one in row.get("latencies", {}).items()}


def _notes(document: Document) -> str:
    lines = [
        f"dB: {document['protocol']}. PTQ calibrated on {document['calibration_images']} photos; "
        f"int8 is the integer reference, {_equality(document)}. "
        f"Parameters of the deployed form; GMAC and ms for an output of 1280x720. "
        f"{_times(document)}. {provenance(document)}"
    ]
    lines += [f"Not here: {name}, see [its page]({page})." for name, page in _elsewhere(document)]
    lines.append(f"{document['files']} files, {document['megabytes']:.1f} MB.")
    return "\n\n".join(lines) + "\n"


def _equality(document: Document) -> str:
    """What LiteRT made of the images on which it was compared."""
    sets = [cells for row in document["rows"] for cells in row["sets"].values()]
    checks = [c[kind]["litert"] for c in sets for kind in ("ptq", "qat") if kind in c]
    images = sum(check["images"] for check in checks)
    different = sum(check["different"] for check in checks)
    equal = "equal in every value" if not different else f"but for {different} values"
    return f"compared with LiteRT on {images} images: {equal}" if images else "LiteRT was not asked"


def _elsewhere(document: Document) -> list[tuple[str, str]]:
    return list(document.get("elsewhere", {}).items())


def _times(document: Document) -> str:
    by_machine = {
        heading: [row["latencies"][m] for row in document["rows"] if m in row.get("latencies", {})]
        for m, heading in _machines(document).items()
    }
    said = [_taken(heading, taken) for heading, taken in by_machine.items() if taken]
    return "; ".join(said) or "ms: not taken yet"


def _taken(heading: str, taken: list[Row]) -> str:
    where = {
        f"{one['runtime']}, {one['threads']} thread(s), {one['machine']}, "
        f"{' '.join(one['instructions'])}"
        for one in taken
    }
    busy = any("other processes" in text for one in taken for text in one["warnings"])
    return f"{heading}: int8, {'; '.join(sorted(where))}" + (" (which was busy)" if busy else "")
