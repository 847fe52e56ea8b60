"""A slow edit run in a process of its own, for the tests that kill it: SOURCE OUTPUT LOG [EDIT...]."""

from __future__ import annotations

import sys
from pathlib import Path

from pipelines.engine.run import run_job
from pipelines.types import FaceBatch, Inversion
from tests.factories import FakeChain, FakeFaces, edit_job, face_names


class LoggingChain(FakeChain):
    """Notes every face before it is inverted."""

    log: Path

    def invert(self, faces: FaceBatch) -> Inversion:
        with open(self.log, "a", encoding="utf-8") as log:
            log.writelines(f"{name}\n" for name in face_names(faces))
        return super().invert(faces)


def main() -> int:
    source, output, log = (Path(argument) for argument in sys.argv[1:4])
    chain = LoggingChain(pause=0.2)  # a test that looks on must not miss its end on a busy machine
    chain.log = log
    summary = run_job(edit_job(source, output, ["smile=-1:1:1"], chain=chain, fake=FakeFaces(pause=0.02), workers=1))
    print(summary.ok, summary.skipped, summary.failed)
    return summary.exit_code


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
