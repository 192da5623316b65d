"""Charts of the report: figures stand where the axes say, the front is the front."""

import math
import re
import xml.etree.ElementTree as ET

import pytest
from edgesr.benchmarks.report import axes, labels, pareto, roofline, svg, theme
from edgesr.benchmarks.report.distribution import Strip, density, distribution_chart, shorten
from edgesr.benchmarks.report.pareto import Bubble
from edgesr.benchmarks.report.roofline import Roof, Work
from hypothesis import example, given
from hypothesis import strategies as st

finite = st.floats(-1e6, 1e6, allow_nan=False)
positive = st.floats(1e-3, 1e6)
figures = st.lists(st.tuples(st.integers(1, 30), st.integers(20, 40)), min_size=1, max_size=25)


def drawn(chart, kind, style):
    """Elements of one kind and class, as mappings of their attributes."""
    root = ET.fromstring(chart)
    found = [e for e in root.iter() if e.tag.endswith(kind)]
    return [e for e in found if style in e.get("class", "").split()]


def words(chart):
    return ["".join(e.itertext()) for e in ET.fromstring(chart).iter() if e.tag.endswith("}text")]


@given(figures)
def test_front_is_what_nothing_beats(points):
    def beaten(a):
        return any(b[0] <= a[0] and b[1] >= a[1] and b != a for b in points)

    found = pareto.front(points)
    assert sorted(found) == [i for i, point in enumerate(points) if not beaten(point)]
    assert [points[i] for i in found] == sorted(points[i] for i in found)


def test_every_place_has_its_own_front():
    fast, slow = Bubble(1, 30, 1, "a", "phone"), Bubble(9, 29, 1, "b", "desk")
    assert pareto.fronts([slow, fast]) == {"desk": [0], "phone": [1]}


def test_staircase_rises_where_a_better_file_becomes_affordable():
    corners = pareto.staircase([(10, 100), (20, 60)], 50)
    assert corners == [(10, 100), (20, 100), (20, 60), (50, 60)]
    assert pareto.staircase([], 50) == []


@given(st.lists(finite, min_size=1, max_size=20), st.booleans())
@example([1.0, 5e-324], False)
@example([0.0, 5e-324], False)
def test_values_lie_within_their_axis(values, flipped):
    start, end = (300.0, 10.0) if flipped else (10.0, 300.0)
    axis = axes.fit(values, start, end)
    assert all(10 - 1e-6 <= axis(value) <= 300 + 1e-6 for value in values)
    ticks = axis.ticks()
    assert len(ticks) >= 2 and ticks == sorted(set(ticks))
    assert all(axis.low - 1e-6 * abs(axis.low) <= tick for tick in ticks)
    assert len(axes.labels(ticks, log=axis.log)) == len(ticks)


@given(st.lists(positive, min_size=2, max_size=20))
def test_logarithmic_axis_spaces_ratios_evenly(values):
    axis = axes.fit(values, 0, 1000, log=True)
    middle = math.sqrt(min(values) * max(values))
    between = (axis(min(values)) + axis(max(values))) / 2
    assert axis(middle) == pytest.approx(between, abs=1e-6)


def test_axis_turns_logarithmic_by_itself():
    assert not axes.fit([10, 50], 0, 1).log
    assert axes.fit([10, 500], 0, 1).log
    assert not axes.fit([0, 500], 0, 1).log


def test_ticks_are_round_and_told_apart():
    assert axes.Axis(0, 10, 0, 1).ticks(5) == [0, 2, 4, 6, 8, 10]
    assert axes.labels([29.64, 29.66], log=False) == ["29.64", "29.66"]
    assert axes.Axis(8, 1200, 0, 1, log=True).ticks(8) == [10, 20, 50, 100, 200, 500, 1000]


