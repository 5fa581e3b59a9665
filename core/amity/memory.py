"""How Python looks through memory for what nobody uses any more."""

from __future__ import annotations

import gc


def settle_memory() -> None:
    """What is there at the start stays; looking through it again and again made one request in a hundred slow, and
    an import a third slower."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
