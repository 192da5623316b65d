"""What training data are worth: one network, the same steps, on all photos and on parts of them.

    python -m edgesr.benchmarks.data_curve --data PHOTOS --validation Kodak24 --work runs/data

Parts lie in each other: the photos are shuffled once and taken until they hold the share of all
pixels. A command that is stopped goes on.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from edgesr.benchmarks.distillation import judges, measure
from edgesr.benchmarks.documents import Document, read_document, write_document
from edgesr.benchmarks.machine import this_machine
from edgesr.benchmarks.markdown import replace_section, table

from edgesr.data.images import read_image
from edgesr.errors import EdgesrError, UsageError
from edgesr.metrics.psnr import LITERATURE
from edgesr.models import create
from edgesr.train.loop import Engine, Schedule, train
from edgesr.train.patches import PatchCache, find_images
from edgesr.train.start import quiet_tail
from edgesr.train.validation import PsnrOn

RESULT = Path(__file__).parent / "results" / "data_curve.json"
VERSION = 1

Row = dict[str, Any]


@dataclass(frozen=True)
class Setup:
    """What all rows share."""

    network: str = "plain-m-x3"
    tail: float = 0.05
    """Factor on the last layer's first weights."""
    steps: int = 4000
    every: int = 500
    """Steps between points of the curve."""
    batch: int = 16
    patch: int = 48
    rate: float = 2e-3
    """Highest; SOAP."""
    seed: int = 0


def parts(photos: Sequence[Path], shares: Sequence[float], seed: int) -> dict[float, list[Path]]:
    """For every share the photos that hold it, in pixels; a smaller one is part of a larger one."""
    order = [photos[i] for i in np.random.default_rng(seed).permutation(len(photos))]
    pixels = np.cumsum([np.prod(read_image(photo).pixels.shape[:2]) for photo in order])
    counts = {share: int(np.searchsorted(pixels, share * pixels[-1])) + 1 for share in shares}
    return {share: order[:count] for share, count in counts.items()}


