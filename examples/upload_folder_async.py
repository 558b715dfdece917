"""Upload every picture in a folder, three at a time, without blocking the event loop.

python examples/upload_folder_async.py FOLDER
"""

import asyncio
import sys
from pathlib import Path

from uploader import AsyncUploader, UploaderError


async def main(folder: Path) -> None:
    """Upload `folder`'s pictures; one that fails does not stop the others."""
    places = asyncio.Semaphore(3)

    async def one(path: Path) -> None:
        async with places:
            try:
                result = await up.upload(path, kind="image", progress=False)
            except UploaderError as error:
                print(f"{path.name}: {error}")
            else:
                print(f"{path.name}: {result.status}")

    async with AsyncUploader() as up:
        await asyncio.gather(*(one(path) for path in sorted(folder.glob("*.png"))))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    asyncio.run(main(Path(sys.argv[1])))
