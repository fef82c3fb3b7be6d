"""Whether a ratio of CPU times has become worse than the one that is kept. Nothing is measured here."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

WORSE = 2.0  # times its kept value: what a ratio of CPU times may become on a machine that does other things, too

Ratios = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Verdict:
    """A figure's ratios, one for each time that it was measured, beside the kept one; None where none is kept."""

    name: str
    ratios: tuple[float, ...]
    kept: float | None

    @property
    def is_worse(self) -> bool:
        """Whether every measurement says so; what nothing is kept of cannot be judged, and is not let through."""
        return self.kept is None or min(self.ratios) > WORSE * self.kept


def judge(found: Ratios, kept: Ratios, again: Callable[[Sequence[str]], Ratios]) -> list[Verdict]:
    """Compare each; what looks worse is measured `again`, once, as a busy machine slows now this and now that."""
    first = [Verdict(name, (ratio,), kept.get(name)) for name, ratio in found.items()]
    doubtful = [each.name for each in first if each.is_worse and each.kept is not None]
    second = again(doubtful) if doubtful else {}
    return [
        Verdict(each.name, (*each.ratios, second[each.name]), each.kept)
        if each.name in doubtful and each.name in second
        else each
        for each in first
    ]


def page(verdicts: Sequence[Verdict], kept: Ratios) -> str:
    """What was compared, as a table; what is kept and was not measured here; and a line that counts what is worse."""
    width = max((len(each.name) for each in verdicts), default=0)
    lines = [f"{each.name:<{width}}  {_words(each)}\n" for each in verdicts]
    missing = kept.keys() - {each.name for each in verdicts}
    lines += [f"not measured here: {'; '.join(sorted(missing))}\n"] if missing else []
    worse = sum(each.is_worse for each in verdicts)
    return f"{''.join(lines)}{len(verdicts)} ratios of CPU times compared, {worse} worse than they may be\n"


def _words(verdict: Verdict) -> str:
    ratios = ", measured again ".join(f"{ratio:g} x" for ratio in verdict.ratios)
    if verdict.kept is None:
        return f"{ratios}: NOTHING IS KEPT to compare it with; see --keep"
    most = f"kept {verdict.kept:g} x, at most {WORSE * verdict.kept:g} x"
    return f"{ratios}, {most}{': WORSE' if verdict.is_worse else ''}"
