"""What `evaluate` can be told: one description for the command line and the verb, apart from what measures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator

from pipelines.errors import NoInputError
from pipelines.options import Option
from pipelines.run_specs import BATCH, WORKERS, Spec

DEFAULT_RUNS = ("edits", "inversions")
# Names that help and a shell's completion show without loading what knows them; a test compares them with the registry.
METRICS = (
    *("lpips", "id", "lpips-alex", "lpips-st-alex", "id-arcface", "id-dlib"),
    *("same-person", "psnr", "ssim", "ms-ssim", "mse", "mse-outside", "attributes"),
    *("detail", "sharpness", "skin-tone", "ghost"),
    *("moved", "passengers", "years-dlib", "round-trip-mse", "round-trip-id-dlib"),
    *("kid-mobilenetv2", "fid-mobilenetv2"),
    *("nscd", "lec", "lec-age", "lec-yaw", "lec-smile"),
)


def default_run(here: Path) -> Path:
    """`edits` in the folder `here`, else `inversions`; raises NoInputError where there is neither."""
    for name in DEFAULT_RUNS:
        if (here / name).is_dir():
            return here / name
    raise NoInputError("there is no ./edits and no ./inversions here: run ganinv edit first, or name the run's folder")


class EvaluateSpec(Spec):
    """What to evaluate.

    Attributes:
        run: a folder that `invert` or `edit` wrote, or its archives (metrics.json then goes into the folder beside them);
            with `reference` also a plain folder of face crops.
        reference: compare with these pictures, by key, instead of the run's own sources.
        metrics: names of `pipelines.metrics.registry`, short ones included; also joined by commas.
        suite: also measure all of `pipelines.evaluation.suite`, and show its figures with bootstrap intervals.
        round_trip: the suite also edits every edit back, at the cost of that run; `--metrics` that ask for it do so anyway.
        batch_size: faces per pass.
        num_workers: decoding threads; 0 means 1, as nothing is decoded in the scoring thread.
        report: also write report.html and contact.png.
        require: bounds such as ``id>=0.5``; their metrics are computed whether listed or not.
        allow_missing: bounds hold although some pictures could not be judged.
    """

    run: Annotated[Path, Option("What invert or edit wrote. Default: edits, else inversions.", metavar="[RUN]")] = (
        Field(default_factory=lambda: default_run(Path()))
    )
    reference: Annotated[
        Path | None, Option("Compare with this folder's images, by key, not with the sources.", "Evaluate")
    ] = None
    metrics: Annotated[
        tuple[str, ...],
        Option(f"With commas, of: {', '.join(METRICS)}.", "Evaluate", metavar="A,B", complete="metrics"),
    ] = ("lpips", "id", "psnr", "ssim", "mse")
    suite: Annotated[
        bool, Option("Inversion, edit and distribution: all that a method is judged by, with intervals.", "Evaluate")
    ] = False
    round_trip: Annotated[
        bool, Option("With --suite: also edit every edit back, which costs what editing did.", "Evaluate")
    ] = True
    batch_size: Annotated[int, BATCH] = Field(default=8, ge=1, le=4096)
    num_workers: Annotated[int, WORKERS] = Field(default=2, ge=0, le=256)
    report: Annotated[bool, Option("Write report.html.", "Evaluate")] = True
    require: Annotated[
        tuple[str, ...],
        Option('Exit 6 unless met, as "id>=0.5". Repeat for more.', "Evaluate", metavar="METRIC>=X"),
    ] = ()
    allow_missing: Annotated[
        bool, Option("Pictures that cannot be judged neither fail --require nor exit with 3.", "Evaluate")
    ] = False

    @field_validator("metrics", mode="before")
    @classmethod
    def _read_metrics(cls, value: Any) -> Any:
        texts = [value] if isinstance(value, str) else value
        return tuple(name.strip() for text in texts for name in str(text).split(",") if name.strip())