def test_bubbles_stand_at_their_figures():
    bubbles = [
        Bubble(10, 29.0, 100, "small", "cpu", 0),
        Bubble(20, 30.0, 400, "large", "cpu", 0),
        Bubble(30, 31.0, None, "guess", "npu", 1, estimated=True),
    ]
    chart = pareto.pareto_chart(bubbles, width=700, height=400)
    x = axes.fit([10, 20, 30], 46, 700 - 14, pad=0.12)
    y = axes.fit([29, 30, 31], 400 - 40, 14, log=False, pad=0.15)
    discs = {e[0].text.split(":")[0]: e for e in drawn(chart, "}circle", "dot")}
    assert set(discs) == {"small", "large"}
    for bubble in bubbles[:2]:
        disc = discs[bubble.name]
        assert float(disc.get("cx")) == pytest.approx(x(bubble.ms), abs=0.1)
        assert float(disc.get("cy")) == pytest.approx(y(bubble.db), abs=0.1)
    areas = {name: float(disc.get("r")) ** 2 for name, disc in discs.items()}
    assert areas["large"] / areas["small"] == pytest.approx(4, rel=0.05)
    assert {"small", "large", "guess"} <= set(words(chart))


def test_estimates_look_different_from_measurements():
    chart = pareto.pareto_chart([
        Bubble(10, 29.0, 100, "measured", "cpu"),
        Bubble(12, 30.0, 100, "better", "cpu"),
        Bubble(5, 29.0, 100, "guess", "npu", 1, estimated=True),
        Bubble(7, 30.0, 100, "better guess", "npu", 1, estimated=True),
        Bubble(9, 30.0, 100, "alone", "phone", 2),
    ])  # fmt: skip
    guesses = drawn(chart, "}path", "dot")
    assert len(guesses) == 2 and all("estimate" in guess[0].text for guess in guesses)
    measured = drawn(chart, "}circle", "dot")[0]
    assert "estimate" not in measured.get("class") + measured[0].text
    fronts = drawn(chart, "}path", "front")
    assert ["estimate" in front.get("class") for front in fronts] == [False, True]


boxes = st.lists(
    st.tuples(st.floats(0, 400), st.floats(0, 300), st.floats(2, 15), st.text("abc-", min_size=1)),
    min_size=1, max_size=20,
)  # fmt: skip


@given(boxes)
def test_names_cover_no_other_name_and_no_other_disc(found):
    discs = [((x, y), radius) for x, y, radius, _ in found]
    names = [name for *_, name in found]
    placed = labels.place_labels(discs, names, (0, 0, 400, 300))
    covered = [(label.index, labels.label_box(label, names[label.index])) for label in placed]
    for number, (index, box) in enumerate(covered):
        assert box[0] >= 0 and box[2] <= 400 and box[1] >= 0 and box[3] <= 300
        assert not any(labels.overlap(box, other) for _, other in covered[number + 1 :])
        for other, ((x, y), r) in enumerate(discs):
            assert other == index or not labels.overlap(box, (x - r, y - r, x + r, y + r))


def test_a_lone_name_stands_beside_its_disc():
    (label,) = labels.place_labels([((50, 50), 5)], ["net"], (0, 0, 400, 300))
    assert label.anchor == "start" and label.place[0] > 55


def test_roofs_and_works_stand_at_their_rates():
    works = [Work(50, 100, "net", "cpu"), Work(10, 20, "slow", "cpu")]
    roofs = [Roof(200, "int8 GEMM"), Roof(10, "copy", copies=True)]
    chart = roofline.roofline_chart(works, roofs, width=700, height=380)
    x = axes.fit([50, 10, 200 / 10], 52, 700 - 14, log=True, pad=0.25)
    y = axes.fit([100, 20, 200], 380 - 40, 18, log=True, pad=0.15)
    slope, level = sorted(drawn(chart, "}line", "roof"), key=lambda e: "copy" not in e.get("class"))
    assert float(level.get("y1")) == float(level.get("y2")) == pytest.approx(y(200), abs=0.1)
    # Bandwidth times intensity reaches the matrix products at 20 MAC per byte, and ends there.
    assert float(slope.get("x2")) == pytest.approx(x(20), abs=0.1)
    assert float(slope.get("y2")) == pytest.approx(y(200), abs=0.1)
    dots = {e[0].text.split(":")[0]: e for e in drawn(chart, "}circle", "dot")}
    assert float(dots["net"].get("cx")) == pytest.approx(x(50), abs=0.1)
    assert float(dots["net"].get("cy")) == pytest.approx(y(100), abs=0.1)


