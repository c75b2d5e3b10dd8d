"""The artifact store keeps bytes exactly, once, and says so when they are damaged."""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.domain.errors import NotFound, StorageError
from orchestrator.storage.artifacts import ArtifactStore, Corrupt


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "artifacts")


def files(store: ArtifactStore) -> list[Path]:
    return [path for path in store.root.rglob("*") if path.is_file()]


@given(data=st.binary(max_size=4096))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_was_put_is_read_back(store: ArtifactStore, data: bytes) -> None:
    name = store.put(data)
    assert name == hashlib.sha256(data).hexdigest()
    assert store.read(name) == data


def test_a_file_larger_than_one_chunk_is_copied_exactly(store: ArtifactStore, tmp_path: Path) -> None:
    data = os.urandom((1 << 21) + 17)
    (tmp_path / "log").write_bytes(data)
    name = store.put(tmp_path / "log")
    with store.open(name) as stream:
        assert stream.read() == data


def test_the_same_content_is_kept_once_and_not_rewritten(store: ArtifactStore) -> None:
    first = store.put(b"patch")
    before = store.path(first).stat()
    assert store.put(b"patch") == first
    after = store.path(first).stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert files(store) == [store.path(first)]


def test_many_writers_of_one_content_leave_one_sound_file(store: ArtifactStore) -> None:
    with ThreadPoolExecutor(8) as pool:
        names = set(pool.map(lambda _: store.put(b"x" * 100_000), range(40)))
    (name,) = names
    store.verify(name)
    assert files(store) == [store.path(name)]


def test_a_damaged_file_is_an_error_on_read(store: ArtifactStore) -> None:
    name = store.put(b"result")
    store.path(name).chmod(0o644)
    store.path(name).write_bytes(b"resulT")
    with pytest.raises(Corrupt) as caught:
        store.read(name)
    assert (caught.value.sha256, caught.value.found) == (name, hashlib.sha256(b"resulT").hexdigest())


def test_putting_again_heals_a_damaged_file_and_keeps_the_evidence(store: ArtifactStore) -> None:
    name = store.put(b"result")
    store.path(name).chmod(0o644)
    store.path(name).write_bytes(b"")
    store.put(b"result")
    assert store.read(name) == b"result"
    assert sorted(path.stat().st_size for path in files(store)) == [0, 6]


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "a" * 63, "A" * 64, "a" * 64])
def test_unknown_and_impossible_names_are_not_found(store: ArtifactStore, name: str) -> None:
    with pytest.raises(NotFound):
        store.read(name)


def test_a_missing_file_is_not_found(store: ArtifactStore, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        store.put(tmp_path / "absent")


def test_links_and_pipes_planted_in_a_log_directory_are_not_stored(store: ArtifactStore, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("key")
    (tmp_path / "link").symlink_to(tmp_path / "secret")
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe"):
        with pytest.raises(StorageError):
            store.put(tmp_path / name)
    assert not store.root.exists() or files(store) == []


def test_a_write_that_fails_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "root").write_text("a file where the store should be")
    with pytest.raises(StorageError):
        ArtifactStore(tmp_path / "root").put(b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["root"]
