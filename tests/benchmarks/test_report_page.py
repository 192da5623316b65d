"""The page: what goes in is joined, told apart, escaped and never flattered."""

import copy
import importlib
import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from edgesr.benchmarks.report import make_book, read_inputs, render, tables, write_page
from edgesr.benchmarks.report.crops import choose, make_panels
from edgesr.benchmarks.report.figures import (
    distribution_figures,
    pareto_figures,
    roofline_figures,
)
from edgesr.benchmarks.report.plots import write_plots
from typer.testing import CliRunner

from edgesr.cli import app
from edgesr.errors import BadFileError, EnvironmentLimitError, OutputExistsError

RESULTS = Path(importlib.import_module("edgesr.benchmarks").__file__).parent / "results"
SHA = "ab" * 32


def bench(**changes):
    """A result of `edgesr bench` with one row, as its JSON."""
    row = {
        "artifact": "net_int8.tflite", "runtime": "litert", "runtime_version": "2.3.0",
        "delegate": "XNNPACK", "threads": 1, "height": 360, "width": 640, "scale": 3,
        "precision": "int8", "samples": [10.0, 11.0, 12.0], "macs": 10**9, "sha256": SHA,
        "manifest": {"network": "net-x3", "precision": "int8", "size": 4096, "dtype": "uint8"},
        "bytes_moved": 10**8,
    }  # fmt: skip
    return {
        "version": 1, "rows": [row | changes], "plan": {}, "started": "2026-01-01T00:00:00+00:00",
        "peaks": [{"arithmetic": "int8", "threads": 1, "macs": 10**9, "samples": [5.0]}],
        "copies": [{"threads": 1, "bytes": 10**9, "samples": [100.0]}],
        "machine": {
            "cpu": "A fine chip", "cores": 2, "instructions": ["avx2"], "memory_gb": 8.0,
            "system": "Linux", "python": "3.11", "packages": {"edgesr": "0.1.0"},
        },
        "load": {"before": 0.1, "after": 0.1, "others": 0.0},
    }  # fmt: skip


def judged(**changes):
    """One entry of a suite's quality, as its JSON."""
    return {
        "artifact": "net_int8.tflite", "sha256": SHA, "network": "net-x3", "target": "tflite",
        "precision": "int8", "dataset": "set14", "protocol": "Y, shave 3", "images": 14,
        "column": "runtime int8", "psnr": {"torch fp32": 30.0, "runtime int8": 29.96},
        "against_float": {"torch fp32": None, "runtime int8": 51.25}, "bicubic": 27.5,
    } | changes  # fmt: skip


def suite(runs, quality=(), failures=()):
    return {
        "kind": "edgesr suite", "version": 1, "name": "s", "started": "2026", "runs": list(runs),
        "quality": list(quality), "failures": list(failures),
        "provenance": {"command": "edgesr bench --suite s"},
    }  # fmt: skip


@pytest.fixture
def book_of(tmp_path):
    def read(*documents):
        paths = []
        for number, document in enumerate(documents):
            paths.append(tmp_path / f"{number}.json")
            paths[-1].write_text(json.dumps(document))
        return make_book(read_inputs(paths))

    return read


class Outline(HTMLParser):
    """Tags that are open, to see that each is closed in turn."""

    VOID = ("meta", "link", "input", "br", "img")

    def __init__(self):
        super().__init__()
        self.open, self.seen, self.ids = [], [], []

    def handle_starttag(self, tag, attributes):
        self.seen.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.seen.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, (self.open[-3:], tag)
        self.open.pop()


def outline(page):
    """Parse a page; it must be well-formed."""
    found = Outline()
    found.feed(page)
    assert not found.open
    return found.seen


def test_real_results_of_every_kind_make_a_page():
    names = ("int8_peak.json", "ethos-u65-512.json", "quantization.json")
    book = make_book(read_inputs([RESULTS / name for name in names]))
    page = render(book)
    outline(page)
    assert [source.kind for source in book.inputs.sources] == ["bench", "bench", "quantization"]
    table = json.loads((RESULTS / "quantization.json").read_text())["rows"][0]
    first = next(iter(table["sets"].values()))  # one set for all rows: the file's first
    borrowed = f"{first['ptq']['mean']:.3f}*"
    assert table["network"] == "plain-m-x3" and borrowed in page
    assert "plain-m-x3 int8" in page and "ethos-u65-512" in page
    assert len(page) < 300_000


def test_quality_is_joined_by_hash(book_of):
    quality = [judged(), judged(sha256="cd" * 32, psnr={"runtime int8": 99.0})]
    (entry,) = book_of(suite([bench()], quality)).entries
    (grade,) = entry.grades
    assert grade.db == 29.96 and grade.drop == pytest.approx(0.04) and not grade.borrowed


