"""An evaluation in pieces gives the figures of the whole."""

import numpy as np
import pytest
from edgesr.benchmarks.suite.pool import Outcome, attempt
from edgesr.benchmarks.suite.spread import evaluate_on
from PIL import Image

from edgesr.data.datasets import dataset
from edgesr.errors import EdgesrError
from edgesr.evaluate import evaluate
from edgesr.metrics.psnr import LITERATURE
from edgesr.runtime import open_model


class Backwards:
    """Does the jobs in this process, the last first."""

    def run(self, jobs):
        for job in reversed(jobs):
            value, error = attempt(job.call, job.arguments)
            yield Outcome(job, value, error, 2)


@pytest.fixture
def images(tmp_path):
    random = np.random.default_rng(0)
    for name in ("b", "a", "c"):
        pixels = random.integers(0, 256, (40, 48, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    return dataset(tmp_path)


def test_same_figures_in_the_same_order(images):
    whole = evaluate(open_model("plain-m-x2"), images, protocols=(LITERATURE,), name="plain-m-x2")
    done = []
    parts = evaluate_on(
        Backwards(), "plain-m-x2", images, None, (LITERATURE,), seen=done.append
    )  # fmt: skip
    assert parts == whole and done == ["c", "b", "a"]


def test_an_image_that_fails_fails_the_mean(images):
    images.paths[1].write_bytes(b"no image")
    with pytest.raises(EdgesrError, match="b could not be judged"):
        evaluate_on(Backwards(), "plain-m-x2", images, None, (LITERATURE,), seen=lambda _: None)
