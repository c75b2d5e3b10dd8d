"""A machine without room starts nothing new, and starts again only when there is clearly room."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.pressure import Floor, Room, room, too_full

MIB = 1024 * 1024
FLOOR = Floor(disk_mib=100, memory_mib=50, load_per_core=2)
AMPLE = Room(disk_bytes=200 * MIB, memory_bytes=200 * MIB, load_per_core=0.5)


def test_each_shortage_is_named() -> None:
    assert too_full(AMPLE, FLOOR, was_full=False) is None
    short = {
        "99 MiB of disk": Room(disk_bytes=99 * MIB, memory_bytes=200 * MIB, load_per_core=0),
        "49 MiB of memory": Room(disk_bytes=200 * MIB, memory_bytes=49 * MIB, load_per_core=0),
        "load is 2.1": Room(disk_bytes=200 * MIB, memory_bytes=200 * MIB, load_per_core=2.1),
    }
    for words, left in short.items():
        assert words in (too_full(left, FLOOR, was_full=False) or "")


def test_what_is_not_known_or_not_asked_for_stops_nothing() -> None:
    blind = Room(disk_bytes=200 * MIB, memory_bytes=None, load_per_core=99)
    assert too_full(blind, Floor(disk_mib=0, memory_mib=50, load_per_core=0), was_full=False) is None


@given(st.integers(0, 300), st.none() | st.integers(0, 300), st.floats(0, 5), st.floats(0, 5, allow_subnormal=False))
def test_starting_again_asks_for_no_less_than_going_on(
    disk: int, memory: int | None, load: float, most: float
) -> None:
    left = Room(disk_bytes=disk * MIB, memory_bytes=None if memory is None else memory * MIB, load_per_core=load)
    floor = Floor(disk_mib=100, memory_mib=50, load_per_core=most)
    if too_full(left, floor, was_full=True) is None:
        assert too_full(left, floor, was_full=False) is None


def test_this_machine_can_be_asked(tmp_path: Path) -> None:
    left = room(tmp_path / "not" / "there" / "yet")
    assert left.disk_bytes > 0
    assert left.memory_bytes is None or left.memory_bytes > 0
    assert left.load_per_core == pytest.approx(left.load_per_core)
