"""How far a message has come on its way out. It only ever moves forward."""

from __future__ import annotations

_RANK = {"queued": 0, "sending": 1, "sent": 2, "delivered": 3, "read": 4}


def moves_forward(before: str | None, after: str | None) -> bool:
    """Whether a message may go from one status to another.

    queued → sending → sent → delivered → read, any of them left out; failed can follow what was not
    delivered, and nothing follows failed.
    """
    if before is None:
        return True
    if after is None or before == "failed":
        return False
    if after == "failed":
        return _RANK[before] <= _RANK["sent"]
    return _RANK[after] > _RANK[before]


__all__ = ["moves_forward"]
