"""Kernels as users bring them: good ones are read, wrong ones are explained."""

from __future__ import annotations

import numpy as np
import pytest

from edgesr.adapt.kernel import centre_of, check_kernel, read_kernel
from edgesr.data.degradations.gaussian import anisotropic_gaussian
from edgesr.errors import BadFileError

GOOD = anisotropic_gaussian(15, 3.0, 1.5, 0.7)


def saved(tmp_path, values):
    path = tmp_path / "kernel.npy"
    np.save(path, values)
    return path


def test_a_good_kernel_comes_back_with_sum_one(tmp_path):
    kernel = read_kernel(saved(tmp_path, (GOOD * 1.004).astype(np.float32)))
    assert kernel.dtype == np.float64
    assert kernel.sum() == pytest.approx(1, abs=1e-12)
    np.testing.assert_allclose(kernel, GOOD, atol=1e-6)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (GOOD * 2, "sums to 2"),
        (np.zeros((15, 15)), "sums to 0"),
        (np.where(np.eye(15), np.nan, GOOD), "15 NaN or infinite of 225"),
        (GOOD[None], "shape"),
        (np.empty((0, 3)), "shape"),
        (np.ones((80, 80)) / 6400, "80x80"),
        (GOOD.astype(np.complex128), "complex"),
        (np.array([["a"]]), "not real numbers"),
    ],
)
def test_wrong_kernels_are_explained(tmp_path, values, message):
    with pytest.raises(BadFileError, match=message):
        read_kernel(saved(tmp_path, values))


def test_files_that_are_no_kernels(tmp_path):
    with pytest.raises(BadFileError, match="does not exist"):
        read_kernel(tmp_path / "none.npy")
    text = tmp_path / "text.npy"
    text.write_text("0.1 0.2")
    with pytest.raises(BadFileError, match=r"no \.npy file"):
        read_kernel(text)
    several = tmp_path / "several.npy"
    with several.open("wb") as file:
        np.savez(file, a=GOOD, b=GOOD)
    with pytest.raises(BadFileError, match="several arrays"):
        read_kernel(several)
    objects = saved(tmp_path, np.array([{"code": 1}], dtype=object))
    with pytest.raises(BadFileError, match=r"no \.npy file"):
        read_kernel(objects)


def test_centre_is_where_the_mass_is():
    shifted = anisotropic_gaussian(15, 2.0, 2.0, 0.0, shift=0.5)
    assert centre_of(check_kernel(shifted)) == pytest.approx((0.5, 0.5), abs=1e-3)
    delta = np.zeros((5, 7))
    delta[1, 5] = 1
    assert centre_of(delta) == (-1, 2)