def test_quality_without_a_hash_is_joined_by_name(book_of):
    (entry,) = book_of(suite([bench()], [judged(sha256="")])).entries
    assert entry.grades[0].db == 29.96


def table_of(network="net-x3"):
    cells = {"fp32": {"mean": 30.5}, "ptq": {"mean": 30.4, "drop": 0.1, "against_fp32": None}}
    row = {"network": network, "group": "plain", "sets": {"set14": cells}}
    return {
        "version": 1, "command": "c", "protocol": "P", "calibration_images": 3, "machine": {},
        "rows": [row],
    }  # fmt: skip


def test_figures_of_the_quantization_table_are_marked_as_borrowed(book_of):
    book = book_of(bench(), table_of())
    (grade,) = book.entries[0].grades
    assert grade.borrowed and grade.db == 30.4
    page = render(book)
    assert "30.400*" in page and "not of this very file" in page
    assert "beyond its budget" in page  # 0.1 dB is more than plain networks may lose
    assert "29.960*" not in render(book_of(suite([bench()], [judged()]), table_of()))


def test_own_figures_beat_borrowed_ones(book_of):
    book = book_of(suite([bench()], [judged()]), table_of())
    assert [grade.borrowed for grade in book.entries[0].grades] == [False]


def test_unknown_quality_and_unknown_latency_are_said(book_of):
    page = render(book_of(bench()))
    assert "No quality is known of these files" in page and 'id="pareto"' not in page
    page = render(book_of(table_of()))
    assert "There is no latency in these files" in page and 'id="rows"' not in page
    page = render(book_of(suite([], [judged()])))
    assert "net-x3 int8" in page and "29.960" in page


def test_four_columns_against_truth_and_against_fp32(book_of):
    names, (row,) = tables.columns(book_of(suite([bench()], [judged()])))
    assert names == ["torch fp32", "runtime int8"] and row["own"] == "runtime int8"
    assert row["cells"]["runtime int8"] == {"db": 29.96, "known": True, "against": 51.25}


def test_empty_results_make_a_page(book_of):
    empty = bench()
    empty["rows"] = []
    outline(render(book_of(empty, suite([]))))
    outline(render(make_book(read_inputs([]))))


def test_names_are_escaped_everywhere(book_of):
    evil = "<img src=x onerror=alert(1)>\"'</script><script>alert(2)</script>"
    manifest = {"network": evil, "certificate": {"rules": [evil], "notes": [evil], "exact": True}}
    placement = {"on_device": 1, "on_cpu": [evil], "full": False}
    row = {"artifact": evil, "delegate": evil, "manifest": manifest, "notes": [evil]}
    document = suite(
        [bench(**row, placement=placement, device=evil, facts={"reasons": {evil: evil}})],
        [judged(artifact=evil, network=evil, dataset=evil, protocol=evil, worst_image=evil)],
        [{"cell": evil, "device": evil, "error": evil, "attempts": 1}],
    )
    document["runs"][0]["machine"]["cpu"] = evil
    document["provenance"]["command"] = evil
    page = render(book_of(document, bench(artifact=evil)), title=evil)
    seen = outline(page)
    assert [tag for tag, _ in seen].count("script") == 1
    assert not [tag for tag, attributes in seen if "onerror" in attributes or tag == "img"]
    assert "onerror=alert(1)&gt;" in page


def test_nothing_comes_from_elsewhere(book_of):
    page = render(book_of(suite([bench()], [judged()])))
    places = [a[k] for _, a in outline(page) for k in ("src", "href", "srcset") if k in a]
    assert all(place.startswith(("#", "data:")) for place in places)
    assert not re.search(r"url\(|@import|https?://(?!www\.w3\.org/2000/svg)", page)
    assert "default-src 'none'" in page


def test_machines_are_never_mixed(book_of):
    other = copy.deepcopy(bench())
    other["machine"]["cpu"] = "Another chip"
    newer = copy.deepcopy(bench())
    newer["machine"]["packages"] = {"edgesr": "0.2.0"}
    book = book_of(suite([bench(), other, newer], [judged()]))
    assert len(book.machines) == 2
    page = render(book)
    assert "come from 2 different machines" in page and "differs between runs" in page
    assert [entry.place[-9:] for entry in book.entries] == ["machine A", "machine B", "machine A"]
    for made in (pareto_figures, distribution_figures, roofline_figures):
        assert [figure.heading[-9:] for figure in made(book)] == ["machine A", "machine B"]
    assert [figure.wide.count("dot f") for figure in roofline_figures(book)] == [2, 1]
    assert [figure.wide.count("median") for figure in distribution_figures(book)] == [2, 1]
    assert "different machines" not in render(book_of(bench(), newer))


