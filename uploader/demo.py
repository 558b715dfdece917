"""`uploader demo`: a real upload, to an embedded service that goes wrong three times."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

from uploader import local
from uploader.client import Uploader
from uploader.core.plan import DEFAULT_PART_SIZE, Limits, make_plan
from uploader.errors import InputError, UploaderError
from uploader.io.source import Source
from uploader.media import kind_of
from uploader.models import Kind, UploadResult
from uploader.observe.report import summary
from uploader.sample import make_sample
from uploader.saying import tell

SIZE = 256 * 1024 * 1024

_PYTHON = """\
    import uploader
    with uploader.Uploader() as up:  # credentials from the environment
        print(up.upload("{name}", kind="{kind}"))"""


def run(file: Path | None) -> None:
    """Upload `file`, or one of 256 MiB made for it, and say what happened.

    Raises:
        UploaderError: it did not work, or the stored object is not the file.
    """
    with tempfile.TemporaryDirectory(prefix="uploader-demo-") as folder:
        path = file or make_sample(Path(folder) / "demo.safetensors", SIZE)
        source = Source.find(path)
        plan = make_plan(source.size, _part_size(source.size))
        expired, refused, dropped = _spread(plan.count)
        faults = [f"expire:part={expired}", f"503:part={refused}", f"drop:part={dropped}:at=50%"]
        with local.serve(Path(folder) / "service", faults=faults) as service:
            tell(f"An embedded service listens on {service.base_url}. It will go wrong three times:")
            tell(f"  {'   '.join(faults)}")
            kind = _kind(path)
            with Uploader(
                base_url=service.base_url,
                api_key=service.api_key,
                api_secret=service.api_secret,
                state_dir=Path(folder) / "state",
            ) as uploader:
                result = uploader.upload(
                    path, kind=kind, part_size=plan.part_size, wait_for="imported", progress=True
                )
            _compare(path, service.sha256(result.upload_id))
    _tell(path.name, kind, result)


def _tell(name: str, kind: Kind, result: UploadResult) -> None:
    tell(f"{result.status}: {result.entity_id}")
    tell(summary(result))
    for line in ("", "The same in Python:", *_PYTHON.format(name=name, kind=kind).splitlines()):
        tell(line)


def _compare(path: Path, stored: str) -> None:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != stored:
        raise UploaderError(f"the stored object's SHA-256 is {stored}, the file's is {digest}")
    tell(f"The stored object's SHA-256 equals the file's: {digest}")


def _spread(count: int) -> tuple[int, int, int]:
    """Three part numbers across the file; where it has fewer parts, some are the same."""
    return max(1, count // 4), max(1, count // 2), max(1, count * 3 // 4)


def _part_size(size: int) -> int | None:
    """Small enough that a small file has several parts too."""
    return Limits().min_part if size < 4 * DEFAULT_PART_SIZE else None


def _kind(path: Path) -> Kind:
    try:
        return kind_of(path.name)
    except InputError:
        return Kind.ASSET
