"""A recipe, stage by stage: train, quantize with training in the loop, export.

Every stage has a folder of its own, so that the same command goes on where it stopped: finished
stages are read, the one that was stopped resumes to the step.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors.torch import save as to_bytes

from edgesr.data.bicubic import crop_to_multiple, imresize
from edgesr.data.datasets import SAMPLES, calibration_samples, dataset
from edgesr.errors import UsageError
from edgesr.export.pipeline import export, prepare
from edgesr.manifest import write_atomically
from edgesr.models import create
from edgesr.models.intake import load
from edgesr.network import Network
from edgesr.quantize import quantize, store
from edgesr.quantize.qat import Options, adapt
from edgesr.recipes.schema import Recipe, Stage
from edgesr.recipes.soft_labels import check, soften
from edgesr.train.distil import STRATEGIES, Teacher
from edgesr.train.loop import Engine, Progress, Schedule, train
from edgesr.train.objective import Objective, Reconstruction
from edgesr.train.patches import PatchCache
from edgesr.train.start import learn_only, quiet_tail, warm_start
from edgesr.train.validation import PsnrOn


class Reported(Protocol):
    """What is shown of a stage: how far it is, and in words."""

    @property
    def step(self) -> int: ...
    @property
    def steps(self) -> int: ...


Report = Callable[[str, Reported], None]


@dataclass(frozen=True)
class Outcome:
    """What a recipe made."""

    weights: Path
    """Training form, safetensors."""
    quantized: Path | None = None
    """After QAT: NAME.int8.safetensors."""
    artifact: Path | None = None
    """The exported file; its manifest lies beside it."""
    validation: float | None = None
    """dB of the last stage's average, `protocol`."""
    int8: float | None = None
    """dB after QAT on the same images, or the middle of them."""
    protocol: str = ""


def run(
    recipe: Recipe, out: Path, *, cache: Path = Path("runs/cache"),
    report: Report = lambda stage, progress: None, force: bool = False,
) -> Outcome:  # fmt: skip
    """Do what a recipe says, or what is left of it.

    Args:
        recipe: from `read`.
        out: folder of this run: states, logs, weights and the exported file.
        cache: folder for decoded copies of the photos.
        report: called with a stage's name and its progress.
        force: overwrite an exported file.

    Raises:
        UsageError: no data; a network that cannot start from another's weights.
        BadFileError: missing folders, corrupt images.
        EdgesrError: as `train`, `adapt` and `export`.
    """
    if not recipe.data:
        raise UsageError("no training photos: give folders with --data, or `data` in the recipe")
    for stage in recipe.stage.values():  # before hours of training, not after
        if stage.soft_labels:
            student = create(stage.network or recipe.network)
            check(load(stage.soft_labels), _whole(student))
        if stage.teacher:
            load(stage.teacher, architecture=stage.teacher_architecture or None)
    kitchen = _Kitchen(recipe, out, cache)
    network: Network | None = None
    for name, stage in recipe.stage.items():
        network = kitchen.cook(name, stage, network, report)
    assert network is not None
    weights = out / f"{network.name}.safetensors"
    if int(os.environ.get("RANK", "0")) > 0:
        return Outcome(weights)  # one process writes and quantizes
    steps = sum(stage.steps for stage in recipe.stage.values())
    facts = {"network": network.name, "steps": str(steps), "seed": str(recipe.seed)}
    tensors = {k: v.cpu().contiguous() for k, v in network.module.state_dict().items()}
    write_atomically(weights, to_bytes(tensors, metadata=facts))
    judge = kitchen.judge(network)
    outcome = Outcome(weights, validation=kitchen.last, protocol=str(judge.protocol))
    model: Any = network
    if recipe.qat:
        outcome, model = kitchen.adapt(network, outcome, report)
    if recipe.export:
        plan = recipe.export
        artifact = export(
            model, target=plan.target, precision=plan.precision or None,
            shape=_shape(plan.shape), out=out, force=force,
        )  # fmt: skip
        outcome = replace(outcome, artifact=artifact.path)
    return outcome


