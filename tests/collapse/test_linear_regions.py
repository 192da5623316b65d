"""Whatever a stranger wires from linear pieces: folding it does not change the function."""

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, note, settings
from linear_regions import (
    branch_sums,
    convolutions,
    module_channels,
    twin,
    wirings,
    work,
)

from edgesr.collapse import algebra
from edgesr.collapse.fold import fold
from edgesr.collapse.rules import RULES

SIZES = ((33, 41), (19, 23))
torch.set_num_threads(1)  # tiny tensors: more threads only wait for each other
QUIET = {"deadline": None, "suppress_health_check": list(HealthCheck), "derandomize": True,
         "database": None, "report_multiple_bugs": False}  # fmt: skip


def images(module):
    """Noise of odd size, not the images of the certificate."""
    generator = torch.Generator().manual_seed(99)
    shape = module_channels(module)
    return [torch.rand(1, shape, *size, generator=generator, dtype=torch.float64) for size in SIZES]


def folded(module, **options):
    result = twin(module)
    fold(result, images(module)[0], **options)
    return result


def assert_same_map(source, result, *, margin=0):
    """Largest difference relative to the largest value; `margin` pixels at each side left out."""
    for image in images(source):
        expected, found = source(image), result(image)
        assert expected.shape == found.shape
        error = (expected - found).abs()
        if margin:
            error = error[:, :, margin:-margin, margin:-margin]
        largest = expected.abs().max().clamp_min(1e-12)
        # Written so that NaN fails.
        assert error.numel() == 0 or bool((error / largest).max() <= 1e-9), str(result.graph)


def assert_never_more_work(source, result):
    assert work(result, *SIZES[0]) <= work(source, *SIZES[0])
    assert len(convolutions(result)) <= len(convolutions(source))


@settings(max_examples=80, **QUIET)
@given(wirings())
def test_folding_any_wiring_keeps_the_function(source):
    note(str(source.graph))
    result = folded(source)
    assert_same_map(source, result)
    assert_never_more_work(source, result)


@settings(max_examples=50, **QUIET)
@given(branch_sums())
def test_a_sum_of_branches_is_one_convolution(source):
    """RepVGG, ACNet, DBB, ECBSR, SESR: none is named, all are this."""
    note(str(source.graph))
    result = folded(source)
    assert_same_map(source, result)
    calls = [n for n in result.graph.nodes if n.op == "call_function"]
    assert len(calls) == len(convolutions(result)) == 1


@settings(max_examples=40, **QUIET)
@given(wirings(steps=5, nonlinear=False))
def test_allowing_the_border_changes_only_the_border(source):
    note(str(source.graph))
    result = folded(source, allow_border=True)
    assert_same_map(source, result, margin=9)
    assert_never_more_work(source, result)


# --- a broken rule is caught ------------------------------------------------------------------


def _forget_groups(weight, kernel, step, groups):
    """Expands a grouped weight as if every group read the first channels."""
    return CORRECT_COMPOSE(weight, kernel[: weight.shape[1]], step, 1)


def _forget_dilation(weight, kernel, step, groups):
    return CORRECT_COMPOSE(weight, kernel, algebra.ONE, groups)


def _forget_flip(weight, kernel, step, groups):
    return CORRECT_COMPOSE(weight.flip((2, 3)), kernel, step, groups)


CORRECT_COMPOSE = algebra._compose


def _forget_inner_bias(inner, weight, *, bias=None, **options):
    result = CORRECT_CONVOLVE(inner, weight, bias=bias, **options)
    return algebra.replace(result, bias=torch.zeros_like(result.bias) if bias is None else bias)


CORRECT_CONVOLVE = algebra.convolve


def _believe_every_border(inner, sides, value=0.0):
    return algebra.replace(CORRECT_PAD(inner, sides, value), exact=True)


CORRECT_PAD = algebra.pad


def _add_corners(left, right):
    """Aligns kernels at their first tap."""
    return CORRECT_SUM(left, algebra.replace(right, offset=left.offset))


CORRECT_SUM = algebra._sum


def _scale_kernel_only(inner, factors):
    return algebra.replace(CORRECT_SCALE(inner, factors), bias=inner.bias)


CORRECT_SCALE = algebra.scale

BROKEN = {
    "groups": ("algebra._compose", _forget_groups),
    "dilation": ("algebra._compose", _forget_dilation),
    "flip": ("algebra._compose", _forget_flip),
    "alignment": ("algebra._sum", _add_corners),
    "inner bias": ("rules.convolution.convolve", _forget_inner_bias),
    "border of a convolution": ("rules.convolution.pad", _believe_every_border),
    "border of a padding": ("rules.borders.pad", _believe_every_border),
    "border of a pool": ("rules.pooling.pad", _believe_every_border),
    "scaled bias": ("rules.scaling.scale", _scale_kernel_only),
    "norm's bias": ("rules.batch_norm.scale", _scale_kernel_only),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_rule_is_caught(monkeypatch, name):
    target, broken = BROKEN[name]
    monkeypatch.setattr(f"edgesr.collapse.{target}", broken)
    caught = (AssertionError, RuntimeError)  # some cannot even be run

    @settings(max_examples=400, phases=[Phase.generate], **QUIET)
    @given(wirings())
    def the_property(source):
        assert_same_map(source, folded(source))

    with pytest.raises(caught):
        the_property()


def test_every_rule_is_drawn():
    """The strategies above reach every rule but those that tests of their own look at."""
    elsewhere = {"pixel_unshuffle", "neg"}
    names = {str(target).split(".")[1] for target in RULES}
    drawn = {
        "conv2d",
        "batch_norm",
        "mul",
        "div",
        "add",
        "sub",
        "cat",
        "slice",
        "pad",
        "avg_pool2d",
    }
    assert names == drawn | elsewhere
