"""`edgesr bench --suite`: everything a suite asks for, resumable."""

from __future__ import annotations

from pathlib import Path


def run(name: str, out: Path | None, *, ray: str, as_json: bool) -> None:
    """Run the suite `name` into the folder `out`, and print what it found.

    Raises:
        EdgesrError: as `run_suite`; and with the code of the first failure, if a part failed.
    """
    from edgesr.benchmarks.suite.definition import find_suite
    from edgesr.benchmarks.suite.run import RESULTS, run_suite
    from edgesr.cli.bench_table import SUITE_COLUMNS, ceilings, footer, readable
    from edgesr.cli.output import progress, say, show_table
    from edgesr.errors import EdgesrError

    suite = find_suite(name)
    folder = out or Path("out") / suite.name
    pool, timer = None, None
    if ray:
        from edgesr.benchmarks.suite.ray_pool import RayPool

        pool = RayPool(ray)
        timer = pool.time
    with progress(suite.name, None) as (bar, task):
        result = run_suite(
            suite, folder, pool=pool, timer=timer,
            progress=lambda what, done, total: bar.update(
                task, description=what, completed=done, total=total
            ),
        )  # fmt: skip
    rows = result.table()
    judged = dict.fromkeys(key for row in rows for key in row if key.startswith(("psnr ", "drop ")))
    show_table(
        rows if as_json else [readable(row) for row in rows],
        SUITE_COLUMNS | {key: key for key in judged},
        title=f"{suite.name}: {len(rows)} rows in {folder / RESULTS}",
        footer=footer(ceilings(result.runs)),
        as_json=as_json,
        extra={
            "failures": [vars(failure) for failure in result.failures],
            "warnings": result.warnings(), "results": folder / RESULTS,
        },
    )  # fmt: skip
    for warning in result.warnings():
        say(f"edgesr: {warning}")
    for failure in result.failures:
        where = f" on {failure.device}" if failure.device else ""
        say(f"edgesr: failed: {failure.cell}{where}: {failure.error}")
    if result.failures:
        raise EdgesrError(
            f"{len(result.failures)} of the suite's parts failed, see above; the same command "
            "tries them again and keeps the rest"
        )
