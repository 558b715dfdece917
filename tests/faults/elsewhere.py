"""An upload in a network of its own, where names lead where a test wants them to: run by `unshare -mn`.

Told on the command line, as JSON: `hosts`, a list of addresses and names; `deaf`, an address that answers no
attempt to connect; `storage_hosts` of the uploader. It prints, as JSON: the `outcome`, the `message` of an
error, how many `connections` and `puts` the service saw.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import trustme

from tests.faults.cases import EXACT
from tests.faults.peer import peer
from tests.faults.rig import PATIENT, QUICK, Rig, make_file
from tests.transfer.servers import deaf
from uploader import Uploader
from uploader.local import serve

API, STORE = "api.test", "store.test"


def main(told: dict[str, Any]) -> None:
    """Set the network up, upload, and tell."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        _lead(told["hosts"], folder)
        pair = _certificate(folder)
        service = stack.enter_context(serve(stage_delay=0.02))
        # A deaf address has the peer's port, so the peer may not take that on every address.
        host = "127.0.0.1" if told.get("deaf") else "0.0.0.0"
        front = stack.enter_context(peer(service.base_url, {}, certificate=pair, host=host))
        port = int(front.origin.rpartition(":")[2])
        front.origin = f"https://{STORE}:{port}"
        if told.get("deaf"):
            stack.enter_context(deaf(told["deaf"], port))
        uploader = Uploader(
            base_url=f"https://{API}:{port}/v1",
            api_key=service.api_key,
            api_secret=service.api_secret,
            retry=QUICK,
            timeouts=PATIENT,
            state_dir=folder / "state",
            storage_hosts=told.get("storage_hosts"),
        )
        rig = Rig(service, front, stack.enter_context(uploader), (EXACT, "PartError", "AnswerError"))
        outcome = rig.upload(make_file(folder / "scene.glb", 6 * 1024 * 1024))
        puts = sum(head.startswith(b"PUT ") for head in front.heads)
        said = str(rig.error or "")
        came_to = {"outcome": outcome, "message": said, "connections": front.connections, "puts": puts}
        sys.stdout.write(json.dumps(came_to))


def _lead(hosts: list[list[str]], folder: Path) -> None:
    """Have each address on this machine, and each name lead to its addresses."""
    names = folder / "hosts"
    names.write_text("".join(f"{address} {name}\n" for address, name in hosts))
    subprocess.run(["mount", "--bind", names, "/etc/hosts"], check=True)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for address in {address for address, _ in hosts if not address.startswith("127.")}:
        subprocess.run(["ip", "address", "add", f"{address}/32", "dev", "lo"], check=True)


def _certificate(folder: Path) -> tuple[Path, Path]:
    authority = trustme.CA()
    leaf = authority.issue_cert(API, STORE)
    leaf.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    leaf.private_key_pem.write_to_path(folder / "key.pem")
    authority.cert_pem.write_to_path(sys.argv[2])
    return folder / "cert.pem", folder / "key.pem"


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
