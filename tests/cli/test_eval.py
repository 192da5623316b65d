"""`edgesr eval`: the table, the JSON, the saved images and the mistakes."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image as Pillow
from typer.testing import CliRunner

from edgesr.cli import app
from edgesr.data.datasets import dataset
from edgesr.data.images import read_image
from edgesr.errors import BadFileError, EdgesrError, OutputExistsError, UsageError
from edgesr.evaluate import bicubic, evaluate
from edgesr.metrics.psnr import LITERATURE, RGB


@pytest.fixture
def photos(tmp_path, scene, noise):
    folder = tmp_path / "photos"
    folder.mkdir()
    Pillow.fromarray(scene).save(folder / "scene.png")
    Pillow.fromarray(noise).save(folder / "noise.png")
    return folder


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["eval", *map(str, arguments)])
    if isinstance(result.exception, EdgesrError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_table_shows_every_image_and_the_protocol(photos):
    text = run("bicubic", "--scale", 2, "--data", photos, "--rgb")
    report = evaluate(bicubic(2), dataset(photos), 2)
    for row in report.rows():
        line = next(line for line in text.splitlines() if f" {row['image']} " in line)
        for figure in ("psnr_y", "psnr_rgb"):
            assert f"{row[figure]:.2f}" in line
        assert f"{row['ssim_y']:.4f}" in line
    assert f"protocol: {LITERATURE}" in text and f"protocol: {RGB}" in text
    assert "x2, 2 images" in text


def test_summary_leaves_the_images_out(photos):
    text = run("bicubic", "--scale", 2, "--data", photos, "--summary")
    assert " mean " in text and " worst: noise " in text and " scene " not in text
    assert "RGB" not in text


def test_json_is_the_report(photos):
    found = json.loads(run("bicubic", "--scale", 3, "--data", photos, "--rgb", "--json"))
    report = evaluate(bicubic(3), dataset(photos), 3, name="bicubic")
    assert found == report.to_dict()
    assert found["protocols"]["Y"] == str(LITERATURE)


def test_saved_images_are_what_was_judged(photos, tmp_path):
    out = tmp_path / "out"
    run("bicubic", "--scale", 2, "--data", photos, "--save", out)
    kept: dict[str, np.ndarray] = {}
    evaluate(bicubic(2), dataset(photos), 2, seen=lambda name, sr: kept.update({name: sr}))
    assert sorted(p.name for p in out.iterdir()) == ["noise.png", "scene.png"]
    for name, sr in kept.items():
        assert np.array_equal(read_image(out / f"{name}.png").pixels, sr)
    with pytest.raises(OutputExistsError, match="--force"):
        run("bicubic", "--scale", 2, "--data", photos, "--save", out)
    run("bicubic", "--scale", 2, "--data", photos, "--save", out, "--force")


def test_mistakes(photos, tmp_path):
    with pytest.raises(UsageError, match="--scale"):
        run("bicubic", "--data", photos)
    with pytest.raises(UsageError, match="known sets"):
        run("bicubic", "--scale", 2, "--data", tmp_path / "nothing")
    (photos / "scene.png").write_bytes(b"")
    out = tmp_path / "out"
    with pytest.raises(BadFileError, match=r"scene\.png is empty"):
        run("bicubic", "--scale", 2, "--data", photos, "--save", out)


@pytest.mark.pack
@pytest.mark.parametrize(
    ("file", "expected"),
    [("rlfn/rlfn_x4.pth", (32.238, 0.8953)), ("rlfn/rlfn_ntire_x4.pth", (32.097, 0.8939))],
)
def test_published_checkpoints_give_their_figures(pack, monkeypatch, file, expected):
    """Who wrote the network, the weights and the paper is not us: PSNR and SSIM must agree."""
    monkeypatch.setenv("EDGESR_DATA", str(pack))
    found = json.loads(run(pack / "weights" / file, "--data", "set5", "--json"))
    mean = next(row for row in found["rows"] if row["image"] == "mean")
    assert mean["psnr_y"] == pytest.approx(expected[0], abs=0.002)
    assert mean["ssim_y"] == pytest.approx(expected[1], abs=0.00006)


def test_precisions_of_a_quantized_file_side_by_side(photos, tmp_path):
    from edgesr.export.pipeline import prepare
    from edgesr.quantize import quantize, store

    from edgesr.models.intake import load

    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    lowered, plain, _ = prepare(load("random:plain-s-x2"))
    path = tmp_path / "plain.int8.safetensors"
    store.save(quantize(lowered, plain, [noise]), path)
    facts = json.loads(run(path, "--data", photos, "--json"))
    names = ["torch fp32", "exported fp32", "integer reference", "runtime int8"]
    assert [row["column"] for row in facts["columns"]] == names
    assert {row["image"] for row in facts["images"]} == {"scene", "noise"}
    assert facts["protocol"] == str(LITERATURE)
    table = run(path, "--data", photos)
    assert all(name in table for name in (*names, "worst image", "scene", "protocol: "))
    plain_report = run(path, "--data", photos, "--no-precisions", "--summary")
    assert "bicubic" in plain_report and "torch fp32" not in plain_report
