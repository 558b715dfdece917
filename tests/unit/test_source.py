"""A local file: what tells its states apart, its digests, and that no write to it goes unseen."""

from __future__ import annotations

import errno
import hashlib
import os
import pickle
import random
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from uploader import SourceChangedError, SourceError
from uploader.io.source import BLOCK, SAMPLE, Identity, Source, _sampled

GiB = 1024**3

SOME = Identity(size=10, mtime_ns=1_000_000_001, ctime_ns=2_000_000_001, inode=3, device=4)

Write = Callable[[Path], object]


def nothing() -> None:
    pass


def read(source: Source) -> Callable[[], object]:
    def use() -> bytes:
        with source.reading() as file:
            return file.read()

    return use


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file.bin"
    path.write_bytes(b"content")
    return path


# Identity


def test_the_same_identity_is_no_change() -> None:
    assert SOME.change(replace(SOME)) == ""
    assert not SOME.is_touched(replace(SOME))


@pytest.mark.parametrize(
    ("now", "said"),
    [
        (replace(SOME, inode=5), "was replaced by another file"),
        (replace(SOME, device=5), "was replaced by another file"),
        (replace(SOME, inode=5, size=1, mtime_ns=1), "was replaced by another file"),
        (replace(SOME, size=12_345, mtime_ns=1), "went from 10 to 12,345 bytes"),
        (replace(SOME, mtime_ns=1), "was written to"),
        (replace(SOME, mtime_ns=1, ctime_ns=1), "was written to"),
        (replace(SOME, ctime_ns=1), "was touched or written to"),
    ],
)
def test_every_difference_is_a_change_and_said_in_words(now: Identity, said: str) -> None:
    assert SOME.change(now) == said


@pytest.mark.parametrize("field", Identity.__dataclass_fields__)
def test_only_a_difference_of_ctime_alone_is_a_touch(field: str) -> None:
    now = replace(SOME, **{field: 99})
    assert SOME.change(now)
    assert SOME.is_touched(now) is (field == "ctime_ns")


def test_more_than_the_ctime_is_no_touch() -> None:
    assert not SOME.is_touched(replace(SOME, ctime_ns=99, mtime_ns=99))


def test_another_write_could_leave_the_same_times_for_a_tick() -> None:
    now = 1_000_000_000_000_000_001
    fresh, old, ahead = now - 1_000_000, now - 10**12, now + 10**12
    assert replace(SOME, mtime_ns=old, ctime_ns=old).unsettled_ns(now) == 0
    for mtime, ctime in ((fresh, fresh), (old, fresh), (ahead, fresh), (fresh, old)):
        left = replace(SOME, mtime_ns=mtime, ctime_ns=ctime).unsettled_ns(now)
        assert left >= 15_600_000 - 1_000_000, "Windows counts in 15.6 ms"
        assert left < 100_000_000


def test_whole_seconds_may_be_all_the_file_system_keeps() -> None:
    now = 1_000_000_000_000_000_001
    second = replace(SOME, mtime_ns=now - 1, ctime_ns=0)
    assert 1_900_000_000 < second.unsettled_ns(now) < 3_000_000_000, "FAT knows every second second"


def test_an_identity_is_that_of_the_stat_result(path: Path) -> None:
    status = path.stat()
    identity = Identity.of(status)
    assert (identity.size, identity.mtime_ns) == (7, status.st_mtime_ns)
    assert Identity.of(path.stat()) == identity


@pytest.mark.skipif(sys.platform == "win32", reason="there is no ctime")
@pytest.mark.parametrize("touch", ["chmod", "link", "utime"])
def test_a_touched_file_is_seen_as_touched(touch: str, path: Path) -> None:
    source = Source.find(path)
    status = path.stat()
    if touch == "chmod":
        path.chmod(0o600)
    elif touch == "link":
        os.link(path, path.with_name("another"))
    else:
        os.utime(path, ns=(0, status.st_mtime_ns))
    with pytest.raises(SourceChangedError, match="was touched") as caught:
        source.check()
    assert caught.value.touched


def test_a_rewrite_with_the_mtime_put_back_is_seen(path: Path) -> None:
    source, status = Source.find(path), path.stat()
    path.write_bytes(b"CONTENT")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(SourceChangedError):
        source.check()


@pytest.mark.parametrize("what", ["grown", "rewritten", "replaced", "gone"])
def test_a_changed_file_is_not_opened_read_or_passed(what: str, path: Path) -> None:
    source = Source.find(path)
    if what == "grown":
        path.write_bytes(b"content and more")
    elif what == "rewritten":
        path.write_bytes(b"CONTENT")
        os.utime(path, ns=(0, source.identity.mtime_ns + 1))
    elif what == "replaced":
        shutil.copy2(path, path.with_name("new"))
        path.with_name("new").replace(path)
    else:
        path.unlink()
    for use in (source.check, read(source), source.digest, lambda: source.md5(0, 7, nothing)):
        with pytest.raises(SourceChangedError, match=r"file\.bin") as caught:
            use()
        assert not caught.value.touched


