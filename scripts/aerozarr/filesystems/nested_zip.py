"""A zip archive of zip archives, read as if each inner one were a folder of its name.

Datasets are published so: `scans.zip` holds `run_1.zip`, which holds a sample's files. A chain of
fsspec (`zip://::zip://run_1.zip::…`) opens one inner archive, and takes no pattern for all of them.
"""

from __future__ import annotations

import io
import struct
import zipfile
from typing import Any

from fsspec.archive import AbstractArchiveFileSystem
from fsspec.spec import AbstractFileSystem

from aerozarr.errors import RemoteError
from aerozarr.messages import printable

_SUFFIX = ".zip"
# What macOS adds to archives.
_MAC_FOLDER = "__MACOSX/"
_LOCAL_HEADER = 30


def with_inner_archives(fs: AbstractFileSystem) -> AbstractFileSystem:
    """Return the file system of a zip archive, in which inner archives are folders.

    Parameters
    ----------
    fs
        fsspec's `ZipFileSystem`, which is returned as it is where the archive holds none.

    Raises
    ------
    RemoteError
        When the archive is not whole, or two things in it would be the same folder.
    """
    if not _is_whole(fs.zip):
        raise RemoteError(
            "the archive was cut short: its end is that of an archive within it. Get it again. "
            "(If it unpacks itself, take its program away: zip -J.)"
        )
    inner: dict[str, zipfile.ZipInfo] = {}
    for entry in fs.zip.infolist():
        if not _is_archive(entry.filename):
            continue
        other = inner.setdefault(entry.filename[: -len(_SUFFIX)], entry)
        if other is not entry:
            raise _same_folder(entry.filename, other.filename)
    for name in fs.zip.namelist() if inner else ():
        for folder in _folders_of(name):
            if folder in inner:
                raise _same_folder(name, inner[folder].filename)
    return NestedZipFileSystem(fs, inner) if inner else fs


def _is_whole(archive: zipfile.ZipFile) -> bool:
    """Whether an archive begins where its file does.

    The directory is found from a file's end. Of one that was cut short, the last archive within it
    (a `.pt` file is one, too) would be taken for the whole, and all that lies before for a program.
    """
    begins = [entry.header_offset for entry in archive.infolist()]
    return min(begins, default=archive.start_dir) == 0


def _same_folder(one: str, other: str) -> RemoteError:
    return RemoteError(
        f"the archive holds {printable(one)!r} and {printable(other)!r}, which would be one "
        "folder. Take one of them out: zip -d."
    )


def _is_archive(name: str) -> bool:
    is_named = name.rpartition("/")[2].lower() != _SUFFIX and name.lower().endswith(_SUFFIX)
    return is_named and not name.startswith(_MAC_FOLDER)


