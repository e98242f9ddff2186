"""`hearme data fetch`: public sets by pinned revision and digest from their public homes; resumable, never half there."""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from ..errors import DataError
from ..files import cache_dir, sha256_file

CATALOGUE = Path(__file__).with_name("catalogue.yaml")
Progress = Callable[[int, int | None], None]
"""Called with (bytes so far, bytes in all or None)."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One public set. Exactly one of `archive` (with `folder`), `file` and `link` is given.

    Attributes:
        out: folder it goes to by default.
        link: why it is not fetched and what to do instead.
    """

    name: str
    title: str
    home: str
    licence: str
    citation: str
    format: str
    kind: str
    out: str = ""
    archive: str = ""
    folder: str = ""
    tree_sha256: str = ""
    file: str = ""
    sha256: str = ""
    git_blob: str = ""
    link: str = ""


@cache
def catalogue() -> dict[str, Entry]:
    """All known sets by name."""
    return {
        name: Entry(name, **fields) for name, fields in yaml.safe_load(CATALOGUE.read_text(encoding="utf-8")).items()
    }


def entry(name: str) -> Entry:
    """A set of the catalogue.

    Raises:
        DataError: an unknown name.
    """
    try:
        return catalogue()[name]
    except KeyError:
        raise DataError(
            f"expected a known data set, found {name!r}", where="fetch", hint=f"one of {', '.join(catalogue())}"
        ) from None


def fetch(one: Entry, out: Path | None = None, progress: Progress = lambda done, total: None) -> dict[str, Any]:
    """Download a set, check it, and put it in place whole; a set that is already there and right is left alone.

    Returns:
        `{"name", "path", "files", "cached"}`.

    Raises:
        DataError: a set that may not be redistributed (with its link), no network, a wrong digest, or other files in the way.
    """
    if one.link:
        raise DataError(f"{one.title} is not fetched: {one.link}", where=one.name, hint=one.home)
    folder = out or Path(one.out)
    if one.file:
        target = folder / Path(one.file).name
        if target.is_file() and _matches(one, target):
            return {"name": one.name, "path": str(target), "files": 1, "cached": True}
        part = _download(_mirrored(one.file), one.name, progress)
        if not _matches(one, part):
            part.unlink()
            raise DataError(
                "expected the pinned file, found another digest; it was deleted",
                where=one.file,
                hint="try again; if it stays so, the file at its home has changed",
            )
        folder.mkdir(parents=True, exist_ok=True)
        staged = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        shutil.copyfile(part, staged)
        os.replace(staged, target)
        part.unlink()
        return {"name": one.name, "path": str(target), "files": 1, "cached": False}
    if folder.is_dir() and any(folder.iterdir()):
        if tree_digest(folder) == one.tree_sha256:
            return {"name": one.name, "path": str(folder), "files": len(_data_files(folder)), "cached": True}
        raise DataError(
            "expected an empty folder or the complete set, found other files",
            where=str(folder),
            hint="choose another --out, or remove the folder",
        )
    part = _download(_mirrored(one.archive), one.name, progress)
    staged = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    try:
        _extract(part, one.folder, staged)
        if (found := tree_digest(staged)) != one.tree_sha256:
            raise DataError(
                f"expected the pinned contents, found another digest ({found[:12]}…)",
                where=one.archive,
                hint="try again; if it stays so, the set at its home has changed",
            )
        folder.parent.mkdir(parents=True, exist_ok=True)
        if folder.is_dir():
            folder.rmdir()
        os.replace(staged, folder)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
        part.unlink(missing_ok=True)
    return {"name": one.name, "path": str(folder), "files": len(_data_files(folder)), "cached": False}


def tree_digest(folder: Path) -> str:
    """Sha256 over the names and contents of a folder's .txt and .json files."""
    total = hashlib.sha256()
    rows = sorted((p.relative_to(folder).as_posix(), sha256_file(p)) for p in _data_files(folder))
    for name, digest in rows:
        total.update(f"{name}\0{digest}\n".encode())
    return total.hexdigest()


def git_blob(path: Path) -> str:
    """The git object id of a file's contents."""
    total = hashlib.sha1(f"blob {path.stat().st_size}\0".encode())
    with open(path, "rb") as data:
        while block := data.read(1 << 20):
            total.update(block)
    return total.hexdigest()


def _matches(one: Entry, path: Path) -> bool:
    return sha256_file(path) == one.sha256 if one.sha256 else git_blob(path) == one.git_blob


def _data_files(folder: Path) -> list[Path]:
    return [p for p in folder.rglob("*") if p.suffix in (".txt", ".json") and p.is_file()]


def _mirrored(url: str) -> str:
    """The address, through a mirror if `HEARME_GITHUB_MIRROR` holds a prefix such as `https://mirror.example/`."""
    prefix = os.environ.get("HEARME_GITHUB_MIRROR", "")
    return f"{prefix.rstrip('/')}/{url}" if prefix else url


def _download(url: str, name: str, progress: Progress) -> Path:
    """Download into the cache, going on where an earlier try stopped if the server can."""
    import httpx

    part = cache_dir() / "downloads" / f"{name}-{hashlib.sha256(url.encode()).hexdigest()[:12]}.part"
    part.parent.mkdir(parents=True, exist_ok=True)
    have = part.stat().st_size if part.is_file() else 0
    headers = {"Range": f"bytes={have}-"} if have else {}
    try:
        with httpx.stream("GET", url, headers=headers, follow_redirects=True, timeout=30) as reply:
            if reply.status_code == 416 and have:  # nothing is left to send
                return part
            if reply.status_code not in (200, 206):
                raise DataError(
                    f"expected the file, the server answered {reply.status_code}",
                    where=url,
                    hint="check the network, or set HEARME_GITHUB_MIRROR",
                )
            resumed = reply.status_code == 206
            length = reply.headers.get("content-length")
            total = int(length) + (have if resumed else 0) if length else None
            done = have if resumed else 0
            with open(part, "ab" if resumed else "wb") as out:
                for block in reply.iter_bytes(1 << 16):
                    out.write(block)
                    done += len(block)
                    progress(done, total)
    except (httpx.HTTPError, httpx.InvalidURL) as err:
        raise DataError(
            f"expected a download, found {type(err).__name__}: {err}",
            where=url,
            hint="check the network and run the same command again: it goes on where it stopped; or set HEARME_GITHUB_MIRROR",
        ) from None
    return part


def _extract(archive: Path, wanted: str, target: Path) -> None:
    """Take the plain files under one folder out of a GitHub tarball (its first path part is the repository)."""
    try:
        with tarfile.open(archive, "r:gz") as tar:
            for member in tar:
                inside = member.name.split("/", 1)[-1]
                if not member.isfile() or not inside.startswith(f"{wanted}/"):
                    continue
                path = target / inside.removeprefix(f"{wanted}/")
                if path.suffix not in (".txt", ".json") or not path.resolve().is_relative_to(target.resolve()):
                    continue
                path.parent.mkdir(parents=True, exist_ok=True)
                source = tar.extractfile(member)
                if source is not None:
                    with source, open(path, "wb") as out:
                        shutil.copyfileobj(source, out)
    except (tarfile.TarError, EOFError, OSError) as err:
        archive.unlink(missing_ok=True)
        raise DataError(
            f"expected a tar archive, found {err}; it was deleted",
            where=str(archive),
            hint="run the same command again",
        ) from None
