"""An embedded Scenario-compatible upload service with its own object store, or any S3 store, behind it.

    from uploader.local import serve

    with serve(faults=["503:part=3", "drop:part=5:at=50%"]) as service:
        os.environ.update(service.environment)

For tests and for trying things out: as strict as the real services or stricter. `serve` says what can be
set, `uploader.local.faults` what can go wrong.
Nothing here is shared with the client, so that a misunderstanding of the wire is not mirrored on both sides.
"""

from uploader.local.recording import Recorded
from uploader.local.server import serve
from uploader.local.service import Service
from uploader.local.store import StoredPart

__all__ = ["Recorded", "Service", "StoredPart", "serve"]
