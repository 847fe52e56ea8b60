"""A slow `align` into archives in a process of its own, for the test that kills it: SOURCE OUTPUT."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

from pipelines.engine.destination import run_to_destination
from tests.factories import FakeFaces
from tests.pipelines.engine.test_destination import faces, spec_of

if __name__ == "__main__":
    source, output = (Path(argument) for argument in sys.argv[1:3])
    run_to_destination(spec_of(source, output), partial(faces, fake=FakeFaces(pause=0.1)))