def test_quality_on_other_images_or_scales_has_a_chart_of_its_own(book_of):
    other = bench(sha256="cd" * 32, scale=2)
    quality = [judged(), judged(dataset="b100"), judged(sha256="cd" * 32)]
    headings = [f.heading for f in pareto_figures(book_of(suite([bench(), other], quality)))]
    assert headings == ["x3, 640x360 in, set14", "x3, 640x360 in, b100", "x2, 640x360 in, set14"]


def test_one_model_in_many_places_is_told_apart_by_place(book_of):
    runs = [bench(), bench(threads=2)]
    (figure,) = pareto_figures(book_of(suite(runs, [judged()])))
    assert ">cpu, 2 threads</text>" in figure.wide
    runs.append(bench(precision="fp32"))
    (figure,) = pareto_figures(book_of(suite(runs, [judged()])))
    assert ">net-x3 int8</text>" in figure.wide


def test_estimates_are_marked_wherever_they_stand(book_of):
    guess = bench(samples=[], label="estimate", estimate={"ms": 31.3}, device="npu")
    book = book_of(suite([bench(), guess], [judged()]))
    (figure,) = pareto_figures(book)
    assert [(key.name, key.estimated) for key in figure.legend] == [
        ("cpu, 1 thread", False), ("npu (estimate)", True),
    ]  # fmt: skip
    assert figure.wide.count("(estimate)") >= 1 and "dot estimate" in figure.wide
    assert len(distribution_figures(book)[0].legend) == 1
    page = render(book)
    assert "~31.3 est." in page and '<span class="badge warn">estimate</span>' in page


@pytest.mark.parametrize("label", ["software", "emulated"])
def test_what_was_not_measured_has_no_latency(book_of, label):
    book = book_of(suite([bench(samples=[], label=label, device="gpu")], [judged()]))
    assert pareto_figures(book) == [] and distribution_figures(book) == []
    assert f'<span class="badge warn">{label}</span>' in render(book)


def test_a_runtime_with_samples_that_are_no_times_is_a_failure(book_of):
    book = book_of(bench(samples=[1.0, float("nan")]), bench(samples=[-1]), bench(height=None))
    assert book.entries == () and len(book.inputs.failures) == 3
    page = render(book)
    assert "1 of 2 samples are no times" in page and 'id="failures"' in page


@pytest.mark.parametrize(
    "row",
    [
        {"macs": float("nan")}, {"samples": [1e300]}, {"samples": [5e-324, 1.0]},
        {"macs": "many"}, {"bytes_moved": -1}, {"manifest": {"size": "x"}},
        {"estimate": {"ms": float("inf")}}, {"facts": {"reasons": 3}}, {"phases": {"load": "x"}},
        {"manifest": {"certificate": {"exact": 1, "interior": "x", "rules": "y", "kept": [{}]}}},
        {"placement": {"on_device": "x", "on_cpu": None, "full": None}},
        {"manifest": {"network": 7, "certificate": []}}, {"macs": 0}, {"sha256": ""},
        {"precision": "int4"}, {"facts": 3, "phases": 3}, {"estimate": [], "notes": [1]},
        {"manifest": "x"}, {"samples": [1e-9]}, {"samples": [5.0] * 3},
    ],
)  # fmt: skip
def test_odd_figures_do_not_stop_the_report(book_of, row):
    quality = [judged(psnr={"runtime int8": float("nan")}), judged(bicubic=None, dataset="b")]
    outline(render(book_of(suite([bench(**row)], quality))))


def test_rows_that_look_the_same_are_told_apart(book_of):
    book = book_of(
        bench(), bench(runtime="ort"), bench(threads=2),
        bench(sha256="cd" * 32), bench(sha256="cd" * 32),
    )  # fmt: skip
    keys = [(entry.name, entry.place) for entry in book.entries]
    assert len(set(keys)) == 5
    assert keys[2] == ("net-x3 int8", "cpu, 2 threads")
    assert keys[1][0] == "net-x3 int8, ort" and keys[4][0].endswith("(run 2)")


def test_operators_left_to_a_cpu_are_named(book_of):
    placement = {"on_device": 8, "on_cpu": ["ADD", "ADD"], "full": False}
    (one,) = tables.residencies(
        book_of(bench(placement=placement, facts={"reasons": {"ADD": "shape"}}))
    )
    assert one.on_cpu == {"ADD": 2} and one.share == 0.8 and one.reasons == {"ADD": "shape"}
    page = render(book_of(bench(placement=placement, facts={"reasons": {"ADD": "shape"}})))
    assert "<code>ADD</code> x 2 (shape)" in page


def test_roofline_uses_the_bytes_of_the_operators(book_of):
    (figure,) = roofline_figures(book_of(bench()))
    assert "10 MAC/B" in figure.wide and "90.9 GMAC/s" in figure.wide
    assert "int8 GEMM, 1 thread: 200" in figure.wide and "10.0 GB/s" in figure.wide
    assert roofline_figures(book_of(bench(bytes_moved=None))) == []


