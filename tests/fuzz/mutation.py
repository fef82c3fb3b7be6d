"""Inputs that nobody meant: good ones with bytes cut, changed, doubled and put in, and plain noise."""

from collections.abc import Sequence

from hypothesis import strategies as st

_INTERESTING = (
    b"\0",
    b"\xff",
    b"\xff" * 8,
    b"\x80" * 9 + b"\x01",
    b"-1",
    b"9" * 25,
    b"::",
    b"/../",
    b"\n",
    b"{",
    b"[" * 64,
    b'"',
)


@st.composite
def mutated(draw: st.DrawFn, seeds: Sequence[bytes], edits: int = 6) -> bytes:
    """One of the seeds after a few edits at random places; now and then noise alone."""
    if draw(st.integers(0, 15)) == 0:
        return draw(st.binary(max_size=256))
    data = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(0, edits))):
        data = _edited(draw, data)
    return data


def _edited(draw: st.DrawFn, data: bytes) -> bytes:
    start = draw(st.integers(0, len(data)))
    end = min(len(data), start + draw(st.integers(0, 24)))
    kind = draw(st.sampled_from(["cut", "change", "double", "put", "swap", "end"]))
    if kind == "cut":
        return data[:start] + data[end:]
    if kind == "double":
        return data[:end] + data[start:end] + data[end:]
    if kind == "end":
        return data[:start]
    if kind == "swap":
        other = draw(st.integers(0, len(data)))
        return data[:start] + data[other : other + end - start] + data[end:]
    new = draw(st.sampled_from(_INTERESTING) | st.binary(min_size=1, max_size=8))
    return data[:start] + new + data[end if kind == "change" else start :]
