"""A real object store behind the service: what only such a store can do, lose and refuse."""

from __future__ import annotations

import io
import json
import logging
import stat
import subprocess
import sys
import time
from calendar import timegm
from collections.abc import Iterator
from hashlib import md5, sha256
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.stores.store import Store
from uploader.local import serve
from uploader.local.s3object import ObjectReader

MIB = 1024 * 1024
PART = 5 * MIB

pytestmark = pytest.mark.real_store


@pytest.fixture
def bucket(real_store: Store) -> Iterator[Bucket]:
    with real_store.client() as client:
        yield Bucket(client, real_store.bucket)


class Bucket:
    """The store as its owner sees it, without the service."""

    def __init__(self, client: Any, name: str) -> None:
        self.client, self.name = client, name

    def names(self, upload: dict[str, Any]) -> dict[str, str]:
        return {"Bucket": self.name, "Key": f"{upload['id']}/{upload['fileName']}"}

    def begun(self, upload: dict[str, Any]) -> list[str]:
        """The ids of the multipart uploads for this upload."""
        names = self.names(upload)
        answer = self.client.list_multipart_uploads(Bucket=self.name, Prefix=names["Key"])
        return [it["UploadId"] for it in answer.get("Uploads", ())]

    def count(self, upload: dict[str, Any]) -> int:
        """Of the multipart uploads for this upload, whatever the key."""
        answer = self.client.list_multipart_uploads(Bucket=self.name, Prefix=f"{upload['id']}/")
        return len(answer.get("Uploads", ()))

    def abort(self, upload: dict[str, Any]) -> None:
        for multipart_id in self.begun(upload):
            self.client.abort_multipart_upload(**self.names(upload), UploadId=multipart_id)

    def join(self, upload: dict[str, Any]) -> None:
        """What the service does when it is told that all is there."""
        (multipart_id,) = self.begun(upload)
        names = {**self.names(upload), "UploadId": multipart_id}
        parts = [
            {"PartNumber": part["PartNumber"], "ETag": part["ETag"]}
            for part in self.client.list_parts(**names)["Parts"]
        ]
        self.client.complete_multipart_upload(**names, MultipartUpload={"Parts": parts})


def completed(session: Any, directory: Path, content: bytes = b"abc") -> dict[str, Any]:
    """An upload that is all there, and told to be, but not looked at before the service stopped."""
    with session(directory, stage_delay=3600.0) as api:
        upload = api.create(fileSize=len(content))
        assert api.put(upload, 1, content).status_code == 200
        assert api.complete(upload).json()["upload"]["status"] == "validating"
    return dict(upload)


def test_links_lead_straight_to_the_store_and_tell_when_they_end(start: Any, real_store: Store) -> None:
    api = start(ttl=90.5)
    (part,) = api.create(fileName="ünï %41 ?#.bin")["parts"]
    query = {name: values[0] for name, values in parse_qs(urlsplit(part["url"]).query).items()}
    assert part["url"].startswith(f"{real_store.endpoint}/{real_store.bucket}/upload_")
    assert (query["X-Amz-Algorithm"], query["X-Amz-Expires"]) == ("AWS4-HMAC-SHA256", "91")
    begins = time.strptime(query["X-Amz-Date"], "%Y%m%dT%H%M%SZ")
    ends = time.strptime(part["expires"], "%Y-%m-%dT%H:%M:%S.000Z")
    assert timegm(ends) - timegm(begins) == 91


def test_the_object_has_the_name_and_the_type_of_the_file(start: Any, bucket: Bucket) -> None:
    api = start(stage_delay=0)
    done = api.send(b"\xff\xd8\xff\xe0", name="ünï %41 ?#.jpg", contentType="image/jpeg", kind="image")
    assert done["status"] == "imported"
    found = bucket.client.head_object(**bucket.names(done))
    assert (found["ContentLength"], found["ContentType"]) == (4, "image/jpeg")


def test_a_name_that_is_longer_than_a_store_takes_is_cut_at_its_beginning(start: Any, bucket: Bucket) -> None:
    api, name = start(stage_delay=0), "é" * 500 + ".jpg"
    done = api.send(b"not a jpeg", name=name)
    assert done["errorMessage"] == "validation failed: jpeg: the file does not start like one"
    assert api.send(b"\xff\xd8\xff", name=name)["status"] == "imported"
    found = bucket.client.list_objects_v2(Bucket=bucket.name, Prefix=done["id"])["Contents"]
    assert [it["Key"] for it in found] == [f"{done['id']}/{'é' * 125}.jpg"]


