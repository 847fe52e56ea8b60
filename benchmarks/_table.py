"""The figures of `benchmarks.throughput` as lines of Markdown, from the same plain values that `--json` prints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_SIZES = (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3))


def size(count: float) -> str:
    """Bytes with a unit: ``1.23 GB``."""
    for unit, factor in _SIZES:
        if count >= factor:
            return f"{count / factor:.3g} {unit}"
    return f"{count:.0f} B"


def span(seconds: float) -> str:
    """Seconds with a unit: ``1.5 h``."""
    for unit, factor in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * factor:
            return f"{seconds / factor:.3g} {unit}"
    return f"{seconds:.3g} s"


def _row(*cells: object) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def figure_rows(body: Mapping[str, Any]) -> list[str]:
    """The measured ways, their ratios, and the stages' shares of time."""
    about, settings = body["machine"], body["settings"]
    rows = [
        f"{about['device']}, {about['cores']} cores, {about['threads']} threads, torch {about['torch']}; method "
        f"{settings['method']}, {settings['attr']}, {settings['format']}, device {settings['device']}, "
        f"batch {settings['batch_size'] or 'default'}",
        "",
        _row("way", "photos", "photos/s", "s a photo", "with start, photos/s", "peak MB", "GPU MB"),
        _row(*["---"] * 7),
    ]
    for name, each in body["figures"].items():
        whole = f"{each['whole']:.3g}" if each["whole"] else ""
        gpu = f"{each['gpu_mb']:.0f}" if each["gpu_mb"] else ""
        rate = each["rate"]
        rows.append(_row(name, each["photos"], f"{rate:.3g}", f"{1 / rate:.3g}", whole, f"{each['peak_mb']:.0f}", gpu))
    found = [_row(name, f"{value:.3g}") for name, value in body["ratios"].items()]
    if found:
        rows += ["", _row("ratio", "value"), _row("---", "---"), *found]
    return rows + _stage_rows(body["figures"])


def _stage_rows(figures: Mapping[str, Any]) -> list[str]:
    found = []
    for name, each in figures.items():
        total = sum(each["stages"].values())
        found += [_row(name, stage, f"{ms:.1f}", f"{ms / total:.0%}") for stage, ms in each["stages"].items()]
    return ["", _row("way", "stage", "ms a photo", "share"), _row(*["---"] * 4), *found] if found else []


def plan_rows(body: Mapping[str, Any]) -> list[str]:
    """The paper model; no line where there is none."""
    if "plan" not in body:
        return []
    plan, campaign, rates = body["plan"], body["campaign"], body["rates"]
    pictures = ", ".join(f"{name} {size(count)}" for name, count in plan["picture_bytes"].items())
    rows = [
        "",
        f"Paper model: {campaign['photos']:,} photos, {campaign['devices']} devices of {rates['device']:.3g} photos/s, "
        f"{campaign['cores']} cores each, {rates['host_seconds']:.3g} core-seconds a photo",
        "",
        _row("what", "value"),
        _row("---", "---"),
        _row("time", span(3600 * plan["hours"])),
        _row("of the devices alone, of the cores alone", f"{_hours(plan, 'device')}, {_hours(plan, 'host')}"),
        _row("inputs", size(plan["input_bytes"])),
        _row("pictures", pictures),
        _row("codes", size(plan["latents_bytes"])),
        _row("read, written", f"{size(plan['read_rate'])}/s, {size(plan['write_rate'])}/s ({campaign['format']})"),
    ]
    return rows + _layout_rows(plan) + _break_rows(plan, campaign["photos"])


def _hours(plan: Mapping[str, Any], part: str) -> str:
    return span(3600 * plan[f"{part}_hours"])


def _layout_rows(plan: Mapping[str, Any]) -> list[str]:
    one, cut = plan["folders"], plan["archives"]
    rows = ["", _row("", "one run, folders, --shard", f"{cut['runs']} runs, archives"), _row(*["---"] * 3)]
    counts = (("inodes", "files that stay"), ("staged", "files more meanwhile"), ("entries", "entries of one folder"))
    rows += [_row(label, f"{one[name]:,}", f"{cut[name]:,}") for name, label in counts]
    sizes = (("manifest_bytes", "a manifest"), ("job_bytes", "a job's memory for the books"))
    rows += [_row(label, size(one[name]), size(cut[name])) for name, label in sizes]
    spans = (
        ("list_seconds", "a job lists its input"),
        ("start_seconds", "before its first photo, going on"),
        ("merge_seconds", "a manifest is merged"),
    )
    return rows + [_row(label, span(one[name]), span(cut[name])) for name, label in spans]


def _break_rows(plan: Mapping[str, Any], photos: int) -> list[str]:
    rows = ["", _row("limit of one run", "reached at photos", "so here", "instead"), _row(*["---"] * 4)]
    for each in plan["breaks"]:
        verdict = "breaks" if each["photos"] < photos else "holds"
        rows.append(_row(each["what"], f"{each['photos']:,}", verdict, each["instead"]))
    return rows
