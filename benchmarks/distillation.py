"""What each distillation brings a small student: same start, same batches, same steps.

    python -m edgesr.benchmarks.distillation --teacher rlfn_x2.pth --architecture rlfn \
        --data PHOTOS --work runs/distillation

For each seed a student is trained plainly first; from there it goes on with every strategy, and
plainly, with a fresh optimizer on the same batches: one difference per seed and strategy. Batches
are drawn once from the photos and gone through in another order every epoch, so that the teacher
has to be asked only once. A command that is stopped goes on.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from edgesr.benchmarks.markdown import replace_section, table
from torch import Tensor, nn

from edgesr.data.bicubic import crop_to_multiple, imresize
from edgesr.data.datasets import dataset
from edgesr.errors import EdgesrError, UsageError
from edgesr.manifest import write_atomically
from edgesr.metrics.psnr import LITERATURE
from edgesr.models import create
from edgesr.models.intake import load
from edgesr.network import Colour, Network
from edgesr.train.distil import STRATEGIES, Distillation, Teacher
from edgesr.train.loop import Engine, Schedule, train
from edgesr.train.objective import Objective, Reconstruction
from edgesr.train.patches import PatchCache
from edgesr.train.start import quiet_tail
from edgesr.train.unit import Unit
from edgesr.train.validation import PsnrOn

RESULT = Path(__file__).parent / "results" / "distillation.json"
VERSION = 1
PLAIN = "plain training"
POINTS = 2
"""Maps that are compared."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Setup:
    """What all rows share."""

    student: str = "plain-s-x2"
    assistant: str = "plain-m-x2"
    """Of `tas`."""
    tail: float = 0.05
    """Factor on the last layer's first weights."""
    first_steps: int = 1000
    """Of plain training, shared by all rows of a seed."""
    steps: int = 250
    """With the strategy."""
    batch: int = 8
    patch: int = 24
    batches: int = 160
    """Different ones; the steps go through them again and again."""
    rates: tuple[float, float] = (1e-3, 5e-4)
    """Highest learning rates of both phases."""


class Cycle:
    """A few batches of a cache over and over, in another order every epoch."""

    def __init__(self, cache: PatchCache, count: int) -> None:
        self._cache, self._count = cache, count

    def batch(self, step: int, size: int, patch: int, seed: int = 0) -> tuple[Tensor, Tensor]:
        """Which batch a step gets depends on the seed; what the batches are does not."""
        epoch, place = divmod(step, self._count)
        order = np.random.default_rng([seed, epoch]).permutation(self._count)
        return self._cache.batch(int(order[place]), size, patch)


def learn(
    strategy: str, factor: float, seed: int, setup: Setup, patches: Cycle, teacher: Teacher,
    folder: Path,
) -> Network:  # fmt: skip
    """A student after both phases, the second with `strategy`, or plain, too.

    Args:
        factor: on the strategy's own weight.
    """
    torch.manual_seed(seed)
    student = create(setup.student)
    quiet_tail(student, setup.tail)
    first = _phase(student, Reconstruction(squared_from=1.0), 0, seed, setup, patches,
                   folder / f"first-{seed}")  # fmt: skip
    student.module.load_state_dict(first.state_dict())
    torch.manual_seed(seed)
    objective: Objective = Reconstruction()
    if strategy == "tas":
        assistant = create(setup.assistant)
        quiet_tail(assistant, setup.tail)
        options: dict[str, Any] = {"assistant": assistant}
        objective = STRATEGIES[strategy](student, teacher, **options)
    elif strategy != PLAIN:
        objective = STRATEGIES[strategy](student, teacher)
    if isinstance(objective, Distillation):
        objective.weight *= factor
    name = f"{strategy.replace(' ', '-')}-{factor:g}-{seed}"
    return student.with_module(_phase(student, objective, 1, seed, setup, patches, folder / name))