class _Kitchen:
    """The recipe, its photos, and what has been measured last."""

    def __init__(self, recipe: Recipe, out: Path, cache: Path) -> None:
        self.recipe, self.out, self.cache = recipe, out, cache
        self.last: float | None = None
        self._patches: dict[int, PatchCache] = {}

    def cook(self, name: str, stage: Stage, before: Network | None, report: Report) -> Network:
        """One stage: a network with the averaged weights."""
        recipe = self.recipe
        torch.manual_seed(recipe.seed)
        network = create(stage.network or recipe.network)
        if stage.tail != 1.0:
            quiet_tail(network, stage.tail)
        if stage.start != "previous":
            before = None if stage.start == "random" else load(stage.start)
        if before is not None:
            warm_start(network, before)
        learn_only(network, stage.learn)
        schedule = Schedule(
            steps=stage.steps, batch=stage.batch, patch=stage.patch, rate=stage.rate,
            final_rate=stage.final_rate, warm_up=stage.warm_up, shape=stage.shape,
            milestones=stage.milestones, factor=stage.factor, clip=stage.clip,
            averaging=stage.averaging, optimizer=stage.optimizer, seed=recipe.seed,
        )  # fmt: skip
        engine = Engine(
            recipe.device, recipe.precision, compile=recipe.compile, workers=recipe.workers,
            tensorboard=recipe.tensorboard,
        )  # fmt: skip

        def tell(progress: Progress) -> None:
            self.last = progress.validation
            report(name, progress)

        judge = self.judge(network)
        average = train(
            network, self.labels(name, stage, network, report), self.out / name, schedule,
            objective=_objective(network, stage), validation=judge if judge.pairs else None,
            every=recipe.every, report=tell, engine=engine,
        )  # fmt: skip
        return network.with_module(average.to("cpu"))

    def patches(self, network: Network) -> PatchCache:
        """Training photos at the network's scale, less those kept."""
        recipe, scale = self.recipe, _whole(network)
        if scale not in self._patches:
            folders = [_folder(name) for name in recipe.data]
            kept = 0 if recipe.validation else recipe.kept
            self._patches[scale] = PatchCache(
                folders, scale, self.cache, kept=kept, megapixels=recipe.megapixels
            )
        return self._patches[scale]

    def labels(self, name: str, stage: Stage, network: Network, report: Report) -> PatchCache:
        """The photos of a stage: with their originals, or with soft labels."""
        patches = self.patches(network)
        if not stage.soft_labels:
            return patches
        return soften(
            patches, load(stage.soft_labels),
            report=lambda labelled: report(f"{name}, soft labels", labelled),
        )  # fmt: skip

    def judge(self, network: Network) -> PsnrOn:
        """PSNR on the validation set, or on the photos kept."""
        scale = _whole(network)
        if not self.recipe.validation:
            return PsnrOn(self.patches(network).held_out(), scale, network.colour)
        images = [crop_to_multiple(hr, scale) for _, hr in dataset(self.recipe.validation)]
        return PsnrOn([(imresize(hr, 1 / scale), hr) for hr in images], scale, network.colour)

    def adapt(self, network: Network, outcome: Outcome, report: Report) -> tuple[Outcome, Any]:
        """The network in 8 bits, trained to live with them."""
        plan = self.recipe.qat
        assert plan is not None
        path = self.out / f"{network.name}{store.SUFFIX}"
        module = network.module.eval().requires_grad_(False)
        lowered, plain, certificate = prepare(network.with_module(module))
        start = replace(
            quantize(lowered, plain, calibration_samples()), certificate=certificate.to_dict()
        )
        options = Options(
            steps=plan.steps, batch=plan.batch, patch=plan.patch, rate=plan.rate,
            distil=plan.distil, ranges=plan.ranges, range_rate=plan.range_rate,
            every=plan.every, seed=self.recipe.seed,
        )  # fmt: skip
        patches, pairs = self.patches(network), list(self.judge(network).pairs)
        result = adapt(
            start, patches, options, validation=pairs, state=path.with_name(path.name + ".state"),
            forbidden=() if self.recipe.validation == "" else [hr for _, hr in pairs],
            report=lambda progress: report("qat", progress),
        )  # fmt: skip
        store.save(result.quantized, path)
        done = replace(outcome, quantized=path, int8=result.best_psnr, protocol=result.protocol)
        return done, result.quantized


def _objective(network: Network, stage: Stage) -> Objective:
    image = Reconstruction(stage.loss, stage.squared_from)
    if not stage.distil:
        return image
    teacher = Teacher(
        load(stage.teacher, architecture=stage.teacher_architecture or None),
        stage.teacher_points,
    )
    options: dict[str, Any] = {"weight": stage.distil_weight, "reconstruction": image}
    if stage.assistant:
        options["assistant"] = create(stage.assistant)
    return STRATEGIES[stage.distil](network, teacher, **options)


def _folder(name: str) -> Path:
    return SAMPLES / "calibration" if name == "samples" else Path(name)


def _whole(network: Network) -> int:
    if not isinstance(network.scale, int):
        raise UsageError(f"recipes train networks of one whole scale, not `{network.name}`")
    return network.scale


def _shape(text: str) -> tuple[int, int] | None:
    if text == "dynamic":
        return None
    height, cross, width = text.partition("x")
    if not (cross and height.isdecimal() and width.isdecimal()):
        raise UsageError(f"export.shape `{text}`: write HEIGHTxWIDTH (360x640) or dynamic")
    return int(height), int(width)
