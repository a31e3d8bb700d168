# SPDX-License-Identifier: GPL-2.0
"""transcript.py: frames, forgeries, and streams that are cut off."""

from hypothesis import given
from hypothesis import strategies as st

from harness.transcript import Section, Transcript, parse

NONCE = "00112233445566778899aabbccddeeff"
OTHER = "f" * 32

STREAM = f"""\
@{NONCE} hello 6.12.117 3.25 12.5
@{NONCE} taint 4096
@{NONCE} suite mmap
TAP version 13
ok 1 a.b
foo@{NONCE} exit mmap 0
@{NONCE} suite sg
@{OTHER} exit sg 0
@{NONCE}  exit sg 0
{NONCE} exit sg 0
ok 1 c.d
@{NONCE} exit sg 139
@{NONCE} gcda main.gcda H4sI+/8=
@{OTHER} gcda pin.gcda H4sI
@{NONCE} end 4608
""".encode()


def test_a_whole_stream() -> None:
    forged = f"@{OTHER} exit sg 0\n@{NONCE}  exit sg 0\n{NONCE} exit sg 0\n".encode()
    assert parse(STREAM, NONCE) == Transcript(
        release="6.12.117",
        speed=12.5,
        sections=(
            Section(name="mmap", text=b"TAP version 13\nok 1 a.b\nfoo", line=4, status=0),
            Section(name="sg", text=forged + b"ok 1 c.d\n", line=8, status=139),
        ),
        ended=True,
        stray=f"@{OTHER} gcda pin.gcda H4sI\n".encode(),
        counters=(("main.gcda", "H4sI+/8="),),
        taint_before=4096,
        taint_after=4608,
    )


def test_line_numbers_point_into_the_stream() -> None:
    lines = STREAM.split(b"\n")
    for section in parse(STREAM, NONCE).sections:
        assert lines[section.line - 1] == section.text.split(b"\n")[0]


@given(st.integers(0, len(STREAM)))
def test_a_stream_cut_off_anywhere_tells_no_more_than_the_whole(cut: int) -> None:
    whole, part = parse(STREAM, NONCE), parse(STREAM[:cut], NONCE)
    assert part.ended == (cut == len(STREAM))
    assert part.release in (None, whole.release)
    for section, full in zip(part.sections, whole.sections, strict=False):
        assert section.name == full.name
        assert section.status in (None, full.status)
        if section.status is not None:
            assert section.text == full.text


@given(st.binary())
def test_any_bytes_parse(stream: bytes) -> None:
    assert parse(stream, NONCE).stray == stream
    framed = f"@{NONCE} hello r 1.0 1.0\n@{NONCE} suite a\n".encode() + stream
    assert parse(framed, NONCE).sections[0].text == stream


@given(
    st.lists(
        st.sampled_from(
            [
                *("hello r 1.5 2.0", "taint 0", "suite a", "exit a 1", "end 0", "end", "fail x"),
                *("leaks wanted", "leaks told", "leaks"),
            ]
        )
    )
)
def test_any_order_of_frames_parses(words: list[str]) -> None:
    whole = parse("".join(f"@{NONCE} {word}\n" for word in words).encode(), NONCE)
    assert whole.ended == ("end 0" in words)
    assert whole.failures == ("x",) * words.count("fail x")


def problems(*words: str) -> tuple[str, ...]:
    return parse("".join(f"@{NONCE} {word}\r\n" for word in words).encode(), NONCE).problems


def test_violations_of_the_framing_are_told() -> None:
    assert problems("hello r 1.0 1.0", "suite a", "exit a 0", "end 0") == ()
    assert problems("hello r 1.0 1.0", "hello r 1.0 1.0") == (
        "release told twice: did the guest start again?",
        "speed told twice: did the guest start again?",
    )
    assert problems("hello r 1.0 1.0", "suite a", "suite b", "exit b 0", "end 0") == (
        "no exit frame for suite a",
    )
    assert problems("hello r 1.0 1.0", "suite a", "end 0") == ("no exit frame for suite a",)
    assert problems("hello r 1.0 1.0", "exit a 0") == ("exit of a, which was not running",)
    assert problems("hello r 1.0 1.0", "suite a", "exit b 0", "exit a 0") == (
        "exit of b, which was not running",
    )
    assert problems("hello r 1.0 1.0", "end 0", "suite a", "exit a 0") == (
        "suite frame after the end marker",
        "exit frame after the end marker",
    )
    assert problems("suite a", "exit a 0") == ("suites, but no hello",)
    for words in (
        "exit a",
        "exit a -1",
        "exit a 0 0",
        "end",
        "hello r",
        "hello r 1.0",
        "hello r now 1.0",
        "hello r 1.0 fast",
        "hello r 1.0 -1.0",
        "suite",
        "x",
    ):
        assert problems("hello r 1.0 1.0", "suite a", words)[0].startswith("malformed frame"), words
