"""What trainings on photos have in common: data, accelerator and generator, made once, and the asset at the end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from pipelines.devices import keep_freed_memory
from pipelines.errors import UsageError
from pipelines.files import write_atomic
from pipelines.models.faces.finders import DlibFinder
from pipelines.stages.entry import Parts
from pipelines.stages.published import generator_entry
from pipelines.training.base_specs import LoopSpec
from pipelines.training.checkpoint import load_state
from pipelines.training.data.photos import FacePhotos, check_alignment
from pipelines.training.loop import BEST
from pipelines.training.run import LICENCE, write_asset
from pipelines.types import Generator
from pipelines.weights.store import WeightStore

CHOSEN = "least sum of pixel, perceptual and identity terms on held-out real faces"


class Workplace:
    """The photos, the device and the frozen generator of one run.

    Attributes:
        digest: hash of the photos.
        ranks: (this process, number of processes).

    Raises:
        UsageError: unusable data, an unknown generator.
    """

    def __init__(self, spec: LoopSpec, store: WeightStore) -> None:
        keep_freed_memory()
        self.spec = spec
        self.photos = FacePhotos(spec.data)
        self.digest = self.photos.digest()
        spec.output.mkdir(parents=True, exist_ok=True)
        self.accelerator = Accelerator(cpu=spec.device == "cpu")
        self.device: torch.device = self.accelerator.device
        self.ranks = (self.accelerator.process_index, self.accelerator.num_processes)
        self.parts = Parts(store, self.device)
        self.generator: Generator = generator_entry(spec.generator, store).build(self.parts)

    def mean_landmarks(self) -> Tensor:
        """Where aligned faces have their 68 points (68 x 2, shares of the side); looked at once and kept in the folder.

        Raises:
            UsageError: the photos hold no faces, or are not aligned.
        """
        kept = self.spec.output / "landmarks.json"
        if not kept.exists():
            found = check_alignment(self.photos, DlibFinder(self.parts.store.path("landmarks-68")))
            write_atomic(kept, json.dumps(found.tolist()).encode())
        return torch.tensor(json.loads(kept.read_text()))

    def write_best(self, name: str, what: str, data: str, chosen: str = CHOSEN) -> Path:
        """The run's best averaged weights in half precision, as the asset `name` with its card; `chosen`: by which figure."""
        best = load_state(self.spec.output / BEST)
        settings = self.spec.decisive(self.digest)
        card: dict[str, Any] = {
            "name": name,
            "what": what,
            "data": data,
            "settings": {key: value for key, value in settings.items() if key not in ("init", "aligners")},
            "chosen": chosen,
            "step": best["step"],
            "validation": best["figures"],
            "licence": LICENCE,
        }
        tensors = {key: value.half() if value.is_floating_point() else value for key, value in best["network"].items()}
        return write_asset(self.spec.output, name, tensors, card)


def start_from(network: nn.Module, best: str) -> None:
    """Load the averaged weights of another run's best checkpoint, where one is named.

    Raises:
        UsageError: there is no such checkpoint, or it is of another network.
    """
    if not best:
        return
    if not Path(best).is_file():
        raise UsageError(f"the checkpoint '{best}' to start from does not exist; give another run's {BEST}")
    state = load_state(Path(best))
    try:
        network.load_state_dict(state.get("averaged", state["network"]))
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise UsageError(f"the checkpoint '{best}' is of another network than this run's: {reason}") from None