class NestedZipFileSystem(AbstractArchiveFileSystem):  # type: ignore[misc] # fsspec has no types
    """Reads a zip archive of zip archives.

    Parameters
    ----------
    outer
        The archive around them.
    inner
        The archives in it, by the path of the folder that each is taken for: its name without
        `.zip`. Where all that one holds lies in a folder of that name again, the two are one.
    """

    root_marker = ""
    protocol = "zip"
    cachable = False

    def __init__(self, outer: Any, inner: dict[str, zipfile.ZipInfo]) -> None:
        super().__init__()
        self.fo = outer.fo
        self.dir_cache: dict[str, dict[str, Any]] | None = None
        self._outer = outer
        self._inner = inner
        # A job reads the files of one sample.
        self._last: tuple[str, zipfile.ZipFile, dict[str, zipfile.ZipInfo]] | None = None

    @classmethod
    def _strip_protocol(cls, path: str) -> str:
        return str(super()._strip_protocol(path)).lstrip("/")

    def _get_dirs(self) -> None:
        if self.dir_cache is not None:
            return
        archives = {entry.filename for entry in self._inner.values()}
        entries = {
            entry.filename: entry
            for entry in self._outer.zip.infolist()
            if not entry.is_dir() and entry.filename not in archives
        }
        for folder in self._inner:
            _, members = self._open_inner(folder)
            entries.update((f"{folder}/{name}", entry) for name, entry in members.items())
        folders = {*self._all_dirnames(list(entries)), *self._inner}
        listed: dict[str, dict[str, Any]] = {
            name: {"name": name, "size": 0, "type": "directory"} for name in folders
        }
        for name, entry in entries.items():
            size, crc = entry.file_size, entry.CRC
            listed[name] = {"name": name, "size": size, "type": "file", "CRC": crc}
        self.dir_cache = listed

    def ls(self, path: str, detail: bool = True, **_: Any) -> Any:
        """Return what lies directly in a folder; with `detail`, what is known of each."""
        self._get_dirs()
        folder = path.strip("/")
        found = [
            entry
            for name, entry in sorted((self.dir_cache or {}).items())
            if name.rpartition("/")[0] == folder
        ]
        if not found and self.info(folder)["type"] == "file":
            found = [self.info(folder)]
        return found if detail else [entry["name"] for entry in found]

    def find(self, path: str, detail: bool = False, **_: Any) -> Any:
        """Return all files below a folder; with `detail`, as a dict to what is known of each."""
        self._get_dirs()
        start = f"{path.strip('/')}/" if path.strip("/") else ""
        found = {
            name: entry
            for name, entry in sorted((self.dir_cache or {}).items())
            if entry["type"] == "file" and name.startswith(start)
        }
        return found if detail else list(found)

    def empty_folders(self) -> list[str]:
        """Return the folders of inner archives in which there is no file."""
        return [folder for folder in self._inner if not self.find(folder)]

    def _open(self, path: str, mode: str = "rb", **_: Any) -> Any:
        if mode != "rb":
            raise OSError("an archive of archives is only read")
        path = self._strip_protocol(path)
        folder = next((folder for folder in _folders_of(path) if folder in self._inner), None)
        if folder is None:
            return self._outer.open(path, mode)
        archive, members = self._open_inner(folder)
        name = path[len(folder) + 1 :]
        if name not in members:
            raise FileNotFoundError(path)
        return _opened(archive, members[name])

    def _open_inner(self, folder: str) -> tuple[zipfile.ZipFile, dict[str, zipfile.ZipInfo]]:
        """Open an inner archive; return it, and its files by their path below its folder."""
        if self._last is None or self._last[0] != folder:
            entry = self._inner[folder]
            try:
                archive = zipfile.ZipFile(self._stream_of(entry))
            except zipfile.BadZipFile:
                raise RemoteError(
                    f"{printable(entry.filename)!r} in the source's archive is damaged, or no zip "
                    "archive. Get the archive again, or take that file out of it: zip -d."
                ) from None
            if not _is_whole(archive):
                raise RemoteError(
                    f"{printable(entry.filename)!r} in the source's archive was cut short. Get the "
                    "archive again, or take that file out of it: zip -d."
                )
            # Some programs of Windows part folders by what no other does.
            files = {
                one.filename.replace("\\", "/"): one
                for one in archive.infolist()
                if not one.is_dir()
            }
            own = f"{folder.rpartition('/')[2]}/"
            names = [name for name in files if not name.startswith(_MAC_FOLDER)]
            cut = len(own) if names and all(name.startswith(own) for name in names) else 0
            members = {
                name if name.startswith(_MAC_FOLDER) else name[cut:]: one
                for name, one in files.items()
            }
            self._last = folder, archive, members
        return self._last[1], self._last[2]

    def _stream_of(self, entry: zipfile.ZipInfo) -> Any:
        """Return an inner archive as a file that can be moved in."""
        if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
            # Each move back unpacks it from its beginning.
            return _opened(self._outer.zip, entry)
        self.fo.seek(entry.header_offset)
        header = self.fo.read(_LOCAL_HEADER)
        if len(header) < _LOCAL_HEADER or header[:4] != b"PK\x03\x04":
            raise zipfile.BadZipFile("header")
        start = entry.header_offset + _LOCAL_HEADER + sum(struct.unpack("<HH", header[26:30]))
        return io.BufferedReader(_Window(self.fo, start, entry.file_size))


def _opened(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Any:
    try:
        return archive.open(entry)
    except (NotImplementedError, RuntimeError):  # what zipfile raises of a method, of a password
        raise RemoteError(
            f"{printable(entry.filename)!r} in the source's archive is packed in a way that is not "
            "read here, or encrypted. Unpack the archive, and pack it anew: zip -r."
        ) from None


def _folders_of(path: str) -> list[str]:
    """Return the folders that a path lies in, the outermost first."""
    parts = path.split("/")
    return ["/".join(parts[:depth]) for depth in range(1, len(parts))]


class _Window(io.RawIOBase):
    """A part of a file, as a file: what zipfile gives reads all before a place to get there."""

    def __init__(self, file: Any, start: int, size: int) -> None:
        self._file, self._start, self._size = file, start, size
        self._place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise OSError("before the file's begin")
        self._place = base + offset
        return self._place

    def readinto(self, buffer: Any) -> int:
        count = max(0, min(len(buffer), self._size - self._place))
        self._file.seek(self._start + self._place)
        content = self._file.read(count)
        buffer[: len(content)] = content
        self._place += len(content)
        return len(content)
