"""From names to working parts: the only place that knows both catalogue entries and networks.

Adding a generator, embedder, refiner or compensator is one file plus one line here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

import torch

from pipelines.models.encoders.compact import CompactEncoder
from pipelines.models.faces.chips import extract_chips
from pipelines.models.faces.dlib_resnet import load_dlib_resnet
from pipelines.models.generators.mobile import NUM_WS, MobileStyleGAN
from pipelines.models.perceptual.likeness import Likeness
from pipelines.models.perceptual.stlpips import build_stlpips
from pipelines.models.sdic.lean import LeanSDIC, load_lean
from pipelines.registry import Registry
from pipelines.stages.compensate.sdic import SDICCompensator, SDICRefiner
from pipelines.stages.embed.encoder import EncoderEmbedder
from pipelines.stages.embed.optimize import OptimizeEmbedder, OptimizeSettings
from pipelines.stages.refine.feature import FeatureRefiner, FeatureSettings
from pipelines.types import Compensator, Embedder, Generator, Refiner
from pipelines.weights.assets import asset_sha256, asset_tensors
from pipelines.weights.formats.dlib_dat import read_dlib_resnet
from pipelines.weights.formats.mobile_ir import mobile_state
from pipelines.weights.formats.openvino_ir import read_constants
from pipelines.weights.store import WeightStore

PREVIEW_ASSET = "mobile-ffhq-preview"
ENCODER_ASSETS = {recipe: f"encoder-mobile-ffhq-{recipe}" for recipe in ("e4e", "lsap", "cycle")}
ENCODER_ASSET = ENCODER_ASSETS["e4e"]  # the default: the best of them by the figures in docs/encoders.md
SDIC_ASSET = "sdic-mobile-ffhq"
# An encoder's codes are near already: large steps of the shared w would first lose them (docs/decisions/0014).
FROM_ENCODER = OptimizeSettings(steps=30, rows_from=0, lr=0.04, rows_lr=0.1, rows_penalty=0.1)
# SDIC is near too; most steps through full pictures or squares of them (docs/decisions/0018).
FROM_SDIC = FeatureSettings(steps=33, finish=27, refresh=3, lr=0.04, rows_lr=0.02)
T = TypeVar("T")


class Parts:
    """What builders share on one device: the store, and networks that several parts use, built once."""

    def __init__(self, store: WeightStore, device: torch.device) -> None:
        self.store = store
        self.device = device
        self._likeness: Likeness | None = None

    def likeness(self) -> Likeness:
        """ST-LPIPS (AlexNet) and dlib's identity network, frozen."""
        if self._likeness is None:
            perceptual = build_stlpips(self.store.tensors("st-lpips-alex"), "alex")
            identity = load_dlib_resnet(read_dlib_resnet(self.store.path("id-dlib")))
            made = Likeness(perceptual, identity, partial(extract_chips, size=150, padding=0.25))
            self._likeness = made.requires_grad_(False).eval().to(self.device)
        return self._likeness


@dataclass(frozen=True)
class Part(Generic[T]):
    """A factory, with what must be known before it runs.

    Attributes:
        build: called as generator(parts), or embedder/refiner/compensator(parts, generator).
        entries: catalogue entries that it needs.
        assets: our own trained files that it needs.
        version: raised whenever its results change; part of the fingerprint.
        landmarks: whether it looks at the face's landmarks: identity terms do.
    """

    build: Callable[..., T]
    entries: tuple[str, ...] = ()
    assets: tuple[str, ...] = ()
    version: str = "1"
    landmarks: bool = False

    def identity(self, store: WeightStore) -> list[str]:
        """Everything that decides this part's numbers, as strings; cheap, loads nothing."""
        hashes = [f"{name}={store.sha256(name)}" for name in store.closure(self.entries)]
        return [self.version, *hashes, *(f"{name}={asset_sha256(name)}" for name in self.assets)]


@dataclass(frozen=True)
class GeneratorPart(Part[Generator]):
    """A generator's factory; `num_ws` is known before anything is loaded, so that directions can be checked."""

    num_ws: int = 18


