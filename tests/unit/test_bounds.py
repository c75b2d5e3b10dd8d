"""What an agent can say or write is bounded, and what was cut says so."""

import os
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.events import AgentEnded, EndReason, Event, MessageSaid, ToolCalled
from workers.disk import DiskUse, disk_use, remove_tree
from workers.event_room import EventRoom
from workers.owned import create, put
from workers.supervision.transcript import BoundedFile

END = AgentEnded(reason=EndReason.FINISHED, exit_code=0)


EVENTS = st.sampled_from([END, ToolCalled(tool="t", signature="s"), MessageSaid(text="m")])


@given(st.lists(st.tuples(EVENTS, st.integers(0, 50))))
def test_events_past_the_room_are_counted_and_the_end_always_has_a_place(seen: list[tuple[Event, int]]) -> None:
    room = EventRoom(most_events=5, most_chars=100)
    kept = [(event, chars) for event, chars in seen if room.admits(event, chars)]
    ends = sum(event is END for event, _ in seen)
    ordinary = [chars for event, chars in kept if event is not END]
    assert sum(event is END for event, _ in kept) == ends
    assert len(ordinary) <= 5
    assert sum(ordinary) <= 100
    assert room.kept + room.left_out == len(seen)
    assert room.note() == ({"kept": len(kept), "left_out": len(seen) - len(kept)} if len(kept) < len(seen) else {})


def test_a_transcript_says_how_much_was_cut(tmp_path: Path) -> None:
    with BoundedFile(tmp_path / "t", 10) as file:
        for _ in range(1000):
            file.write(b"0123456789")
    assert (tmp_path / "t").read_text().splitlines() == [
        "0123456789",
        "[bakeoff: only the first 10 bytes are kept]",
        "[bakeoff: there were 10000 bytes]",
    ]


def test_a_file_of_ours_is_a_new_one_whatever_lies_in_its_place(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    folder = tmp_path / "run/home"
    (tmp_path / "run").mkdir()
    folder.symlink_to(tmp_path)
    put(folder / ".codex/config.toml", "a = 1\n", beneath=tmp_path / "run")
    assert (folder / ".codex/config.toml").read_text() == "a = 1\n"
    assert not folder.is_symlink()
    for place in ("link", "second"):
        path = folder / place
        path.symlink_to(victim) if place == "link" else path.hardlink_to(victim)
        with create(path) as file:
            file.write(b"ours")
        assert path.read_bytes() == b"ours"
        assert path.stat().st_mode & 0o777 == 0o600
    assert victim.read_text() == "precious"
    assert not (tmp_path / ".codex").exists()


def test_disk_use_counts_what_is_on_disk_once(tmp_path: Path) -> None:
    folder = tmp_path / "f"
    (folder / "a/b").mkdir(parents=True)
    empty = disk_use(folder).disk_bytes
    (folder / "one").write_bytes(os.urandom(100_000))
    (folder / "a/two").hardlink_to(folder / "one")
    (folder / "a/b/out").symlink_to("/usr")
    with (folder / "sparse").open("wb") as file:
        file.truncate(10 * 1024**3)
    found = disk_use(folder)
    assert 100_000 <= found.disk_bytes - empty < 120_000
    assert found.entries == 6
    assert disk_use(folder, enough_bytes=1000).entries < 6
    assert disk_use(tmp_path / "absent") == DiskUse(0, 0)


def test_a_tree_is_removed_however_its_folders_are_named_and_closed(tmp_path: Path) -> None:
    folder = tmp_path / "f"
    for name in ("0", "1", "2/0/1/2", "a", "0/0/0"):
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / "file").touch()
    (tmp_path / "kept").mkdir()
    (folder / "link").symlink_to(tmp_path / "kept")
    (folder / "2/0").chmod(0)
    remove_tree(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
