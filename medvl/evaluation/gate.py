"""Is a trained model worse than its base? Compared on the target set, and on a replay set that shows forgetting."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from medvl.evaluation.evaluation import Scored
from medvl.metrics import METRICS, summary_table
from medvl.metrics.scoring import unfit

if TYPE_CHECKING:
    from medvl.metrics.confidence import Difference, Interval

TARGET, REPLAY = "target", "replay"  # the two sets that are scored


@dataclass(kw_only=True)
class BeforeAfter:
    """One set of examples, scored before and after training."""

    title: str
    objective: str
    before: Scored | None
    after: Scored
    names: tuple[str, str] = ("the base", "the trained model")

    def __post_init__(self) -> None:
        from medvl.metrics.confidence import intervals, paired

        scored = {"after": self.after} if self.before is None else {"before": self.before, "after": self.after}
        self.summaries: dict[str, dict[str, Any]] = {when: summary for when, (_, summary) in scored.items()}
        self.intervals: dict[str, dict[str, Interval | None]] = {
            when: intervals(rows) for when, (rows, _) in scored.items()
        }
        differences = {} if self.before is None else paired(self.before[0], self.after[0])
        self.difference: Difference | None = differences.get(self.objective)

    @property
    def sentence(self) -> str | None:
        """The paired comparison in words; None if the base was not scored or the objective does not apply."""
        from medvl.metrics.confidence import sentence

        if self.difference is None:
            return None
        return sentence(self.objective, self.difference, *self.names)

    def __str__(self) -> str:
        lines = [f"{self.after[1]['examples']} {self.title}", summary_table(self.summaries, self.intervals)]
        return "\n".join(lines + ([self.sentence] if self.sentence else []))

    def to_json(self) -> dict[str, Any]:
        return {**self.summaries, "intervals": self.intervals, "verdict": self.sentence}


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """The result of the gate."""

    verdict: str
    """worse, not worse or unknown."""
    why: list[str]
    """One sentence, with its numbers, for each set that decided the verdict."""

    @property
    def worse(self) -> bool:
        return self.verdict == "worse"

    def __str__(self) -> str:
        # For "not worse", the comparisons of both sets are already printed above the verdict.
        return f"gate: {self.verdict}" + ("" if self.verdict == "not worse" else f"; {' '.join(self.why)}")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(kw_only=True, slots=True)
class Gate:
    """Decides whether a trained model is worse than its base, and so not exported: the options `gate.*`."""

    tolerance: float = 0.01
    """Loss accepted on the replay set, as a share: 0.01 is one percentage point of its objective. The model counts as
    worse if the whole 95 % interval of the loss is above this."""

    def __post_init__(self) -> None:
        if not 0 <= self.tolerance <= 1:  # NaN too
            raise ValueError(f"gate.tolerance is a share, from 0 to 1, got {self.tolerance}. Set gate.tolerance=0.01.")

    def judge(self, target: BeforeAfter, replay: BeforeAfter | None) -> Verdict:
        """Return worse if either set shows it, and unknown if a scored set could not show it."""
        from medvl.metrics.confidence import enough

        why = []
        if target.difference is not None and target.difference.verdict == "worse":
            why.append(f"{TARGET} set: {target.sentence}")
        if replay is not None and replay.difference is not None and self._forgets(replay):
            why.append(f"{REPLAY} set, tolerance {100 * self.tolerance:g} points: {replay.sentence}")
        if why:
            return Verdict(verdict="worse", why=why)
        if target.before is None:
            return Verdict(verdict="unknown", why=["the base was not evaluated (eval.before=false)"])
        sets = {TARGET: target} if replay is None or replay.before is None else {TARGET: target, REPLAY: replay}
        for name, one in sets.items():
            if one.difference is None:
                option = "eval" if name == TARGET else name
                why.append(f"{name} set: {unfit(one.objective, one.after[1], option)}")
            elif one.difference.low is None or not enough(one.difference.documents):
                why.append(f"{name} set: {one.sentence}")
        if why:
            return Verdict(verdict="unknown", why=why)
        return Verdict(verdict="not worse", why=[f"{name} set: {one.sentence}" for name, one in sets.items()])

    def _forgets(self, replay: BeforeAfter) -> bool:
        lost = replay.difference
        if lost is None or lost.low is None or lost.high is None or lost.verdict != "worse":
            return False
        least = -lost.high if METRICS[replay.objective].higher_is_better else lost.low
        return least > self.tolerance
