"""The weights folder on disk: files under their upstream names, and what is remembered about each.

    files/<filename>         the file; the folder can serve as a mirror
    converted/<filename>-<sha>.safetensors
    state/<name>.json        stamp: size, mtime_ns and sha256 of the file when it was last hashed
    state/<name>.licence     the licence text that was shown
    own/<name>.json          the catalogue entry of a file that the user converted
    lock.json                name -> sha256 of entries that were trusted on first use
    parts/                   downloads under way, each under a name of its own

Several processes may use one folder: files appear by rename, and only `lock.json` is guarded by a lock (the operating
system's, so that it dies with its holder).
"""

from __future__ import annotations

import contextlib
import json
import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock

from pipelines.errors import WeightsError
from pipelines.files import parse_json, replacing
from pipelines.weights.assets import packed_path
from pipelines.weights.catalogue import WeightEntry
from pipelines.weights.download import SourceError, sha256_of

_STALE_PART_S = 86_400.0
_LOCK_S = 60.0
_STATE_BYTES = 1 << 16  # a stamp or a licence; what is larger is none


class Cache:
    """The weights folder `home`; nothing is created before the first write."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def file(self, entry: WeightEntry) -> Path:
        """Where the entry's file is or would be."""
        return packed_path(entry.filename) if entry.packed else self.home / "files" / entry.filename

    def has(self, entry: WeightEntry) -> bool:
        """Whether the entry's file is there, right or not; raises WeightsError where this user may not look."""
        try:
            return self.file(entry).is_file()
        except OSError as error:
            raise self._trouble("read", error) from None

    def _trouble(self, verb: str, error: OSError) -> WeightsError:
        return WeightsError(
            f"the weights folder {self.home} cannot be {verb}: {(error.strerror or str(error)).lower()}; "
            "name another one with GANINV_HOME or --weights-dir"
        )

    def converted(self, entry: WeightEntry, sha256: str) -> Path:
        """Where the safetensors made from the entry's file of that hash are or would be."""
        return self.home / "converted" / f"{entry.filename}-{sha256[:16]}.safetensors"

    def expected(self, entry: WeightEntry) -> str:
        """The hash that the file must have: the catalogue's, else the one trusted on first use, else ""."""
        return entry.sha256 or self._lock().get(entry.name, "")

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[Path]:
        """A path for a download under way, like no other process's; whatever is still there afterwards is removed.

        Raises:
            WeightsError: the folder cannot be written to (permissions, disk full).
        """
        folder = self.home / "parts"
        path = folder / f"{name}.{os.getpid()}-{uuid.uuid4().hex[:8]}.part"
        try:
            for place in ("files", "converted", "state", "own", "parts"):
                (self.home / place).mkdir(parents=True, exist_ok=True)
            self._sweep(folder)
            yield path
        except OSError as error:
            raise self._trouble("written", error) from None
        finally:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)

    def check_size(self, entry: WeightEntry, file: Path, where: str) -> None:
        """Compare the size of `file` with the entry's, before it is copied or hashed.

        Raises:
            SourceError: it cannot be read.
            WeightsError: another size.
        """
        try:
            size = file.stat().st_size
        except OSError as error:
            raise SourceError(f"{file} cannot be read: {error.strerror or error}") from None
        if entry.bytes and size != entry.bytes:
            raise WeightsError(
                f"{where} is not the file that '{entry.name}' names: it has {size} bytes, expected {entry.bytes} "
                f"(sha256 {self.expected(entry) or entry.sha256_prefix or 'unknown'})"
            )

    @staticmethod
    def _sweep(folder: Path) -> None:
        """Remove what a killed process left a day ago or earlier."""
        for path in folder.glob("*.part"):
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime > _STALE_PART_S:
                    path.unlink()

    def admit(self, entry: WeightEntry, part: Path, where: str) -> Path:
        """Check `part` against the catalogue (or lock file) and move it to its place.

        Args:
            where: the source in words, for the message.

        Raises:
            WeightsError: another hash than expected, or one of our own files; the part file is deleted.
        """
        if entry.packed:
            raise WeightsError(f"'{entry.name}' travels inside ganinv: no other file can take its place")
        wanted = self.expected(entry) or entry.sha256_prefix
        got = sha256_of(part)
        if not got.startswith(wanted):
            part.unlink(missing_ok=True)
            raise WeightsError(
                f"{entry.filename} from {where} is not the file that '{entry.name}' names: sha256 {got}, expected "
                f"{wanted}; nothing was kept: use another source, or check the mirror"
            )
        path = self.file(entry)
        self._trust(entry, got)
        # Whoever sees the new file before its stamp only hashes it once more.
        os.replace(part, path)
        self._write_stamp(entry.name, path, got)
        return path

    def checked(self, entry: WeightEntry) -> tuple[Path, str] | None:
        """The cached file and its sha256, or None where there is none.

        Size and modification time are compared with the stamp of the last full hash; only a difference, or no
        stamp, costs another hash.

        Raises:
            WeightsError: the file was changed or damaged.
        """
        path = self.file(entry)
        if not self.has(entry):
            if entry.packed:
                raise WeightsError(f"this installation lacks its own file {entry.filename}: install ganinv again")
            return None
        stamp = self.stamped(entry.name, path)
        if stamp and stamp == (self.expected(entry) or stamp):
            return path, stamp
        return path, self.rehash(entry)

    def rehash(self, entry: WeightEntry) -> str:
        """Hash the cached file in full and return the sha256; raises WeightsError where it is not the expected one."""
        path = self.file(entry)
        wanted = self.expected(entry) or entry.sha256_prefix
        try:
            got = (
                sha256_of(path) if entry.bytes in (0, path.stat().st_size) else f"unknown ({path.stat().st_size} bytes)"
            )
        except OSError as error:
            raise self._trouble("read", error) from None
        if not got.startswith(wanted):
            raise WeightsError(
                f"{path} is not the file that '{entry.name}' names: sha256 {got}, expected {wanted}; it was changed or "
                f"damaged: {_again(entry)}"
            )
        # A shared folder may be read-only for this user: then the file is hashed each time, and that is all.
        with contextlib.suppress(OSError):
            (self.home / "state").mkdir(parents=True, exist_ok=True)
            self._trust(entry, got)
            self._write_stamp(entry.name, path, got)
        return got

    def stamped(self, key: str, path: Path) -> str:
        """The sha256 in the stamp `key`, or "" where `path` has changed size or time since, or has no stamp."""
        try:
            stamp = parse_json(_small_text(self.home / "state" / f"{key}.json"))
            state = path.stat()
            fresh = (stamp["size"], stamp["mtime_ns"]) == (state.st_size, state.st_mtime_ns)
            return str(stamp["sha256"]) if fresh else ""
        except (OSError, ValueError, KeyError, TypeError):
            return ""

    def _write_stamp(self, key: str, path: Path, sha256: str) -> None:
        state = path.stat()
        stamp = {"size": state.st_size, "mtime_ns": state.st_mtime_ns, "sha256": sha256}
        write_atomically(self.home / "state" / f"{key}.json", json.dumps(stamp))

    def stamp(self, key: str, path: Path) -> None:
        """Hash a derived file (a conversion) and remember it under `key`."""
        self._write_stamp(key, path, sha256_of(path))

    def remove(self, entry: WeightEntry) -> bool:
        """Forget an entry: file, conversions, stamps and trusted hash; True where there was a file."""
        path = self.file(entry)
        there = path.is_file() and not entry.packed
        for stale in [
            *([] if entry.packed else [path]),
            *(self.home / "converted").glob(f"{entry.filename}-*.safetensors"),
        ]:
            stale.unlink(missing_ok=True)
        for key in (entry.name, f"{entry.name}.converted"):
            (self.home / "state" / f"{key}.json").unlink(missing_ok=True)
        (self.home / "own" / f"{entry.name}.json").unlink(missing_ok=True)
        self.distrust(entry.name)
        return there

    def licence_is_new(self, entry: WeightEntry) -> bool:
        """True until `licence_shown` was told, and again when the licence text has changed."""
        try:
            return _small_text(self.home / "state" / f"{entry.name}.licence") != entry.licence
        except (OSError, ValueError):
            return True

    def licence_shown(self, entry: WeightEntry) -> None:
        """Remember that the licence was shown for a file that is now here."""
        write_atomically(self.home / "state" / f"{entry.name}.licence", entry.licence)

    def _lock(self) -> dict[str, str]:
        path = self.home / "lock.json"
        try:
            if not path.is_file():
                return {}
            return {str(name): str(sha256) for name, sha256 in parse_json(path.read_text(encoding="utf-8")).items()}
        except OSError as error:
            raise self._trouble("read", error) from None
        except (ValueError, AttributeError):
            raise WeightsError(f"{path} is damaged: it must be one JSON object of names and sha256s") from None

    def _trust(self, entry: WeightEntry, sha256: str) -> None:
        """Trust on first use: remember the hash of an entry for which the catalogue has none."""
        if not self.expected(entry):
            self.trust(entry.name, sha256)

    def trusted(self, name: str) -> str:
        """The hash that was trusted on first use under `name`, or ""."""
        return self._lock().get(name, "")

    def trust(self, name: str, sha256: str) -> None:
        """Remember `sha256` as the file of `name`; raises WeightsError where another one was remembered meanwhile."""
        with self._locked() as lock:
            if lock.setdefault(name, sha256) != sha256:
                raise WeightsError(
                    f"'{name}': two processes brought two different files at the same time; the first one was kept"
                )

    def distrust(self, name: str) -> None:
        """Forget the trusted hash of `name`."""
        if name in self._lock():
            with self._locked() as lock:
                lock.pop(name, None)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[dict[str, str]]:
        """`lock.json` for reading and changing, one process at a time."""
        try:
            with FileLock(self.home / "lock.json.guard", timeout=_LOCK_S):
                lock = self._lock()
                yield lock
                write_atomically(self.home / "lock.json", json.dumps(lock, indent=1, sort_keys=True) + "\n")
        except OSError as error:
            raise self._trouble("written", error) from None


def _small_text(path: Path) -> str:
    """A small file's text; raises OSError or ValueError for one that is missing, larger than that, or no text."""
    with path.open("rb") as stream:
        data = stream.read(_STATE_BYTES + 1)
    if len(data) > _STATE_BYTES:
        raise ValueError("too large")
    return data.decode("utf-8")


def _again(entry: WeightEntry) -> str:
    """How to get a file anew, in words."""
    if entry.packed:
        return "install ganinv again (after training, put the new sha256 and bytes into weights.toml)"
    again = f"pull {entry.name}"
    if entry.source_file:
        again = f"convert {entry.source_file} --as {entry.source_entry}"
    return f"run `ganinv weights rm {entry.name}`, then `ganinv weights {again}`"


def write_atomically(path: Path, text: str) -> None:
    """Write a small text file, whole or not at all. Raises OSError."""
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")
