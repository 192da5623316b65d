"""Plans cover an image, keep away from cuts, and give the whole image's pixels."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgesr.errors import UsageError
from edgesr.manifest import Manifest
from edgesr.runtime import SessionInfo, Tiling, make_plan, upscale
from edgesr.runtime.session import TensorSession
from edgesr.runtime.tiles import LEAST_SIDE, Plan, Span
from edgesr.runtime.upscale import Strip, _mirrored, _weights


class Exact(TensorSession):
    """A "network" in integers: a weighted sum over a window, zeros beyond the border, shuffled.

    Its result depends on every pixel of the window, on the phase of `multiple`, and on where the
    border is; so a wrong halo, a window at a wrong place or padding beyond the border all show.
    """

    def __init__(self, tiling: Tiling, scale: int = 2) -> None:
        self._tiling = tiling
        self.manifest = Manifest(
            network="exact", artifact="exact", target="test", precision="fp32", scale=scale,
            colour="rgb", value_range=255.0, layout="NHWC", dtype="float32",
            height=tiling.height, width=tiling.width, pad_multiple=tiling.multiple,
        )  # fmt: skip
        self.sizes: set[tuple[int, int]] = set()

    def tiling(self) -> Tiling:
        return self._tiling

    def info(self) -> SessionInfo:
        return SessionInfo("test", "0", "cpu", 1)

    def infer(self, tensor):
        image = tensor[0].astype(np.int64)
        height, width, _ = image.shape
        self.sizes.add((height, width))
        reach = self._tiling.halo or 0
        padded = np.pad(image, ((reach, reach), (reach, reach), (0, 0)))
        total = np.zeros_like(image)
        corners = itertools.product((0, reach, 2 * reach), repeat=2)  # the window's rim is enough
        for weight, (dy, dx) in enumerate(corners, start=1):
            total += weight * padded[dy : dy + height, dx : dx + width]
        y, x = np.ogrid[:height, :width]
        phase = (y % self._tiling.multiple) * 5 + (x % self._tiling.multiple) * 3
        total += phase[..., None]
        scale = self.manifest.scale
        big = total.repeat(scale, 0).repeat(scale, 1)
        big += np.arange(big.shape[0])[:, None, None] % scale * 7
        return (big % 256).astype(np.float32)[None]


def pictures(height: int, width: int):
    return np.random.default_rng(height * 1000 + width).integers(0, 256, (height, width, 3), "u1")


cuts = st.builds(
    dict,
    height=st.integers(1, 60),
    width=st.integers(1, 60),
    halo=st.integers(0, 6),
    multiple=st.sampled_from([1, 1, 2, 3, 4]),
)


@given(cuts, st.integers(1, 40), st.integers(1, 2000))
@settings(max_examples=150, deadline=None)
def test_tiles_of_any_size_give_the_whole_image(cut, tile, smallest):
    tiling = Tiling(halo=cut["halo"], multiple=cut["multiple"], smallest_window=smallest)
    image = pictures(cut["height"], cut["width"])
    whole = upscale(Exact(tiling), image, tile=0)
    session = Exact(tiling)
    np.testing.assert_array_equal(upscale(session, image, tile=tile), whole)
    assert len(session.sizes) == 1  # one window size: kernels are chosen once
    padded = [-(-n // tiling.multiple) * tiling.multiple for n in image.shape[:2]]
    (size,) = session.sizes
    assert size[0] * size[1] >= min(smallest, padded[0] * padded[1])


@given(cuts, st.integers(0, 30), st.integers(0, 30))
@settings(max_examples=150, deadline=None)
def test_a_fixed_input_gives_the_whole_image(cut, more_rows, more_columns):
    """Border tiles are flush with the border, so its zero padding falls on the image's own."""
    multiple, halo = cut["multiple"], cut["halo"]
    least = 2 * -(-halo // multiple) * multiple + multiple
    fixed = [least + more // multiple * multiple for more in (more_rows, more_columns)]
    image = pictures(max(cut["height"], fixed[0]), max(cut["width"], fixed[1]))
    session = Exact(Tiling(*fixed, multiple=multiple, halo=halo))
    plan = make_plan(*image.shape[:2], session.tiling())
    assert plan.exact
    whole = upscale(Exact(Tiling(multiple=multiple, halo=halo)), image, tile=0)
    np.testing.assert_array_equal(upscale(session, image), whole)


@given(cuts, st.integers(1, 40))
@settings(max_examples=100, deadline=None)
def test_what_is_kept_lies_a_halo_away_from_every_cut(cut, tile):
    plan = make_plan(
        cut["height"], cut["width"], Tiling(halo=cut["halo"], multiple=cut["multiple"]), tile
    )
    for spans, length in ((plan.rows, cut["height"]), (plan.columns, cut["width"])):
        assert spans[0].start == 0 and spans[0].keep_start == 0
        end = -(-length // cut["multiple"]) * cut["multiple"]
        assert spans[-1].stop == spans[-1].keep_stop == end
        for span, following in itertools.pairwise(spans):
            assert span.keep_stop == following.keep_start
            assert span.stop - span.keep_stop >= cut["halo"]
            assert following.keep_start - following.start >= cut["halo"]
        assert all(span.start % cut["multiple"] == 0 for span in spans)


def test_an_image_smaller_than_a_fixed_input_is_mirrored_and_said_to_differ():
    session = Exact(Tiling(20, 30, halo=2))
    image = pictures(7, 40)
    plan = make_plan(7, 40, session.tiling())
    assert not plan.exact and "40x7" in plan.why_inexact
    out = upscale(session, image)
    whole = upscale(Exact(Tiling(halo=2)), image, tile=0)
    assert out.shape == whole.shape
    # Away from the mirrored side nothing changes: it lies below, out of sight.
    np.testing.assert_array_equal(out[: 2 * 5], whole[: 2 * 5])


@pytest.mark.parametrize("length", [1, 2, 3, 7])
def test_mirroring_reflects_at_the_last_pixel(length):
    values = np.arange(length)
    want = np.pad(values, (0, 20 - length), mode="reflect" if length > 1 else "edge")
    np.testing.assert_array_equal(values[_mirrored(Span(0, 20, 0, 20), length)], want)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (2, 3)])
@pytest.mark.parametrize(
    "tiling", [Tiling(halo=3), Tiling(16, 16, halo=3), Tiling(halo=3, multiple=4)]
)
def test_the_smallest_images(size, tiling):
    assert upscale(Exact(tiling), pictures(*size)).shape == (2 * size[0], 2 * size[1], 3)


def test_a_large_image_is_cut_by_memory():
    lean, hungry = (
        make_plan(3000, 4000, Tiling(halo=6, bytes_per_pixel=cost)) for cost in (500, 50_000)
    )
    for plan, cost in ((lean, 500), (hungry, 50_000)):
        window = (plan.rows[0].stop - plan.rows[0].start) * plan.columns[0].stop
        assert window <= 512 * 512 and window * cost <= 400 << 20
    assert len(hungry) > len(lean) > 1


def test_a_halo_that_fills_the_fixed_input_is_refused():
    with pytest.raises(UsageError, match="halo of 10"):
        make_plan(100, 100, Tiling(20, 20, halo=10))
    assert len(make_plan(20, 20, Tiling(20, 20, halo=10))) == 1


@pytest.mark.parametrize("tile", [16, 0])
def test_a_tile_size_for_a_fixed_input_is_refused(tile):
    with pytest.raises(UsageError, match="fixed at 20x20"):
        make_plan(100, 100, Tiling(20, 20, halo=2), tile)


def test_nonsense_is_refused():
    with pytest.raises(UsageError):
        make_plan(10, 10, Tiling(halo=1), -3)
    with pytest.raises(UsageError):
        make_plan(0, 10, Tiling(halo=1))


# --- blending -----------------------------------------------------------------------------------


def weight_map(plan: Plan, scale: int):
    """What all tiles together weigh at each pixel."""
    rows, columns = (
        [Strip.of(span, Fraction(scale)) for span in spans] for spans in (plan.rows, plan.columns)
    )
    total = np.zeros((rows[-1].stop, columns[-1].stop))
    for r, row in enumerate(rows):
        for c, column in enumerate(columns):
            both = _weights(rows, r)[:, None] * _weights(columns, c)
            total[row.start : row.stop, column.start : column.stop] += both
    return total


@given(st.integers(1, 200), st.integers(1, 200), st.integers(1, 60), st.sampled_from([1, 2, 4]))
@settings(max_examples=150, deadline=None)
def test_weights_of_blended_tiles_add_up_to_one(height, width, tile, multiple):
    plan = make_plan(height, width, Tiling(multiple=multiple), tile)
    np.testing.assert_allclose(weight_map(plan, 3), 1, atol=1e-5)


def test_blending_hides_the_seams():
    """A network that adds each tile's own mean: hard cuts step, blended ones do not."""

    class Drifting(Exact):
        def infer(self, tensor):
            out = tensor.repeat(2, 1).repeat(2, 2)
            return np.float32(0.5) * out + np.float32(0.5) * tensor.mean()

    y, x = np.mgrid[:300, :300]
    image = np.repeat(((x + y) * 255 // 600)[..., None], 3, axis=2).astype(np.uint8)
    session = Drifting(Tiling())
    plan = make_plan(300, 300, session.tiling(), 64)
    assert len(plan) > 9 and not plan.exact and "blend" in plan.why_inexact
    out = upscale(session, image, tile=64).astype(int)
    # Neighbouring tiles differ by tens of levels; no two neighbouring pixels may.
    means = [image[r.start : r.stop, : plan.columns[0].stop].mean() for r in plan.rows]
    assert max(np.abs(np.diff(means))) > 15
    assert max(np.abs(np.diff(out, axis=0)).max(), np.abs(np.diff(out, axis=1)).max()) <= 3


def test_constant_stays_constant_when_blended():
    class Same(Exact):
        def infer(self, tensor):
            return tensor.repeat(2, 1).repeat(2, 2)

    image = np.full((130, 170, 3), 200, np.uint8)
    assert (upscale(Same(Tiling()), image, tile=32) == 200).all()


def test_tiny_images_are_mirrored_for_networks_that_stride():
    session = Exact(Tiling())
    assert upscale(session, pictures(3, 5)).shape == (6, 10, 3)
    assert session.sizes == {(LEAST_SIDE, LEAST_SIDE)}


def test_progress_counts_every_tile():
    seen: list[tuple[int, int]] = []
    upscale(Exact(Tiling(halo=1)), pictures(30, 20), tile=8, progress=lambda *s: seen.append(s))
    assert [done for done, _ in seen] == list(range(1, len(seen) + 1))
    assert {total for _, total in seen} == {len(seen)} and len(seen) > 4