def test_the_secret_is_in_no_answer_no_record_and_no_log(
    session: Any, real_store: Store, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    with caplog.at_level(logging.DEBUG), session(tmp_path, resign=False, stage_delay=0) as api:
        api.send(b"abc")
        answers = api.get(api.create()).text
    records = [path.read_text() for path in tmp_path.rglob("*.json")]
    assert [text for text in (answers, caplog.text) if real_store.access_key in text]
    assert not [text for text in (answers, caplog.text, *records) if real_store.secret_key in text]


def test_an_object_larger_than_what_is_read_at_once_is_read_whole(start: Any) -> None:
    content = bytes(range(256)) * (80 * 1024) + b"end"
    api = start(stage_delay=0)
    done = api.send(content)
    assert api.service.sha256(done["id"]) == sha256(content).hexdigest()
    with api.service.open(done["id"]) as file:
        assert file.seek(-5, io.SEEK_END) == len(content) - 5
        assert file.read() == content[-5:]
        file.seek(17)
        assert file.read(1_000_000) == content[17:1_000_017]


def test_links_that_must_not_change_are_kept_for_their_owner_only(
    session: Any, eventually: Any, tmp_path: Path
) -> None:
    with session(tmp_path, resign=False, stage_delay=0) as api:
        upload = api.create()
        kept = tmp_path / "links" / f"{upload['id']}.json"
        assert sys.platform == "win32" or stat.S_IMODE(kept.stat().st_mode) == 0o600
        api.put(upload, 1, b"abc")
        api.complete(upload)
        eventually(lambda: not kept.exists())


@pytest.mark.parametrize("content", [b"abc", bytes(PART)])
def test_a_part_that_was_sent_twice_is_in_the_object_once(start: Any, content: bytes) -> None:
    api = start(stage_delay=0)
    upload = api.create(fileSize=len(content))
    for _ in range(2):
        assert api.put(upload, 1, content).status_code == 200
    assert api.service.stored_parts(upload["id"])[1].md5 == md5(content).hexdigest()
    assert api.complete(upload).status_code == 200
    assert api.settle(upload, "imported", "failed")["status"] == "imported"
    assert api.service.sha256(upload["id"]) == sha256(content).hexdigest()


def test_two_versions_of_a_part_that_the_store_cannot_tell_apart_do_not_become_an_object(
    start: Any, real_store: Store
) -> None:
    """SeaweedFS lists both, dated by the second; others have the later one only."""
    api, contents = start(stage_delay=0), (b"abc", b"xyz")
    for _ in range(10):
        upload, second = api.create(), int(time.time())
        for content in contents:
            assert api.put(upload, 1, content).status_code == 200
        if int(time.time()) == second:
            break
    api.complete(upload)
    done = api.settle(upload, "imported", "failed")
    if real_store.name == "seaweedfs":
        assert done["errorMessage"] == "part 1 was sent twice within a second, and not the same"
    else:
        assert api.service.sha256(upload["id"]) == sha256(contents[1]).hexdigest()


@pytest.mark.parametrize("late", [b"abc", b"xyz", b"longer"])
def test_a_part_that_comes_after_complete_does_no_harm(start: Any, real_store: Store, late: bytes) -> None:
    api = start(stage_delay=0)
    upload = api.create()
    api.put(upload, 1, b"abc")
    api.complete(upload)
    api.settle(upload, "imported")
    if real_store.manners.takes_late_parts and late != b"abc":
        pytest.skip("the object of this store is broken by it: see tests/stores")
    taken = real_store.manners.takes_late_parts
    assert api.put(upload, 1, late).status_code == (200 if taken else 404)
    with api.service.open(upload["id"]) as file:
        assert file.read() == b"abc"


def test_joined_parts_whose_joiner_was_killed_are_found_as_the_object(
    session: Any, bucket: Bucket, tmp_path: Path
) -> None:
    upload = completed(session, tmp_path)
    bucket.join(upload)
    with session(tmp_path, stage_delay=0) as api:
        assert api.settle(upload, "imported", "failed")["status"] == "imported"
        assert api.service.sha256(upload["id"]) == sha256(b"abc").hexdigest()


def test_an_object_of_another_size_fails_with_both_sizes(session: Any, later: Any, tmp_path: Path) -> None:
    upload = completed(session, tmp_path)
    later()
    link = upload["parts"][0]["url"]  # it is still good
    assert httpx.put(link, content=b"longer", trust_env=False).status_code == 200
    with session(tmp_path, stage_delay=0) as api:
        done = api.settle(upload, "imported", "failed")
    assert done["errorMessage"] == "the object has 6 bytes, fileSize is 3"


def test_parts_the_store_dropped_before_they_were_joined_fail_the_upload(
    session: Any, bucket: Bucket, tmp_path: Path
) -> None:
    upload = completed(session, tmp_path)
    bucket.abort(upload)
    with session(tmp_path, stage_delay=0) as api:
        done = api.settle(upload, "imported", "failed")
    assert done["errorMessage"] == "the object store has dropped the parts"


def test_an_upload_the_store_dropped_is_not_found_when_it_is_completed(
    start: Any, refused: Any, bucket: Bucket
) -> None:
    """So that a client starts over: a rule of the bucket may abort what is older than a week."""
    api = start()
    upload = api.create()
    api.put(upload, 1, b"abc")
    bucket.abort(upload)
    assert refused(api.complete(upload))[:2] == (404, "NotFound")
    assert refused(api.get(upload))[:2] == (404, "NotFound")


def test_a_temporary_service_joins_nothing_any_more_and_drops_the_parts(session: Any, bucket: Bucket) -> None:
    with session(stage_delay=3600.0) as api:
        upload = api.create()
        api.put(upload, 1, b"abc")
        assert api.complete(upload).json()["upload"]["status"] == "validating"
        assert bucket.begun(upload)
    assert bucket.begun(upload) == []


def test_what_a_temporary_service_leaves_pending_is_dropped_and_what_is_done_stays(
    session: Any, bucket: Bucket
) -> None:
    with session(stage_delay=0) as api:
        pending, done = api.create(), api.send(b"abc")
        api.put(pending, 1, b"abc")
        assert bucket.begun(pending)
    assert bucket.begun(pending) == []
    assert bucket.client.head_object(**bucket.names(done))["ContentLength"] == 3


def test_an_abandoned_upload_is_aborted(
    session: Any, bucket: Bucket, refused: Any, eventually: Any, tmp_path: Path
) -> None:
    with session(tmp_path) as api:
        upload = api.create()
        assert api.put(upload, 1, b"abc").status_code == 200
        assert bucket.begun(upload)
    with session(tmp_path, ttl=1, abandon_after=0) as api:
        eventually(lambda: not bucket.begun(upload))
        assert refused(api.get(upload))[:2] == (404, "NotFound")


def test_an_upload_is_aborted_whatever_its_file_is_called(
    session: Any, bucket: Bucket, real_store: Store
) -> None:
    if real_store.name == "swift":
        pytest.skip("it takes no such name")
    with session() as api:
        upload = api.create(fileName="x\ufffe.bin")  # which XML cannot say
        assert bucket.count(upload) == 1
    assert bucket.count(upload) == 0


def test_an_upload_whose_beginning_was_cut_off_is_aborted(
    session: Any, bucket: Bucket, tmp_path: Path, eventually: Any
) -> None:
    """The store has begun it, but the service was killed before it knew what the store calls it."""
    with session(tmp_path) as api:
        upload = api.create()
    path = tmp_path / "uploads" / f"{upload['id']}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"multipart_id": None, "created_at": 0.0}))
    assert bucket.begun(upload)
    with session(tmp_path):
        eventually(lambda: not path.exists())
    assert bucket.begun(upload) == []


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"s3_bucket": None}, "needs both"),
        ({"s3_endpoint": None}, "needs both"),
        ({"s3_endpoint": "store.example"}, "must be a URL"),
        ({"s3_endpoint": "https://key:secret@store.example"}, "must be a URL such as [^@]*$"),
        ({"s3_endpoint": "http://store.example:x"}, "must be a URL"),
        ({"s3_endpoint": "http://store.example"}, "must be https, or on this machine"),
        ({"s3_endpoint": "http://127.0.0.1:1"}, "http://127.0.0.1:1 cannot be reached"),
        ({"s3_bucket": "nonesuch"}, "has no bucket 'nonesuch'"),
        ({"s3_bucket": "no/bucket"}, "'no/bucket' cannot be the name of a bucket"),
        ({"faults": ["503:part=1"]}, "fault '503:part=1': parts go to the S3 store"),
        ({"rate": 1000.0}, "rate: parts go to the S3 store"),
        ({"clock_offset": 1.0}, "clock_offset: the S3 store has a clock of its own"),
    ],
)
def test_what_cannot_work_is_told_before_the_service_starts(
    behind: dict[str, Any], wrong: dict[str, Any], said: str
) -> None:
    with pytest.raises((ValueError, OSError), match=said), serve(**(behind | wrong)):
        pass


