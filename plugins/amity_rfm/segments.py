"""The eleven segments of the usual RFM map.

The map has recency (R) on one side, and the mean of frequency and monetary value (FM) on the other. The ranges
that are published with it overlap (Putler, "RFM analysis", https://www.putler.com/rfm-analysis/: Champions R 4-5,
FM 4-5; Loyal R 2-5, FM 3-5; Potential loyalist R 3-5, FM 1-3; New R 4-5, FM 0-1; Promising R 3-4, FM 0-1; Need
attention R 2-3, FM 2-3; About to sleep R 2-3, FM 0-2; At risk R 0-2, FM 2-5; Can't lose R 0-1, FM 4-5;
Hibernating R 1-2, FM 1-2; Lost R 0-2, FM 0-2). Here each of the 25 fields has the one segment of those whose
ranges hold it that common implementations give it.
"""

from __future__ import annotations

from typing import Literal, get_args

Segment = Literal[
    "champions",
    "loyal",
    "potential_loyalist",
    "new",
    "promising",
    "need_attention",
    "about_to_sleep",
    "at_risk",
    "cant_lose",
    "hibernating",
    "lost",
]
SEGMENTS: tuple[Segment, ...] = get_args(Segment)

MAP: dict[int, tuple[Segment, Segment, Segment, Segment, Segment]] = {
    5: ("new", "potential_loyalist", "potential_loyalist", "champions", "champions"),
    4: ("promising", "potential_loyalist", "potential_loyalist", "loyal", "loyal"),
    3: ("about_to_sleep", "about_to_sleep", "need_attention", "loyal", "loyal"),
    2: ("hibernating", "hibernating", "at_risk", "at_risk", "at_risk"),
    1: ("lost", "hibernating", "at_risk", "cant_lose", "cant_lose"),
}
"""Recency → the segments of FM 1 to 5."""


def segment_of(r: int, f: int, m: int | None) -> Segment:
    """The segment of three quintiles, 1 to 5. FM is the mean of f and m, rounded half up; f alone without m."""
    fm = f if m is None else (f + m + 1) // 2
    return MAP[r][fm - 1]


def segment_sql(r: str, fm: str) -> str:
    """The same as SQL."""
    fields = " ".join(
        f"when {10 * recency + 1 + place} then '{segment}'"
        for recency, row in MAP.items()
        for place, segment in enumerate(row)
    )
    return f"case 10 * {r} + {fm} {fields} end"
