"""Memory that is kept: the calls are accepted, and anything else is left alone."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pipelines import devices as allocator

PROBE = """
import resource, sys, threading, torch
from pipelines.devices import keep_freed_memory
told = keep_freed_memory() if sys.argv[1] == "keep" else True
assert told
def work():
    torch.ones(24 << 20).sum()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(40):
        torch.ones(24 << 20).sum()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)

thread = threading.Thread(target=work)
if sys.argv[2] == "thread":
    thread.start()
    thread.join()
else:
    work()
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
@pytest.mark.parametrize("place", ["main", "thread"])
def test_large_buffers_are_not_mapped_afresh(place: str) -> None:
    if not allocator.keep_freed_memory():
        pytest.skip("this C library has no mallopt")
    faults = {}
    for mode in ("keep", "leave"):
        done = subprocess.run([sys.executable, "-c", PROBE, mode, place], capture_output=True, text=True, check=True)
        faults[mode] = int(done.stdout)
    assert faults["keep"] < faults["leave"] / 4


def test_other_systems_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocator.sys, "platform", "darwin")
    assert allocator.keep_freed_memory() is False
