"""Four columns: each is what it says it is, and every figure is the metric's."""

import math

import numpy as np
import pytest
from edgesr.export import export
from edgesr.export.pipeline import prepare
from edgesr.quantize import integer, quantize, store
from edgesr.quantize.session import ReferenceSession

from edgesr.data.datasets import Dataset, dataset
from edgesr.data.images import ImageFile, write_image
from edgesr.errors import UsageError
from edgesr.evaluate import low_resolution
from edgesr.metrics.psnr import LITERATURE, psnr
from edgesr.models.intake import load
from edgesr.precisions import EXPORTED, FLOAT, REFERENCE, RUNTIME, compare, four_columns
from edgesr.runtime import NetworkSession, open_model, upscale


@pytest.fixture(scope="module")
def quantized():
    rng = np.random.default_rng(0)
    lowered, plain, _ = prepare(load("plain-m-x3"))
    photo = np.kron(rng.integers(0, 256, (12, 12, 3), np.uint8), np.ones((8, 8, 1), np.uint8))
    return quantize(lowered, plain, [photo])


@pytest.fixture
def photos(tmp_path, scene) -> Dataset:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(2):
        image = np.kron(np.roll(scene, 31 * number, 1), np.ones((2, 2, 1), np.uint8))
        write_image(ImageFile(image), folder / f"{number}.png")
    return dataset(folder)


def test_figures_are_those_of_the_metric(quantized, photos):
    with four_columns(quantized) as columns:
        assert list(columns) == [FLOAT, EXPORTED, REFERENCE, RUNTIME]
        report = compare(columns, photos)
        label, image = next(iter(photos))
        lr, hr = low_resolution(image, 3)
        outputs = {column: upscale(session, lr) for column, session in columns.items()}
    assert np.array_equal(outputs[FLOAT], upscale(NetworkSession(quantized.network), lr))
    assert np.array_equal(outputs[REFERENCE], integer.run(quantized, lr))
    for column, sr in outputs.items():
        judged = report.images[label][column]
        assert judged.psnr == psnr(sr, hr, 3, LITERATURE)
        assert judged.against_float == psnr(sr, outputs[FLOAT], 3, LITERATURE)
    assert report.images[label][RUNTIME].identical > 0.99
    assert report.mean(FLOAT) - report.mean(RUNTIME) == report.drop(RUNTIME)
    worst, loss = report.worst(RUNTIME)
    assert loss == max(row[FLOAT].psnr - row[RUNTIME].psnr for row in report.images.values())
    assert worst in report.images and math.isfinite(loss)
    assert [row["column"] for row in report.rows()] == list(columns)


def test_a_file_that_is_there_is_the_column(quantized, photos, tmp_path):
    """And images smaller than its input are named: mirroring is not what precision costs."""
    path = export(quantized, target="tflite", shape=(160, 200), out=tmp_path).path
    with four_columns(quantized, target="tflite", artifacts={RUNTIME: path}) as columns:
        assert columns[RUNTIME].manifest.height == 160
        assert columns[EXPORTED].manifest.height < 64
        report = compare(columns, photos)
    assert report.mirrored == photos.labels
    assert list(tmp_path.glob("*.tflite")) == [path]


def test_the_exported_files_are_gone_afterwards(quantized):
    with four_columns(quantized) as columns:
        name = columns[RUNTIME].manifest.artifact
    assert name.endswith(".onnx")


def test_a_quantized_file_is_a_model_of_any_size(quantized, tmp_path, scene):
    path = tmp_path / "plain.int8.safetensors"
    store.save(quantized, path)
    session = open_model(path)
    assert np.array_equal(upscale(session, scene), integer.run(quantized, scene))
    assert np.array_equal(upscale(session, scene, tile=24), integer.run(quantized, scene))
    assert session.info().runtime == "integer reference"
    with pytest.raises(UsageError, match="litert"):
        open_model(path, runtime="litert")


def test_calibrated_images_and_mixed_scales_are_refused(quantized, photos):
    label, image = next(iter(photos))
    from edgesr.data.datasets import pixel_hash

    known = dict(quantized.calibration, images=[pixel_hash(low_resolution(image, 3)[0])])
    from dataclasses import replace

    session = ReferenceSession(replace(quantized, calibration=known))
    with pytest.raises(UsageError, match=label):
        compare({REFERENCE: session}, photos)
    other = NetworkSession(load("random:plain-s-x2"))
    with pytest.raises(UsageError, match=r"\[2, 3\]"):
        compare({REFERENCE: ReferenceSession(quantized), FLOAT: other}, photos)