def _phase(
    student: Network, objective: Objective, phase: int, seed: int, setup: Setup, patches: Cycle,
    folder: Path,
) -> nn.Module:  # fmt: skip
    schedule = Schedule(
        steps=(setup.first_steps, setup.steps)[phase], batch=setup.batch, patch=setup.patch,
        rate=setup.rates[phase], warm_up=(200, 20)[phase], averaging=0.99, seed=2 * seed + phase,
    )  # fmt: skip
    # On one core a thread that cuts patches is in the way, and networks this small are no faster
    # in bfloat16.
    engine = Engine(device="cpu", precision="fp32", workers=0)
    return train(student, patches, folder, schedule, objective=objective, every=200, engine=engine)


def judges(names: Sequence[str], scale: int, colour: Colour = "rgb") -> dict[str, PsnrOn]:
    """PSNR on each set, its images reduced once."""
    sets = {}
    for name in names:
        originals = [crop_to_multiple(image, scale) for _, image in dataset(name)]
        sets[name] = PsnrOn([(imresize(hr, 1 / scale), hr) for hr in originals], scale, colour)
    return sets


def measure(network: Network, sets: dict[str, PsnrOn]) -> dict[str, float]:
    """dB on each set."""
    unit = Unit(network.module.eval(), network.value_range)
    return {name: judge(unit).decibels for name, judge in sets.items()}


def run(
    strategies: Sequence[str], factors: Sequence[float], seeds: Sequence[int], setup: Setup,
    teacher: Network, cache: PatchCache, sets: dict[str, PsnrOn], work: Path, out: Path,
) -> Row:  # fmt: skip
    """Measure what is missing in `out`, seed by seed, and write it there after every row."""
    facts = {
        "version": VERSION, "setup": json.loads(json.dumps(asdict(setup))),
        "images": len(cache.shapes),
        "protocol": str(LITERATURE), "torch": torch.__version__,
    }  # fmt: skip
    document: Row = json.loads(out.read_text()) if out.exists() else {**facts, "rows": []}
    changed = [key for key in facts if key != "torch" and document.get(key) != facts[key]]
    if changed:
        raise UsageError(f"{out} was measured with another {', '.join(changed)}; delete it first")
    if "teacher" not in document:
        document["teacher"] = {"name": teacher.name, "psnr": measure(teacher, sets)}
        _write(document, out)
    asked = Teacher(teacher, POINTS, remember=setup.batches)
    patches = Cycle(cache, setup.batches)
    done = {(row["strategy"], row["factor"], row["seed"]) for row in document["rows"]}
    for seed in seeds:
        for strategy, factor in [(PLAIN, 1.0), *((s, f) for f in factors for s in strategies)]:
            if (strategy, factor, seed) in done:
                continue
            began = time.monotonic()
            student = learn(strategy, factor, seed, setup, patches, asked, work)
            row = {
                "strategy": strategy, "factor": factor, "seed": seed,
                "psnr": measure(student, sets),
                "seconds": round(time.monotonic() - began, 1),
            }  # fmt: skip
            document["rows"].append(row)
            _write(document, out)
    return document


def _write(document: Row, out: Path) -> None:
    write_atomically(out, (json.dumps(document, indent=1) + "\n").encode())


def gains(document: Row, strategy: str, factor: float, name: str) -> list[float]:
    """dB over plain training on set `name`, one figure per seed."""
    by_seed: dict[str, dict[int, float]] = {
        kind: {
            r["seed"]: r["psnr"][name]
            for r in document["rows"]
            if (r["strategy"], r["factor"]) == (kind, f)
        }
        for kind, f in ((PLAIN, 1.0), (strategy, factor))
    }
    both = sorted(by_seed[PLAIN].keys() & by_seed[strategy].keys())
    return [by_seed[strategy][seed] - by_seed[PLAIN][seed] for seed in both]


