"""Jobs on a local Ray cluster of two workers; nothing is measured with it."""

import os

import pytest
from edgesr.benchmarks.harness import Plan
from edgesr.benchmarks.suite import jobs
from edgesr.benchmarks.suite.pool import Job
from edgesr.benchmarks.suite.timing import Located

from edgesr.errors import EnvironmentLimitError


@pytest.fixture(scope="module")
def pool():
    """A cluster that ends with the tests, or one that RAY_ADDRESS names."""
    ray = pytest.importorskip("ray", reason="Ray is not installed: pip install 'edgesr[ray]'")
    from edgesr.benchmarks.suite.ray_pool import RayPool

    yield RayPool(os.environ.get("RAY_ADDRESS", "local"))
    ray.shutdown()


def test_without_ray_the_fix_is_named(monkeypatch):
    import sys

    from edgesr.benchmarks.suite.ray_pool import RayPool

    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(EnvironmentLimitError, match=r"pip install 'edgesr\[ray\]'"):
        RayPool("auto")


def test_a_dead_worker_loses_its_job_only(pool):
    work = [
        Job("dead", os._exit, {"status": 3}),
        Job("fine", pow, {"base": 2, "exp": 5}),
        Job("strange", int, {"x": "three"}),
    ]
    found = {outcome.job.label: outcome for outcome in pool.run(work)}
    assert found["fine"].value == 32 and found["fine"].attempts == 1
    assert "the worker for dead died" in str(found["dead"].error) and found["dead"].attempts == 2
    assert "unexpected TypeError" in str(found["strange"].error)


def test_files_are_written_and_timed_there(pool, tmp_path):
    """The file travels back, then to the worker that times it, where a second one is lost."""
    model = jobs.Model("random:plain-s-x2")
    arguments = {"model": model, "target": "tflite", "precision": "fp32", "shape": (8, 12)}
    (outcome,) = pool.run([Job("export", jobs.export_file, arguments)])
    assert outcome.error is None
    for name, content in outcome.value.items():
        (tmp_path / name).write_bytes(content)
    (path,) = tmp_path.glob("*.tflite")
    here = Located("here", path, "cpu", 1, "litert")
    plan = Plan(runs=2, warm_up=0, turn=1, processes=1)
    ((results, failures),) = pool.time([[here]], plan)
    assert [row.artifact for run in results for row in run.rows] == [path.name] and not failures
    broken = tmp_path / "broken" / path.name
    broken.parent.mkdir()
    broken.write_bytes(b"no model")
    batch = [Located("broken", broken, "cpu", 1, "litert")]
    ((results, failures),) = pool.time([batch], plan)
    assert results == [] and [failure.cell for failure in failures] == ["broken"]
