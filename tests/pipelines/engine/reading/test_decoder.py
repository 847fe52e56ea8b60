"""Decoding processes end with their run, also one that is blocked in sending its answer to it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from tests.pipelines.engine.killing import ENVIRON, alive, deaf, wait_until

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")

RUN = """
import signal, sys, time
import numpy as np
from pipelines.engine.reading.decoder import Decoder
from pipelines.engine.types import Loaded, Task
from pipelines.records.photos import Photo
from pipelines.stages.align.crops import LoadedFace

signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whoever runs the tests under nohup leaves it ignored

def large(task):
    print("sending", flush=True)
    return Loaded(task.index, faces=(LoadedFace(np.zeros((2000, 2000, 3), np.uint8)),))

decoders = [Decoder(lambda: large, "fork") for _ in range(3)]
for decoder in decoders[:2]:
    decoder.take(Task(0, Photo("a", "a")), None)
time.sleep(0.5)
print("ready", *(decoder._process.pid for decoder in decoders), flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("ends_by", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_no_decoder_outlives_its_run(ends_by: int) -> None:
    run = subprocess.Popen([sys.executable, "-c", RUN], env=ENVIRON, stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None
    line = next(line for line in run.stdout if line.startswith("ready"))
    decoders = [int(word) for word in line.split()[1:]]
    wait_until(lambda: all(deaf(pid, signal.SIGTERM) for pid in decoders), 60)
    for pid in decoders:  # a signal that reaches the whole group is the run's to handle
        os.kill(pid, signal.SIGTERM)
    time.sleep(0.1)
    assert all(map(alive, decoders))
    os.kill(run.pid, ends_by)
    run.wait(120)
    wait_until(lambda: not any(map(alive, decoders)), 60)