def test_a_file_replaced_while_it_is_open_is_seen(path: Path) -> None:
    source = Source.find(path)

    def replace_it() -> None:
        with source.reading() as file:
            assert file.read() == b"content"
            path.with_name("new").write_bytes(b"content")
            path.with_name("new").replace(path)

    with pytest.raises(SourceChangedError, match="was replaced"):
        replace_it()


def test_a_file_that_made_way_for_a_directory_is_a_changed_one(path: Path) -> None:
    source = Source.find(path)
    path.unlink()
    path.mkdir()
    for use in (source.check, read(source)):
        with pytest.raises(SourceChangedError, match=r"file\.bin"):
            use()


@pytest.mark.parametrize("what", ["unlinked", "its folder is gone", "its folder is a file"])
def test_what_is_gone_is_a_changed_file(what: str, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "file.bin").write_bytes(b"content")
    source = Source.find(folder / "file.bin")
    (folder / "file.bin").unlink()
    if what != "unlinked":
        folder.rmdir()
    if what == "its folder is a file":
        folder.write_bytes(b"")
    for use in (source.check, read(source)):
        with pytest.raises(SourceChangedError, match=r"file\.bin is gone \("):
            use()


@pytest.mark.skipif(sys.platform == "win32", reason="making symbolic links takes a right of its own")
def test_a_file_that_the_system_tells_nothing_of_is_not_said_to_be_gone(path: Path) -> None:
    source = Source.find(path)
    path.unlink()
    path.symlink_to(path)  # a name that leads to itself
    said = re.escape(f"cannot read {source.path}: {os.strerror(errno.ELOOP)}")
    for use in (source.check, read(source), source.digest, lambda: source.md5(0, 7, nothing)):
        with pytest.raises(SourceError, match=said) as caught:
            use()
        assert isinstance(caught.value.__cause__, OSError)


@pytest.mark.skipif(sys.platform != "linux", reason="a file whose first bytes nobody can read")
def test_a_file_that_cannot_be_read_is_told_in_the_systems_words() -> None:
    path = Path("/proc/self/mem")
    source = Source(path, Identity.of(path.stat()))
    for use in (read(source), lambda: source.md5(0, 7, nothing)):
        with pytest.raises(SourceError, match=f"cannot read /proc/self/mem: {os.strerror(errno.EIO)}"):
            use()
    source.check()


def test_a_source_can_be_sent_to_another_process(path: Path) -> None:
    source = Source.find(path)
    assert pickle.loads(pickle.dumps(source)) == source


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="No such file"):
        Source.find(tmp_path / "absent")
    with pytest.raises(SourceError, match="a directory"):
        Source.find(tmp_path)
    (tmp_path / "empty").touch()
    with pytest.raises(SourceError, match="is empty"):
        Source.find(tmp_path / "empty")


# The sampled digest


def sparse(path: Path, size: int) -> Path:
    """A file of zeros that takes no room."""
    path.touch()
    os.truncate(path, size)
    if path.stat().st_blocks * 512 > 1024**2:
        path.unlink()
        pytest.skip("this file system keeps no holes")
    return path


