"""Shell assignments are read as bash would assign them, and nothing is ever run."""

import json
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.domain.errors import InvalidInput
from orchestrator.interop.shell import Value, read_assignments

_BASH = shutil.which("bash") or ""
ENVIRONMENT = {"HOME": "/home/me", "WHERE": "a  b"}


def read(text: str) -> dict[str, Value]:
    return {name: one.value for name, one in read_assignments(text, "x.conf", ENVIRONMENT).items()}


def refusals(text: str) -> list[str]:
    with pytest.raises(InvalidInput) as caught:
        read(text)
    return [str(fault) for fault in caught.value.faults]


def test_a_file_with_everything_that_is_understood() -> None:
    text = r"""# comment
export REPO="$HOME/src/x"   # behind a value
A=plain;B='single $HOME' C="dou\"ble \$HOME \q"
D=one\ word
E=${NOBODY:-"de fault"}/${NOBODY-}x
F="a\
b"
G=~/src:~/bin
LIST=(one "two words" $WHERE "$WHERE" # inside
  three)
LIST+=(four)
ALL="${LIST[@]}" SECOND=${LIST[1]} COPY=("${LIST[@]}")
declare -A MAP=(["k 1"]="v 1" [k2]=v2)
MAP[k3]=v3
OUT=${MAP[k2]}
EMPTY=
A+=" more"
HASH=a#b
PRICE="5$"
"""
    assert read(text) == {
        "REPO": "/home/me/src/x",
        "A": "plain more",
        "B": "single $HOME",
        "C": 'dou"ble $HOME \\q',
        "D": "one word",
        "E": "de fault/x",
        "F": "ab",
        "G": "/home/me/src:/home/me/bin",
        "LIST": ("one", "two words", "a", "b", "a  b", "three", "four"),
        "ALL": "one two words a b a  b three four",
        "SECOND": "two words",
        "COPY": ("one", "two words", "a", "b", "a  b", "three", "four"),
        "MAP": {"k 1": "v 1", "k2": "v2", "k3": "v3"},
        "OUT": "v2",
        "EMPTY": "",
        "HASH": "a#b",
        "PRICE": "5$",
    }


@pytest.mark.parametrize(
    "line",
    [
        "A=$(touch ran)",
        'A="$(touch ran)"',
        "A=`touch ran`",
        'A="x `touch ran`"',
        "A=${X:-$(touch ran)}",
        'A=${X:-"`touch ran`"}',
        "touch ran",
        "A=1 touch ran",
        "source other.conf",
        "A=1 && touch ran",
        "A=1 | touch ran",
        "A=<(touch ran)",
        "A=$((1 + 1))",
        "A=${#HOME}",
        "A=${HOME%/*}",
        "A=${!HOME}",
        "A=${X:=1}",
        "A=$X",
        "A=$1",
        "A=$'x'",
        "A=~root",
        "A=(*.c)",
        "A=({a,b})",
        "A='open",
        'A="open',
        "A=(open",
        "A=${X:-open",
        "IFS=,",
        "if true; then A=1; fi",
        "A = 1",
        "A[x]=1",
        "readonly A=1; A=2",
        "A=1\r",
    ],
)
def test_what_is_not_understood_is_refused_with_its_line(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = refusals(f"OK=1\n{line}\n")
    assert found[0].startswith("x.conf:2: ")
    assert all("accepted: " in one for one in found)
    assert list(tmp_path.iterdir()) == []


def test_every_fault_is_told_at_once() -> None:
    found = refusals("A=$(a)\nB=1\nC=`c`\n")
    assert [one.split(": ")[0] for one in found] == ["x.conf:1", "x.conf:3"]


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_what_the_shell_quotes_is_read_back(value: str) -> None:
    assert read(f"A={shlex.quote(value)}") == {"A": value}
    assert read(f"A=({shlex.quote(value)} x)") == {"A": (value, "x")}


@given(st.text())
def test_no_text_is_more_than_refused(text: str) -> None:
    try:
        found = read(text)
    except InvalidInput:
        return
    assert all(name.isidentifier() for name in found)


_ATOMS = st.sampled_from(
    [
        "a",
        "b c",
        "$V",
        "${V}",
        "${N:-d e}",
        "${V:-x}",
        "${N-}",
        "'$V'",
        '"$V"',
        '"${N:-d  e}"',
        "\\$",
        "\\ ",
        '"\\\\"',
        "~",
        "/",
        ":",
        "=",
        "#",
        "*",
        "${L[1]}",
        '"${L[@]}"',
        "$L",
        '"',
        "'",
        "\\",
        "$",
        "{",
        "é",
        "\\\n",
        "${N:-'q r'}s",
    ]
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.lists(_ATOMS, min_size=1, max_size=5).map("".join), min_size=1, max_size=12))
@pytest.mark.skipif(not _BASH, reason="bash is not installed")
def test_what_is_accepted_is_what_bash_assigns(words: list[str]) -> None:
    before = "V='v  w'\nL=(x 'y z')\n"
    scripts = [f"{before}R={word}\n" for word in words] + [f"{before}R=({word} end)\n" for word in words]
    accepted = []
    for script in scripts:
        try:
            accepted.append((script, read(script)["R"]))
        except InvalidInput:
            continue
    # Each in a shell of its own, all in one process: what is read as a value must be one.
    ask = "".join(f"( {script}\nprintf '%s\\0' \"${{R[@]}}\" ); printf '\\1'\n" for script, _ in accepted)
    done = subprocess.run(
        [_BASH, "--norc", "-c", ask],
        capture_output=True,
        text=True,
        env=ENVIRONMENT | {"PATH": "/nowhere"},
        check=False,
    )
    told = [tuple(one.split("\0")[:-1]) for one in done.stdout.split("\1")[:-1]]
    assert done.stderr == "", json.dumps([script for script, _ in accepted])
    assert told == [value if isinstance(value, tuple) else (value,) for _, value in accepted]