def gather(photos: Sequence[Path], folder: Path) -> Path:
    """A folder of these photos and no other; names tell the folders they come from."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for photo in photos:
        place = hashlib.sha256(str(photo.parent.resolve()).encode()).hexdigest()[:6]
        (folder / f"{place}-{photo.name}").symlink_to(photo.resolve())
    return folder


def learn(share: float, setup: Setup, cache: PatchCache, held_out: Path, work: Path,
          sets: Sequence[str]) -> Row:  # fmt: skip
    """Train on `cache`; the curve on `held_out`, and the result on `sets`."""
    torch.manual_seed(setup.seed)
    student = create(setup.network)
    quiet_tail(student, setup.tail)
    schedule = Schedule(
        steps=setup.steps, batch=setup.batch, patch=setup.patch, rate=setup.rate, warm_up=200,
        optimizer="soap", seed=setup.seed,
    )  # fmt: skip
    scale = cache.scale
    module = train(
        student, cache, work, schedule, every=setup.every, engine=Engine(device="cpu", workers=0),
        validation=PsnrOn.folder(held_out, scale, student.colour),
    )  # fmt: skip
    with (work / "log.csv").open() as file:
        curve = {entry["step"]: float(entry["validation_db"]) for entry in csv.DictReader(file)}
    pixels = sum(height * width for height, width in cache.shapes)
    return {
        "share": share,
        "photos": len(cache.shapes),
        "megapixels": round(pixels * scale**2 / 1e6, 1),
        "epochs": round(setup.steps * setup.batch * setup.patch**2 / pixels, 1),
        "curve": curve,
        "psnr": measure(student.with_module(module), judges(sets, scale, student.colour)),
    }


def run(
    data: Sequence[Path], shares: Sequence[float], setup: Setup, held_out: Path, work: Path,
    sets: Sequence[str], out: Path,
) -> Document:  # fmt: skip
    """Measure what is missing in `out`, largest share first, and write it after every row."""
    facts: Document = {
        "version": VERSION, "setup": asdict(setup), "held_out": held_out.name,
        "protocol": str(LITERATURE),
    }  # fmt: skip
    if not all(0 < share <= 1 for share in shares):
        raise UsageError("--shares are above 0, and 1 is all photos")
    document = read_document(out, VERSION)
    changed = [key for key in facts if document["rows"] and document.get(key) != facts[key]]
    if changed:
        raise UsageError(f"{out} was measured with another {', '.join(changed)}; delete it first")
    document = facts | {"machine": asdict(this_machine()), "rows": document["rows"]}
    scale = int(create(setup.network).scale)  # type: ignore[arg-type]
    done = {row["share"] for row in document["rows"]}
    for share, photos in parts(find_images(data), sorted(shares, reverse=True), setup.seed).items():
        if share in done:
            continue
        folder = work / f"{share:g}"
        cache = PatchCache([gather(photos, folder / "photos")], scale, work / "cache")
        document["rows"].append(learn(share, setup, cache, held_out, folder / "run", sets))
        write_document(document, out)
    return document


def markdown(document: Document) -> str:
    """A row per share: how often every pixel was seen, the curve, and the sets at its end."""
    rows = sorted(document["rows"], key=lambda row: -row["share"])
    columns = {"photos": "photos", "megapixels": "megapixels", "epochs": "epochs"}
    columns |= {step: f"step {int(step):,}" for step in rows[0]["curve"]}
    columns |= {name: name for name in rows[0]["psnr"]}
    cells = [
        {key: f"{row[key]:,}" for key in ("photos", "megapixels", "epochs")}
        | {key: f"{value:.2f}" for key, value in (row["curve"] | row["psnr"]).items()}
        for row in rows
    ]
    setup, machine = document["setup"], document["machine"]
    facts = (
        f"{setup['network']} from random weights, SOAP, {setup['batch']} patches of "
        f"{setup['patch']}x{setup['patch']} LR pixels a step; steps: dB of the average on "
        f"{document['held_out']}. {document['protocol']}. {machine['cpu']}, torch "
        f"{machine['packages']['torch']}."
    )
    return f"{table(cells, columns)}\n{facts}\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m edgesr.benchmarks.data_curve", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--data", nargs="+", type=Path, default=[], help="folders of photos")
    parser.add_argument("--validation", type=Path, help="folder of photos for the curve")
    parser.add_argument("--shares", nargs="+", type=float, default=[1, 1 / 4, 1 / 16, 1 / 64])
    parser.add_argument("--network", default=Setup.network)
    parser.add_argument("--steps", type=int, default=Setup.steps)
    parser.add_argument("--every", type=int, default=Setup.every)
    parser.add_argument("--sets", nargs="+", default=["set14", "b100"])
    parser.add_argument("--work", type=Path, default=Path("runs/data_curve"))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--markdown", action="store_true", help="print the table, measure nothing")
    parser.add_argument("--page", type=Path, help="put the table into this file")
    parser.add_argument("--out", type=Path, default=RESULT, help="JSON, extended")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(chosen.threads)
    try:
        if chosen.markdown:
            document = read_document(chosen.out, VERSION)
            if not document["rows"]:
                raise UsageError(f"{chosen.out} holds no figures yet; measure without --markdown")
        elif not chosen.data or not chosen.validation:
            raise UsageError("a run needs --data and --validation")
        else:
            setup = Setup(network=chosen.network, steps=chosen.steps, every=chosen.every)
            document = run(chosen.data, chosen.shares, setup, chosen.validation, chosen.work,
                           chosen.sets, chosen.out)  # fmt: skip
        text = markdown(document)
        if chosen.page:
            replace_section(chosen.page, "data curve", text)
    except EdgesrError as error:
        sys.stderr.write(f"edgesr: {error}\n")
        return error.exit_code
    sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
