"""Upload one file and print what became of it.

    python examples/upload_file.py scene.glb [KIND]

Credentials come from SCENARIO_SDK_API_KEY and SCENARIO_SDK_API_SECRET.
"""

import sys

import uploader


def main() -> None:
    """Upload the file named on the command line."""
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    path, kind = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None
    try:
        with uploader.Uploader() as up:
            result = up.upload(path, kind=kind, wait_for="imported")
    except uploader.UploadTimeoutError as error:
        sys.exit(f"{error}\ngo on with: uploader wait {error.upload_id}")
    except uploader.UploaderError as error:
        sys.exit(str(error))
    print(f"{result.file_name} is {result.status}: {result.entity_id}")


if __name__ == "__main__":
    main()
