"""Seeds for laws whose examples are asked of a CRM, which hypothesis can't await."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


def drawn(examples: int) -> list[int]:
    """So many seeds, others each time."""
    seeds: list[int] = []

    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.integers(0, 2**32))
    def draw(seed: int) -> None:
        seeds.append(seed)

    draw()
    return seeds
