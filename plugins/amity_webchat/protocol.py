"""What is said over the socket: JSON texts, one message each, whose kind is ``t``.

From the widget:

===========  ================================================================================================
``hello``    first: ``v`` 1, ``token`` and ``identity`` if it has them, ``resume`` and ``since`` when it was here
             a moment ago, ``language``, ``page``
``message``  ``id`` (its own, so that sending again changes nothing) and ``text``
``email``    ``email``, as the visitor claims it
``typing``   the visitor is typing
``got``      ``ids`` of messages that arrived
``seen``     ``ids`` of messages that were shown
``history``  what came ``before`` a cursor
``ping``     is anybody there?
===========  ================================================================================================

From the server:

============  ===============================================================================================
``welcome``   ``token`` or ``resume``, ``visitor``, ``identified``, ``online``, ``messages``, ``cursor``, ``since``
``messages``  ``messages`` that are new, ``since`` for the next hello
``ack``       the ``message`` that was stored
``history``   ``messages`` and the ``cursor`` of what came before them, if anything did
``typing``    somebody is typing
``presence``  ``online``: whether somebody is there to answer
``email``     the address was noted
``refused``   ``code`` (rate, size, email, identity, failed), ``reason``, ``id`` of the message, ``after`` seconds
``pong``      the answer to ``ping``
============  ===============================================================================================
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import orjson
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

LONGEST_FRAME = 32_768
"""Bytes of one text from the widget, at most."""
MALFORMED, FORBIDDEN, MISSING, SILENT, MANY, UNREADY = 4400, 4403, 4404, 4408, 4429, 4503
"""Codes by which the server closes a socket: what it got is no message; it may not chat any more; the
connection is gone; nothing was heard for too long; too many sockets or messages; no key is set."""

_Text = Annotated[str, Field(max_length=20_000)]
_Ids = Annotated[list[Annotated[str, Field(max_length=40)]], Field(max_length=200)]


class Hello(BaseModel):
    t: Literal["hello"]
    v: Literal[1]
    token: Annotated[str, Field(max_length=4096)] | None = None
    identity: Annotated[str, Field(max_length=4096)] | None = None
    resume: Annotated[str, Field(max_length=4096)] | None = None
    since: Annotated[str, Field(max_length=40)] | None = None
    language: Annotated[str, Field(max_length=35)] | None = None
    page: Annotated[str, Field(max_length=2000)] | None = None


class Message(BaseModel):
    t: Literal["message"]
    id: Annotated[str, Field(pattern="^[A-Za-z0-9_-]{16,64}$")]
    text: _Text


class Email(BaseModel):
    t: Literal["email"]
    email: Annotated[str, Field(max_length=320)]


class Typing(BaseModel):
    t: Literal["typing"]


class Got(BaseModel):
    t: Literal["got"]
    ids: _Ids


class Seen(BaseModel):
    t: Literal["seen"]
    ids: _Ids


class History(BaseModel):
    t: Literal["history"]
    before: Annotated[str, Field(max_length=2000)]


class Ping(BaseModel):
    t: Literal["ping"]


Said = Hello | Message | Email | Typing | Got | Seen | History | Ping
_said: TypeAdapter[Said] = TypeAdapter(Annotated[Said, Field(discriminator="t")])


class Malformed(ValueError):
    """Raised for what is no message of the protocol."""


def parse(text: str) -> Said:
    """A message of the widget. Raises :class:`Malformed`."""
    if len(text) > LONGEST_FRAME:
        raise Malformed(f"it is longer than {LONGEST_FRAME} bytes")
    try:
        return _said.validate_python(orjson.loads(text))
    except (ValidationError, orjson.JSONDecodeError) as error:
        raise Malformed(str(error)) from None


def dump(kind: str, **values: Any) -> str:
    """A message to the widget."""
    return orjson.dumps({"t": kind, **values}).decode()