def write_at(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def is_seen(path: Path, offset: int) -> bool:
    """Whether another byte at `offset` makes another digest; puts the old one back."""
    before = Source.find(path).digest()
    with path.open("rb") as file:
        file.seek(offset)
        old = file.read(1)
    write_at(path, offset, bytes([old[0] ^ 1]))
    changed = Source.find(path).digest() != before
    write_at(path, offset, old)
    return changed


def test_equal_contents_have_equal_digests_wherever_they_are(tmp_path: Path) -> None:
    content = random.Random(1).randbytes(3 * SAMPLE + 7)
    for name in ("one", "two"):
        (tmp_path / name).write_bytes(content)
    one, two = (Source.find(tmp_path / name).digest() for name in ("one", "two"))
    assert one == two
    assert len(bytes.fromhex(one)) == 16


@pytest.mark.parametrize("size", [1, SAMPLE + 1, 8 * SAMPLE])
def test_a_small_file_is_hashed_whole(size: int, tmp_path: Path) -> None:
    path = tmp_path / "small"
    path.write_bytes(random.Random(size).randbytes(size))
    for offset in {0, size // 3, size // 2, size - 1}:
        assert is_seen(path, offset)


@pytest.mark.parametrize("size", [8 * SAMPLE + 1, 100 * SAMPLE + 5])
def test_of_a_larger_file_the_ends_and_blocks_between_are_hashed(size: int, tmp_path: Path) -> None:
    path = tmp_path / "larger"
    path.write_bytes(random.Random(size).randbytes(size))
    for offset in (0, SAMPLE - 1, size - SAMPLE, size - 1):
        assert is_seen(path, offset), "the first and the last block"


@pytest.mark.parametrize("gib", [1, 3, 55, 56, 200])
def test_samples_are_spread_evenly_and_there_are_more_in_a_larger_file(gib: int) -> None:
    """Two checkpoints of one architecture may differ anywhere."""
    offsets = list(_sampled(gib * GiB))
    assert (offsets[0], offsets[-1]) == (0, gib * GiB - SAMPLE)
    assert len(offsets) == min(64, 8 + gib)
    gaps = [after - before for before, after in pairwise(offsets)]
    assert max(gaps) - min(gaps) <= 1


def test_files_that_differ_only_in_one_sampled_block_differ(tmp_path: Path) -> None:
    size = 2 * GiB + 12_345
    path = sparse(tmp_path / "checkpoint", size)
    for number, offset in enumerate(_sampled(size)):
        assert is_seen(path, offset + number * SAMPLE // 10)


def test_the_order_of_the_blocks_counts(tmp_path: Path) -> None:
    first, second = (random.Random(seed).randbytes(SAMPLE) for seed in (1, 2))
    (tmp_path / "one").write_bytes(first + second)
    (tmp_path / "two").write_bytes(second + first)
    assert Source.find(tmp_path / "one").digest() != Source.find(tmp_path / "two").digest()


def bytes_read() -> int:
    """What this process has read so far."""
    with open("/proc/self/io", encoding="ascii") as file:
        return int(file.readline().split()[1])


@pytest.mark.skipif(not os.path.exists("/proc/self/io"), reason="the system does not count reads")
def test_a_file_of_200_gb_costs_no_more_than_64_blocks(tmp_path: Path) -> None:
    source = Source.find(sparse(tmp_path / "huge", 200 * 10**9))
    before = bytes_read()
    source.digest()
    assert bytes_read() - before < 65 * SAMPLE


# MD5


def test_the_md5_is_that_of_the_range_and_nothing_else(tmp_path: Path) -> None:
    content = random.Random(5).randbytes(2 * BLOCK + 100)
    path = tmp_path / "file"
    path.write_bytes(content)
    source = Source.find(path)
    for offset, length in ((0, len(content)), (1, 1), (BLOCK - 1, 2), (7, BLOCK + 9), (2 * BLOCK, 100)):
        assert (
            source.md5(offset, length, nothing) == hashlib.md5(content[offset : offset + length]).hexdigest()
        )


def test_the_md5_can_be_stopped_between_blocks(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(3 * BLOCK))
    asked: list[int] = []

    def check() -> None:
        asked.append(len(asked))
        if len(asked) == 2:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Source.find(path).md5(0, 3 * BLOCK, check)
    assert len(asked) == 2


def test_a_file_written_to_while_it_is_hashed_gives_no_md5(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(3 * BLOCK))
    source = Source.find(path)
    with pytest.raises(SourceChangedError):
        source.md5(0, 3 * BLOCK, lambda: write_at(path, 5, b"x"))


# At rest: a write right after the file was looked at leaves other times


def rewrite(path: Path, identity: Identity) -> None:
    with path.open("r+b") as file:
        file.write(b"CONTENT")


def rewrite_and_put_mtime_back(path: Path, identity: Identity) -> None:
    rewrite(path, identity)
    os.utime(path, ns=(identity.mtime_ns, identity.mtime_ns))


def as_it_is(path: Path) -> None:
    pass


def dated(seconds: int) -> Callable[[Path], None]:
    """Sets a file's mtime that long ago, or ahead: archives and skewed clocks do."""

    def date(path: Path) -> None:
        at = time.time_ns() - seconds * 10**9 | 1
        os.utime(path, ns=(at, at))

    return date


@pytest.fixture(scope="module")
def coarse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A file system whose times count in the system's ticks; those of ext4 and tmpfs may count finer."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root on Linux may mount a file system")
    path = tmp_path_factory.mktemp("coarse")
    done = subprocess.run(
        ["mount", "-t", "ramfs", "ramfs", path], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"no file system may be mounted here: {done.stderr.strip()}")
    try:
        yield path
    finally:
        subprocess.run(["umount", path], check=True)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no ctime, and the mtime can be put back")
@pytest.mark.parametrize(
    ("where", "date"),
    [
        pytest.param("here", as_it_is, id="fresh"),
        pytest.param("coarse", as_it_is, id="fresh-coarse"),
        pytest.param("coarse", dated(1000), id="old-coarse"),
        pytest.param("coarse", dated(-1000), id="ahead-coarse"),
    ],
)
@pytest.mark.parametrize("write", [rewrite, rewrite_and_put_mtime_back])
def test_a_write_right_after_the_look_is_seen_however_fast(
    where: str,
    date: Callable[[Path], None],
    write: Callable[[Path, Identity], None],
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    folder = request.getfixturevalue("coarse") if where == "coarse" else tmp_path

    def unseen(number: int) -> int:
        """How many of 10 writes were not seen."""
        path, missed = folder / f"{os.getpid()}-{number}", 0
        for _ in range(10):
            path.write_bytes(b"content")
            date(path)
            source = Source.find(path)
            write(path, source.identity)
            try:
                source.check()
                missed += 1
            except SourceChangedError:
                pass
        return missed

    with ThreadPoolExecutor(20) as pool:  # most of it is waiting for the clock
        assert sum(pool.map(unseen, range(20))) == 0


def test_a_file_that_has_been_at_rest_is_not_waited_for(path: Path) -> None:
    Source.find(path)
    began = time.monotonic()
    for _ in range(100):
        Source.find(path)
    assert time.monotonic() - began < 1