def test_a_file_that_is_no_result_is_named(tmp_path):
    for name, content in {
        "broken.json": '{"rows": [', "list.json": "[]", "other.json": '{"files": []}',
        "binary.json": "\udcff\udcfe", "deep.json": "[" * 100_000,
    }.items():  # fmt: skip
        path = tmp_path / name
        path.write_bytes(content.encode(errors="surrogateescape"))
        with pytest.raises(BadFileError, match=name):
            read_inputs([path])
    with pytest.raises(BadFileError, match="cannot read"):
        read_inputs([tmp_path / "missing.json"])
    with pytest.raises(BadFileError, match="folder"):
        read_inputs([tmp_path])
    damaged = bench() | {"peaks": 3}
    (tmp_path / "damaged.json").write_text(json.dumps(damaged))
    with pytest.raises(BadFileError, match=r"damaged\.json"):
        read_inputs([tmp_path / "damaged.json"])


def test_a_page_that_is_there_stays(tmp_path, book_of):
    page = render(book_of(bench()))
    out = tmp_path / "report.html"
    write_page(page, out)
    with pytest.raises(OutputExistsError, match="--force"):
        write_page("new", out)
    assert out.read_text() == page
    write_page("new", out, force=True)
    assert out.read_text() == "new"


def test_plots_are_files(tmp_path, book_of):
    book = book_of(suite([bench()], [judged()]))
    written = write_plots(book, tmp_path / "plots")
    assert [p.name for p in written] == ["pareto-1.svg", "roofline-1.svg", "latency-1.svg"]
    with pytest.raises(OutputExistsError, match=r"pareto-1\.svg"):
        write_plots(book, tmp_path / "plots")
    assert len(write_plots(book, tmp_path / "plots", force=True)) == 3


def test_plots_as_png(tmp_path, book_of):
    pytest.importorskip("resvg_py", reason="resvg-py is not installed: the extra `plots`")
    from PIL import Image

    book = book_of(suite([bench()], [judged()]))
    written = write_plots(book, tmp_path, png=True)
    drawn = Image.open(next(p for p in written if p.name == "pareto-1.png")).convert("RGB")
    assert drawn.width == 2 * 880 and len(drawn.getcolors(1 << 20)) > 10


def test_png_without_its_package_says_what_to_install(tmp_path, book_of, monkeypatch):
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    with pytest.raises(EnvironmentLimitError, match=r"edgesr\[plots\]"):
        write_plots(book_of(bench()), tmp_path / "p", png=True)
    assert not (tmp_path / "p").exists()


def test_crops_come_from_the_artifacts_that_were_timed(tmp_path):
    from edgesr.export import export
    from PIL import Image

    from edgesr.data.datasets import dataset
    from edgesr.models.intake import load

    network = load("quicksrnet-small-x2")
    _, timed = (
        export(network, precision="fp32", shape=shape, out=tmp_path / name)
        for name, shape in (("a", (72, 72)), ("b", (80, 80)))
    )
    photo = tmp_path / "photo.png"
    Image.fromarray(dict(dataset("samples"))["gates"][160:320, 160:320]).save(photo)
    hashes = {"quicksrnet-small-x2": {timed.manifest.sha256}}
    assert choose(tmp_path, hashes) == {"quicksrnet-small-x2": {"fp32": timed.path}}
    assert choose(tmp_path, {"another": set()}) == {}
    (panel,) = make_panels(tmp_path, hashes, photo=photo)
    assert [p.name for p in panel.pictures] == ["original", "bicubic", "fp32, tflite"]
    original, bicubic, network_picture = panel.pictures
    assert original.db is None and network_picture.db > bicubic.db + 0.5
    assert all(p.uri.startswith("data:image/webp;base64,") for p in panel.pictures)
    timed.path.write_bytes(b"not a model")
    (panel,) = make_panels(tmp_path, hashes, photo=photo)
    assert any("did not run" in note for note in panel.notes)
    with pytest.raises(BadFileError, match="no folder"):
        make_panels(tmp_path / "missing", hashes)


def test_command_writes_the_page_and_its_plots(tmp_path):
    source = tmp_path / "r.json"
    source.write_text(json.dumps(suite([bench()], [judged()])))
    out, plots = tmp_path / "out" / "report.html", tmp_path / "plots"
    call = ["report", str(source), "--out", str(out), "--plots", str(plots)]
    assert CliRunner().invoke(app, call).exit_code == 0
    assert out.is_file() and len(list(plots.glob("*.svg"))) == 3
    again = CliRunner().invoke(app, call)
    assert isinstance(again.exception, OutputExistsError)
    alone = CliRunner().invoke(app, ["report", str(source), "--png", "--out", "x.html"])
    assert "--plots" in str(alone.exception)
