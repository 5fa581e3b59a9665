"""GraphiQL's own files, so that the explorer works offline: ``python -m amity_graphql.assets`` fetches them.

They come from npm, where node is there. Without them the explorer's page loads the same files from a CDN. Either
way they are checked against the digests below.
"""

from __future__ import annotations

import base64
import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "static"
CDN = "https://unpkg.com"


@dataclass(frozen=True)
class Asset:
    """A file of an npm package, and its digest as browsers want it."""

    package: str
    version: str
    path: str
    digest: str
    """SHA-384 in base 64."""

    @property
    def name(self) -> str:
        """What it is called in our folder."""
        return f"{self.package.split('/')[-1]}-{Path(self.path).name}"

    @property
    def url(self) -> str:
        return f"{CDN}/{self.package}@{self.version}/{self.path}"


REACT = Asset(
    "react",
    "18.2.0",
    "umd/react.production.min.js",
    "tMH8h3BGESGckSAVGZ82T9n90ztNXxvdwvdM6UoR56cYcf+0iGXBliJ29D+wZ/x8",
)
REACT_DOM = Asset(
    "react-dom",
    "18.2.0",
    "umd/react-dom.production.min.js",
    "bm7MnzvK++ykSwVJ2tynSE5TRdN+xL418osEVF2DE/L/gfWHj91J2Sphe582B1Bh",
)
GRAPHIQL = Asset(
    "graphiql",
    "3.8.3",
    "graphiql.min.js",
    "HbRVEFG0JGJZeAHCJ9Xm2+tpknBQ7QZmNlO/DgZtkZ0aJSypT96YYGRNod99l9Ie",
)
GRAPHIQL_STYLE = Asset(
    "graphiql",
    "3.8.3",
    "graphiql.min.css",
    "Mq3vbRBY71jfjQAt/DcjxUIYY33ksal4cgdRt9U/hNPvHBCaT2JfJ/PTRiPKf0aM",
)
ASSETS = (REACT, REACT_DOM, GRAPHIQL, GRAPHIQL_STYLE)


class FetchFailed(Exception):
    """Raised when the files can't be had; the message says why."""


def complete(folder: Path = FOLDER) -> bool:
    """Whether all files are there."""
    return all((folder / asset.name).is_file() for asset in ASSETS)


def fetch(folder: Path = FOLDER, npm: str = "npm") -> None:
    """Fetches the files from npm. Raises :class:`FetchFailed`."""
    with tempfile.TemporaryDirectory() as scratch:
        unpacked: dict[str, Path] = {}
        for asset in ASSETS:
            package = f"{asset.package}@{asset.version}"
            if package not in unpacked:
                unpacked[package] = _unpack(npm, package, Path(scratch) / str(len(unpacked)))
            source = unpacked[package] / asset.path
            if not source.is_file():
                raise FetchFailed(f"{package} has no file {asset.path}")
            digest = base64.b64encode(hashlib.sha384(source.read_bytes()).digest()).decode()
            if digest != asset.digest:
                raise FetchFailed(f"{asset.path} of {package} is not the file that was expected; it was not taken")
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, folder / asset.name)


def _unpack(npm: str, package: str, folder: Path) -> Path:
    folder.mkdir()
    command = [npm, "pack", package, "--silent", "--pack-destination", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
        archive = next(folder.glob("*.tgz"))
        with tarfile.open(archive) as opened:
            opened.extractall(folder, filter="data")
    except subprocess.CalledProcessError as error:
        reason = (error.stderr.strip() or f"exit status {error.returncode}").splitlines()[-1]
        raise FetchFailed(f"npm could not get {package}: {reason}") from error
    except (OSError, StopIteration, subprocess.TimeoutExpired, tarfile.TarError) as error:
        raise FetchFailed(f"npm could not get {package}: {error}") from error
    return folder / "package"


def main() -> None:
    """Fetches the files if they are not there and node is; otherwise says what happens instead."""
    if complete():
        return
    if shutil.which("npm") is None:
        print("node is not installed: GraphiQL will come from its CDN", file=sys.stderr)
        return
    try:
        fetch()
    except FetchFailed as error:
        print(f"{error}: GraphiQL will come from its CDN", file=sys.stderr)


if __name__ == "__main__":
    main()