def test_a_directory_belongs_to_the_store_it_was_begun_with(
    behind: dict[str, Any], session: Any, tmp_path: Path
) -> None:
    own, bucket = tmp_path / "own", tmp_path / "bucket"
    with serve(own), session(bucket):
        pass
    with (
        pytest.raises(ValueError, match="own belongs to the service's own store, not to bucket"),
        session(own),
    ):
        pass
    said = (
        f"bucket belongs to bucket {behind['s3_bucket']} at {behind['s3_endpoint']}, not to the service's own"
    )
    with pytest.raises(ValueError, match=said), serve(bucket):
        pass
    with session(bucket, s3_endpoint=f"{behind['s3_endpoint']}/") as api:
        assert api.try_create().status_code == 200


def test_a_directory_with_uploads_that_does_not_say_whose_it_is_is_the_own_stores(
    session: Any, tmp_path: Path
) -> None:
    with session(tmp_path, s3_endpoint=None, s3_bucket=None) as api:
        api.create()
    (tmp_path / "store").unlink()  # as it was made before it was written down
    with pytest.raises(ValueError, match="belongs to the service's own store"), session(tmp_path):
        pass


def test_faults_of_calls_work_as_ever(start: Any) -> None:
    api = start(faults=["503:on=create"])
    assert [api.try_create().status_code for _ in range(2)] == [503, 200]


