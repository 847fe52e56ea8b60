"""An edit run over several processes, for the tests that kill it: SOURCE OUTPUT PROCESSES, or SOURCE OUTPUT ADDRESS."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from pipelines.engine.run import run_job
from tests.factories import FakeChain, FakeFaces, edit_job


def main() -> int:
    source, output, where = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    chain, fake = FakeChain(pause=0.04), FakeFaces()
    if where.isdecimal():
        job = replace(edit_job(source, output, chain=chain, fake=fake), devices=("cpu",) * int(where))
    else:
        job = edit_job(source, output, chain=chain, fake=fake, backend="dask", scheduler=where)
    summary = run_job(job)
    print(summary.ok, summary.skipped, summary.failed, summary.complete)
    return summary.exit_code


if __name__ == "__main__":
    sys.exit(main())
