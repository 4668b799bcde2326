"""NEWS2, the early warning score of the Royal College of Physicians (2017), from one set of observations."""

from __future__ import annotations

from collections.abc import Sequence


def _points(number: float, bounds: Sequence[tuple[float, int]], above: int) -> int:
    """Return the points of the first upper bound that a number does not exceed."""
    return next((points for bound, points in bounds if number <= bound), above)


def _saturation_points(spo2: int, oxygen: bool, hypercapnic: bool) -> int:
    if not hypercapnic:
        return _points(spo2, ((91, 3), (93, 2), (95, 1)), above=0)
    if oxygen and spo2 >= 93:  # scale 2 punishes too much oxygen, not good lungs
        return _points(spo2, ((94, 1), (96, 2)), above=3)
    return _points(spo2, ((83, 3), (85, 2), (87, 1)), above=0)


def parts(
    *, rate: int, spo2: int, oxygen: bool, sbp: int, pulse: int, alert: bool, temp_c: float, hypercapnic: bool = False
) -> list[int]:
    """Return the points of each observation.

    Args:
        rate: Breaths per minute.
        spo2: Percent.
        temp_c: To one decimal.
        hypercapnic: Whether saturation is scored on scale 2, the target being 88-92 %.
    """
    return [
        _points(rate, ((8, 3), (11, 1), (20, 0), (24, 2)), above=3),
        _saturation_points(spo2, oxygen, hypercapnic),
        2 if oxygen else 0,
        _points(sbp, ((90, 3), (100, 2), (110, 1), (219, 0)), above=3),
        _points(pulse, ((40, 3), (50, 1), (90, 0), (110, 1), (130, 2)), above=3),
        0 if alert else 3,
        _points(temp_c, ((35.0, 3), (36.0, 1), (38.0, 0), (39.0, 1)), above=2),
    ]


def response(points: Sequence[int]) -> str:
    """Return how soon the patient is to be seen, by the score's own thresholds."""
    total = sum(points)
    if total >= 7:
        return "Emergency response"
    if total >= 5:
        return "Urgent review"
    return "Urgent ward review" if 3 in points else "Ward monitoring"