def test_median_and_tail_are_marked_where_they_are():
    samples = [10.0, 11.0, 12.0, 13.0, 30.0]
    chart = distribution_chart([Strip("net", samples)], width=700)
    x = axes.fit(samples, 10, 690, pad=0.03)
    (median,), (tail,) = drawn(chart, "}line", "median"), drawn(chart, "}line", "p90")
    assert float(median.get("x1")) == pytest.approx(x(12), abs=0.1)
    assert float(tail.get("x1")) == pytest.approx(x(23.2), abs=0.1)
    dots = [float(e.get("cx")) for e in drawn(chart, "}circle", "sample")]
    assert dots == pytest.approx([x(s) for s in samples], abs=0.1)


def test_density_peaks_where_the_samples_are():
    shape = density([10, 10.1, 9.9, 10, 20], [10, 15, 20])
    assert shape[0] == 1 and shape[1] < shape[2] < 0.5
    assert density([5, 5, 5], [4, 5]) == [0, 0]
    assert density([5], [5]) == [0]


def test_many_samples_are_thinned_but_their_median_is_not():
    chart = distribution_chart([Strip("net", [float(i + 1) for i in range(5000)])])
    assert len(drawn(chart, "}circle", "sample")) <= 400
    assert "2,500 ms, p90 4,500" in words(chart)


def test_narrow_charts_say_where_without_cutting_it_off():
    name = "plain-m-x3 int8, cpu, 2 threads"
    assert name in words(distribution_chart([Strip(name, [123.456, 130.0])], width=330))
    assert shorten("a" * 100, 64).endswith("\N{HORIZONTAL ELLIPSIS}")


def test_nothing_to_draw_draws_nothing():
    assert (
        pareto.pareto_chart([]) == roofline.roofline_chart([], []) == distribution_chart([]) == ""
    )


@given(st.text(max_size=40))
def test_names_cannot_break_out_of_a_chart(name):
    bubble = Bubble(1, 30, 1, name + "<script>x</script>\"'&", name)
    chart = pareto.pareto_chart([bubble], title=name + '"><script>')
    root = ET.fromstring(chart)
    assert not [e for e in root.iter() if e.tag.endswith("script")]


def test_no_place_is_no_number():
    with pytest.raises(ValueError, match="nan"):
        svg.coordinate(math.nan)


@pytest.mark.parametrize("colours", [theme.LIGHT, theme.DARK])
def test_a_chart_stands_alone(colours):
    alone = theme.standalone(pareto.pareto_chart([Bubble(1, 30, 1, "net", "cpu")]), colours)
    root = ET.fromstring(alone)
    assert root.get("width") == "720" and colours["card"] in alone
    assert "var(" not in alone and "url(" not in alone and "<style>" in alone


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a, b):
    light, dark = sorted((luminance(a), luminance(b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("colours", [theme.LIGHT, theme.DARK])
def test_colours_have_the_contrast_that_wcag_asks_for(colours):
    for text in ("ink", "soft", "accent", "bad", "warn", "good"):
        for behind in ("page", "card"):
            assert contrast(colours[text], colours[behind]) >= 4.5, (text, behind)
    for kind in ("bad", "warn", "good"):
        assert contrast(colours[kind], colours[f"{kind}-wash"]) >= 4.5, kind
    for series in range(theme.SERIES):
        assert contrast(colours[f"c{series}"], colours["card"]) >= 3, series
    assert theme.LIGHT.keys() == theme.DARK.keys()
    used = set(re.findall(r"var\(--([\w-]+)\)", theme.chart_style()))
    assert used <= colours.keys()