def _mobile(parts: Parts) -> Generator:
    store = parts.store
    mapping = read_constants(store.path("mobile-ffhq-mapping-graph"), store.path("mobile-ffhq-mapping"))
    synthesis = read_constants(store.path("mobile-ffhq-graph"), store.path("mobile-ffhq"))
    generator = MobileStyleGAN()
    own = {name: tensor.float() for name, tensor in asset_tensors(PREVIEW_ASSET).items()}
    generator.load_state_dict(mobile_state(mapping, synthesis) | own)
    return generator.to(parts.device)


def _optimize(parts: Parts, generator: Generator) -> Embedder:
    return OptimizeEmbedder(generator, parts.likeness())


def _feature(parts: Parts, generator: Generator) -> Refiner:
    return FeatureRefiner(generator, parts.likeness())


def _quick_feature(parts: Parts, generator: Generator) -> Refiner:
    first = SDICRefiner(generator, _sdic_network(parts, generator))
    return FeatureRefiner(generator, parts.likeness(), FROM_SDIC, first)


def _compact_encoder(asset: str, parts: Parts, generator: Generator, stage: int | None = None) -> EncoderEmbedder:
    network = CompactEncoder(generator.num_ws)
    network.stage = network.stage if stage is None else stage
    network.load_state_dict({name: tensor.float() for name, tensor in asset_tensors(asset).items()})
    network.requires_grad_(False).eval().to(parts.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return EncoderEmbedder(network)


def _encoder_optimize(parts: Parts, generator: Generator) -> Embedder:
    first = _compact_encoder(ENCODER_ASSET, parts, generator)
    return OptimizeEmbedder(generator, parts.likeness(), FROM_ENCODER, first)


def _sdic_network(parts: Parts, generator: Generator) -> LeanSDIC:
    return load_lean(asset_tensors(SDIC_ASSET), generator.num_ws).to(parts.device)


def _sdic(parts: Parts, generator: Generator) -> Compensator:
    return SDICCompensator(generator, _sdic_network(parts, generator))


def _looks(settings: OptimizeSettings | FeatureSettings) -> bool:
    """Only a face's identity is compared at places that its landmarks tell."""
    return settings.weights.identity > 0


_LIKENESS = ("st-lpips-alex", "id-dlib")

generators: Registry[GeneratorPart] = Registry("generator")
generators.add("mobile-ffhq", GeneratorPart(_mobile, ("mobile-ffhq",), (PREVIEW_ASSET,), num_ws=NUM_WS))

embedders: Registry[Part[Embedder]] = Registry("embedder")
embedders.add(
    "optimize",
    Part(_optimize, _LIKENESS, (), f"{OptimizeEmbedder.version} {OptimizeSettings()}", _looks(OptimizeSettings())),
)

embedders.add("encoder", Part(partial(_compact_encoder, ENCODER_ASSET), (), (ENCODER_ASSET,), EncoderEmbedder.version))
for _recipe, _asset in ENCODER_ASSETS.items():
    embedders.add(_recipe, Part(partial(_compact_encoder, _asset), (), (_asset,), EncoderEmbedder.version))
# Cycle Encoding ends in W; the released code runs it with all rows all the same, and so does `cycle`.
_cycle_w: Part[Embedder] = Part(
    partial(_compact_encoder, ENCODER_ASSETS["cycle"], stage=0), (), (ENCODER_ASSETS["cycle"],), "1 w"
)
embedders.add("cycle-w", _cycle_w)
embedders.add(
    "encoder+optimize",
    Part(
        _encoder_optimize,
        _LIKENESS,
        (ENCODER_ASSET,),
        f"{OptimizeEmbedder.version} {FROM_ENCODER}",
        _looks(FROM_ENCODER),
    ),
)

refiners: Registry[Part[Refiner]] = Registry("refiner")
refiners.add(
    "sdic+feature",
    Part(
        _quick_feature,
        _LIKENESS,
        (SDIC_ASSET,),
        f"{FeatureRefiner.version} {SDICRefiner.version} {FROM_SDIC}",
        _looks(FROM_SDIC),
    ),
)
refiners.add(
    "feature", Part(_feature, _LIKENESS, (), f"{FeatureRefiner.version} {FeatureSettings()}", _looks(FeatureSettings()))
)

compensators: Registry[Part[Compensator]] = Registry("compensator")
compensators.add("sdic", Part(_sdic, (), (SDIC_ASSET,), version=SDICCompensator.version))