def test_wrong_credentials_are_told_without_them(
    behind: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret")
    with pytest.raises(OSError, match="refuses the credentials") as caught, serve(**behind):
        pass
    assert "wrong-secret" not in str(caught.value)


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy"])
def test_no_proxy_is_asked_for_a_store_on_this_machine(
    behind: dict[str, Any], monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "http://127.0.0.1:1")  # where nobody listens
    with serve(**behind) as service:  # which looks at the bucket first
        assert service.requests == []


def test_missing_credentials_are_asked_for(
    behind: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(OSError, match="set AWS_ACCESS_KEY_ID"), serve(**behind):
        pass


def test_a_profile_that_is_missing_is_told(behind: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nonesuch")
    with pytest.raises(OSError, match="nonesuch"), serve(**behind):
        pass


@pytest.mark.parametrize("variable", ["AWS_CA_BUNDLE", "SSL_CERT_FILE"])
def test_a_private_authority_is_trusted_by_name_only(
    tls_store: Store, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    for name, value in tls_store.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_CA_BUNDLE")
    where = {"s3_endpoint": tls_store.endpoint, "s3_bucket": tls_store.bucket}
    with pytest.raises(OSError, match="is not trusted: AWS_CA_BUNDLE"), serve(**where):
        pass
    monkeypatch.setenv(variable, str(tls_store.authority))
    with serve(**where) as service:
        assert service.requests == []


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["--s3-bucket", "uploads"], "--s3-endpoint and --s3-bucket go together"),
        (["--s3-endpoint", "http://127.0.0.1:1", "--s3-bucket", "uploads"], "cannot be reached"),
        (["--ttl", "0"], "ttl must be more than 0"),
    ],
)
def test_the_command_says_in_a_line_why_it_does_not_serve(behind: Any, wrong: list[str], said: str) -> None:
    done = run("-m", "uploader", "serve", "--port", "0", *wrong)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr.splitlines()[-1]


def test_without_boto3_the_command_says_what_to_install() -> None:
    serving = (
        "main(['serve', '--port', '0', '--s3-endpoint', 'http://127.0.0.1:1', '--s3-bucket', 'uploads'])"
    )
    script = f"import sys; sys.modules['boto3'] = None; from uploader.cli import main; sys.exit({serving})"
    done = run("-c", script)
    assert done.returncode == 2
    assert done.stderr == "uploader: an S3 store needs boto3: pip install 'scenario-uploader[s3]'\n"


def test_boto3_is_imported_only_for_an_s3_store() -> None:
    script = "import sys; from uploader.local import serve\nwith serve(): assert 'boto3' not in sys.modules"
    done = run("-c", script)
    assert (done.returncode, done.stderr) == (0, "")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@given(
    st.binary(max_size=50),
    st.lists(st.tuples(st.sampled_from(["set", "cur", "end"]), st.integers(0, 60), st.integers(-1, 60))),
)
def test_an_object_reads_like_a_file(content: bytes, steps: list[tuple[str, int, int]]) -> None:
    file = io.BytesIO(content)
    reader = ObjectReader(lambda start, count: content[start : start + count], len(content))
    with io.BufferedReader(reader, 8) as buffered:
        for whence, offset, count in steps:
            where = {
                "set": (offset, 0),
                "cur": (-min(offset, file.tell()), 1),
                "end": (-min(offset, len(content)), 2),
            }
            assert buffered.seek(*where[whence]) == file.seek(*where[whence])
            assert buffered.read(count) == file.read(count)


def test_an_object_that_is_read_whole_is_not_asked_for_in_small_pieces() -> None:
    content, asked = bytes(MIB), []

    def fetch(start: int, count: int) -> bytes:
        asked.append(count)
        return content[start : start + count]

    with io.BufferedReader(ObjectReader(fetch, MIB), 256 * 1024) as file:
        assert file.read() == content
    assert asked == [MIB]