def markdown(document: Row) -> str:
    """The table: mean dB, and the gain over plain training with its spread over the seeds."""
    sets = list(document["teacher"]["psnr"])
    columns = {"training": "training", "weight": "weight", "seeds": "seeds"}
    columns |= {key: text for n in sets for key, text in ((n, n), (f"{n} gain", "gain"))}
    rows: list[Row] = []
    order = [PLAIN, *STRATEGIES]
    figures: dict[tuple[str, float], list[dict[str, float]]] = {}
    for done in sorted(document["rows"], key=lambda r: (order.index(r["strategy"]), -r["factor"])):
        figures.setdefault((done["strategy"], done["factor"]), []).append(done["psnr"])
    for (kind, factor), own in figures.items():
        row: Row = {"training": PLAIN, "seeds": len(own)}
        if kind != PLAIN:
            weight = f"{STRATEGIES[kind].own_weight * factor:g}"
            row |= {"training": STRATEGIES[kind].title, "weight": weight}
        for name in sets:
            row[name] = f"{statistics.fmean(psnr[name] for psnr in own):.2f}"
            if kind != PLAIN:
                row[f"{name} gain"] = _gain(gains(document, kind, factor, name))
        rows.append(row)
    teacher = document["teacher"]
    rows.append(
        {"training": f"(teacher: {teacher['name']})"}
        | {name: f"{teacher['psnr'][name]:.2f}" for name in sets}
    )
    setup = document["setup"]
    facts = (
        f"Student {setup['student']}, {setup['first_steps']} plain steps, then {setup['steps']} as "
        f"the row says, of {setup['batch']} patches of "
        f"{setup['patch']}x{setup['patch']} LR pixels, {setup['batches']} different batches from "
        f"{document['images']} photos. dB, {document['protocol']}. Gain: mean over the seeds of "
        "the difference to plain training with the same seed, and the standard deviation of that "
        "difference."
    )
    return f"{table(rows, columns)}\n{facts}\n"


def _gain(values: list[float]) -> str:
    spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):+.3f}{spread}"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m edgesr.benchmarks.distillation", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--teacher", help="network with weights: name or checkpoint")
    parser.add_argument("--architecture", help="of a checkpoint whose keys do not tell")
    parser.add_argument("--scale", type=int, help="of a checkpoint whose keys do not tell")
    parser.add_argument("--data", nargs="+", type=Path, help="folders of photos")
    parser.add_argument("--cache", type=Path, default=Path("runs/cache"))
    parser.add_argument("--work", type=Path, default=Path("runs/distillation"))
    parser.add_argument("--student", default=Setup.student)
    parser.add_argument("--first-steps", type=int, default=Setup.first_steps)
    parser.add_argument("--steps", type=int, default=Setup.steps)
    parser.add_argument("--batches", type=int, default=Setup.batches)
    parser.add_argument("--strategies", nargs="+", default=list(STRATEGIES), choices=STRATEGIES)
    parser.add_argument(
        "--factors", nargs="+", type=float, default=[1.0], help="on the strategies' own weights"
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--sets", nargs="+", default=["set5", "set14"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--markdown", action="store_true", help="print the table, measure nothing")
    parser.add_argument("--page", type=Path, help="put the table into this file")
    parser.add_argument("--out", type=Path, default=RESULT, help="JSON, extended")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(chosen.threads)
    try:
        document = json.loads(chosen.out.read_text()) if chosen.markdown else _measured(chosen)
        text = markdown(document)
        if chosen.page:
            replace_section(chosen.page, "distillation", text)
    except EdgesrError as error:
        sys.stderr.write(f"edgesr: {error}\n")
        return error.exit_code
    sys.stdout.write(text)
    return 0


def _measured(chosen: argparse.Namespace) -> Row:
    if not chosen.teacher or not chosen.data:
        raise UsageError("a run needs --teacher and --data")
    setup = Setup(
        student=chosen.student, first_steps=chosen.first_steps, steps=chosen.steps,
        batches=chosen.batches,
    )  # fmt: skip
    scale = int(create(setup.student).scale)  # type: ignore[arg-type]
    teacher = load(chosen.teacher, architecture=chosen.architecture, scale=chosen.scale)
    cache = PatchCache(chosen.data, scale, chosen.cache)
    return run(
        chosen.strategies, chosen.factors, chosen.seeds, setup, teacher, cache,
        judges(chosen.sets, scale), chosen.work, chosen.out,
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
