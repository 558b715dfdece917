"""Usage as the types allow it: checked by mypy, never run."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import assert_type

import uploader
from uploader import AsyncUploader, PendingUpload, Uploader, UploadResult


def sync() -> None:
    assert_type(uploader.upload("model.safetensors"), UploadResult)
    with Uploader(
        api_key="k",
        api_secret="s",
        project_id="proj_1",
        timeouts=uploader.Timeouts(stall=60),
        executor=ProcessPoolExecutor(),
    ) as up:
        result = up.upload(
            Path("scene.glb"),
            kind="3d",
            asset_options={"hide": True},
            part_size=8 * 1024 * 1024,
            concurrency=4,
            wait_for="imported",
            verify="none",
            timeout=3600,
            progress=print,
            cancelled=threading.Event(),
        )
        assert_type(result, UploadResult)
        assert_type(result.entity_id, str | None)
        assert_type(up.wait(result.upload_id), UploadResult)
        for pending in up.uploads():
            assert_type(pending, PendingUpload)
            assert_type(pending.bytes_stored, int)
            assert_type(up.resume(pending.upload_id, verify_source="full", wait_lock=True), UploadResult)
            up.resume(pending.upload_id, cancelled=threading.Event())
            up.forget(pending.upload_id)
        up.resume("upload_1", part_size=1)  # type: ignore[call-arg]
        up.upload("scene.glb", resume=False, verify_source="sampled")
        up.upload("scene.glb", cancelled=True)  # type: ignore[arg-type]
        up.upload("scene.glb", wait_for="godot")  # type: ignore[arg-type]
        up.upload("scene.glb", chunk_size=1)  # type: ignore[call-arg]
        up.upload("scene.glb", concurrency="many")  # type: ignore[arg-type]


async def asynchronous() -> None:
    async with AsyncUploader(project_id="proj_1") as up:
        assert_type(await up.upload("clip.mp4", wait_for=None), UploadResult)
        first, second = await asyncio.gather(up.upload("a.png"), up.upload("b.png"))
        assert_type((first, second), tuple[UploadResult, UploadResult])


def errors() -> None:
    try:
        sync()
    except uploader.PartError as error:
        assert_type(error.part, int)
    except uploader.UploaderError as error:
        assert_type(error.upload_id, str | None)
        assert_type(error.resumable, bool)
