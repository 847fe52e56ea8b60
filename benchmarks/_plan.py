"""A paper model of a large run: time, storage, inodes, manifest and listing, and what gives way first.

Plain arithmetic on rates that were measured or given; nothing here knows a machine. Two layouts are compared: *one run*
over all photos in folders, every device a `--shard I/N` of it, and *runs of parts*, each with its own archives of photos
in and out (`in-{0000..0049}.tar`, `-o out-07-{000..}.tar`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass

PAPERS = 5  # files that an archived run leaves beside its archives: manifest, run.json, shards, deliveries, lock


@dataclass(frozen=True)
class Rates:
    """What one photo, with one face, costs.

    Attributes:
        device: photos per second of one device, once warm.
        host_seconds: core-seconds for reading, decoding, aligning, encoding and writing.
        photo_bytes: of the input file.
        picture_bytes: format -> bytes of one result.
        latents_bytes: of the codes' file.
        record_bytes: of its manifest line.
        list_seconds, list_bytes: to find it in the input; memory it then holds.
        read_seconds, read_bytes: to read its record when a run starts or goes on; memory it then holds.
        merge_seconds: to fold its record into the manifest.
    """

    device: float
    host_seconds: float
    photo_bytes: float
    picture_bytes: Mapping[str, float]
    latents_bytes: float
    record_bytes: float
    list_seconds: float
    list_bytes: float
    read_seconds: float
    read_bytes: float
    merge_seconds: float


@dataclass(frozen=True)
class Campaign:
    """What is to be done, and what the place allows.

    Attributes:
        photos, devices, cores: how many; cores of each device.
        edits: pictures of each photo beside the inversion.
        format: of the pictures.
        archive: photos of one archive. part: photos of one run, where the work is cut into runs.
        folder_entries: most entries that one folder should have. inodes: most files and folders that the disk grants.
        job_bytes: memory of one job. start_seconds: longest that a job should take before its first photo.
    """

    photos: int = 10_000_000
    devices: int = 64
    cores: int = 8
    edits: int = 1
    format: str = "png"
    archive: int = 1000
    part: int = 50_000
    folder_entries: int = 1_000_000
    inodes: int = 10_000_000
    job_bytes: float = 64e9
    start_seconds: float = 600.0


@dataclass(frozen=True)
class Layout:
    """What a layout of the files costs.

    Attributes:
        runs: independent runs, each with a manifest of its own.
        entries: of the fullest output folder.
        inodes: files that stay. staged: files more, while the runs work.
        manifest_bytes: of one manifest.
        list_seconds: that each job lists its input. start_seconds: listing, and reading the manifest when it goes on.
        merge_seconds: of one manifest. job_bytes: a job's memory for listing and records.
    """

    runs: int
    entries: int
    inodes: int
    staged: int
    manifest_bytes: float
    list_seconds: float
    start_seconds: float
    merge_seconds: float
    job_bytes: float


@dataclass(frozen=True)
class Break:
    """A limit of the one-run layout: what it is, at how many photos it is reached, and what to use instead."""

    what: str
    photos: int
    instead: str


@dataclass(frozen=True)
class Plan:
    """The whole paper.

    Attributes:
        device_hours, host_hours: wall time if only the devices, or only the cores, counted; the longer one holds.
        hours: that one.
        input_bytes, latents_bytes: of everything. picture_bytes: format -> of everything.
        read_rate, write_rate: bytes per second that the disks must sustain over those hours, all machines together.
        folders, archives: the two layouts.
        breaks: the limits of `folders`, the first to give way first.
    """

    hours: float
    device_hours: float
    host_hours: float
    input_bytes: float
    picture_bytes: Mapping[str, float]
    latents_bytes: float
    read_rate: float
    write_rate: float
    folders: Layout
    archives: Layout
    breaks: tuple[Break, ...]

    def as_dict(self) -> dict[str, object]:
        """Plain values, for JSON."""
        return asdict(self)


def make_plan(campaign: Campaign, rates: Rates) -> Plan:
    """The model's answer; ValueError where a count or a rate is not positive, or the format's bytes are unknown."""
    if min(campaign.photos, campaign.devices, campaign.cores, campaign.part, campaign.archive, rates.device) <= 0:
        raise ValueError("photos, devices, cores, part, archive and the device's rate must be positive")
    if campaign.format not in rates.picture_bytes:
        raise ValueError(f"nothing is known of the format '{campaign.format}'; known: {', '.join(rates.picture_bytes)}")
    photos, pictures = campaign.photos, 1 + campaign.edits
    on_devices = photos / (campaign.devices * rates.device)
    on_cores = photos * rates.host_seconds / (campaign.devices * campaign.cores)
    seconds = max(on_devices, on_cores)
    stored = {name: photos * pictures * size for name, size in rates.picture_bytes.items()}
    return Plan(
        hours=seconds / 3600,
        device_hours=on_devices / 3600,
        host_hours=on_cores / 3600,
        input_bytes=photos * rates.photo_bytes,
        picture_bytes=stored,
        latents_bytes=photos * rates.latents_bytes,
        read_rate=photos * rates.photo_bytes / seconds,
        write_rate=(stored[campaign.format] + photos * rates.latents_bytes) / seconds,
        folders=_folders(campaign, rates),
        archives=_archives(campaign, rates),
        breaks=_breaks(campaign, rates),
    )


def _files(campaign: Campaign) -> int:
    """Of one photo: inversion, edits, codes."""
    return campaign.edits + 2


def _folders(campaign: Campaign, rates: Rates) -> Layout:
    inodes = campaign.photos * _files(campaign)
    return _layout(campaign.photos, 1, campaign.photos, inodes, 0, rates)


def _archives(campaign: Campaign, rates: Rates) -> Layout:
    part = min(campaign.part, campaign.photos)
    runs = math.ceil(campaign.photos / part)
    archives = runs * math.ceil(part / campaign.archive)
    # A run's files lie in its own folder until the last photo of their archive is finished.
    staged = min(runs, campaign.devices) * min(campaign.archive, part) * _files(campaign)
    return _layout(part, runs, archives + runs, archives + PAPERS * runs, staged, rates)


def _layout(photos: int, runs: int, entries: int, inodes: int, staged: int, rates: Rates) -> Layout:
    """`photos`: of one run, whose input every one of its jobs lists and whose manifest every one reads."""
    listing = photos * rates.list_seconds
    return Layout(
        runs=runs,
        entries=entries,
        inodes=inodes,
        staged=staged,
        manifest_bytes=photos * rates.record_bytes,
        list_seconds=listing,
        start_seconds=listing + photos * rates.read_seconds,
        merge_seconds=photos * rates.merge_seconds,
        job_bytes=photos * (rates.list_bytes + rates.read_bytes),
    )


def _breaks(campaign: Campaign, rates: Rates) -> tuple[Break, ...]:
    found = [
        Break(
            "entries of one folder",
            campaign.folder_entries,
            "photos in sub-folders of some 1,000 (keys, and so results, follow them), or archives",
        ),
        Break(
            "files that the disk grants",
            campaign.inodes // _files(campaign),
            "-o out-{000..}.tar: one file for every 1,000 photos",
        ),
        Break(
            "memory of a job: listing and manifest",
            int(campaign.job_bytes / (rates.list_bytes + rates.read_bytes)),
            "a run for each part of the input: its own archives or list, its own output",
        ),
        Break(
            "time before a job's first photo",
            int(campaign.start_seconds / (rates.list_seconds + rates.read_seconds)),
            "the same: jobs of a part list and read that part alone",
        ),
    ]
    return tuple(sorted(found, key=lambda each: each.photos))
