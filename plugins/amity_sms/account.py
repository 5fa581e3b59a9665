"""The account of a connection: how to speak with one HTTP gateway, most of it given by a preset."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

Status = Literal["sent", "delivered", "read", "failed", "ignored"]

PRESETS: Mapping[str, Mapping[str, Any]] = {
    "json": {
        "auth": "bearer",
        "body": "json",
        "fields": {"from": "{sender}", "to": "{to}", "text": "{text}", "reference": "{message_id}"},
        "id_path": "id",
        "error_path": "error.message",
        "signature": "hmac",
        "inbound": {"id": "id", "from": "from", "text": "text", "time": "time", "to": "to"},
        "receipt": {"id": "id", "status": "status", "time": "time", "reason": "reason"},
        "statuses": {
            "accepted": "ignored",
            "queued": "ignored",
            "sent": "sent",
            "delivered": "delivered",
            "read": "read",
            "failed": "failed",
            "undelivered": "failed",
            "rejected": "failed",
            "expired": "failed",
        },
    },
    "twilio": {
        "send_url": "https://api.twilio.com/2010-04-01/Accounts/{username}/Messages.json",
        "auth": "basic",
        "body": "form",
        "fields": {"From": "{sender}", "To": "{to}", "Body": "{text}", "StatusCallback": "{webhook}"},
        "id_path": "sid",
        "error_path": "message",
        "signature": "twilio",
        "inbound": {
            "id": "MessageSid",
            "from": "From",
            "text": "Body",
            "to": "To",
            "media": "MediaUrl",
            "media_type": "MediaContentType",
        },
        "receipt": {"id": "MessageSid", "status": "MessageStatus", "reason": "ErrorCode"},
        "statuses": {
            "accepted": "ignored",
            "scheduled": "ignored",
            "queued": "ignored",
            "sending": "ignored",
            "sent": "sent",
            "delivered": "delivered",
            "read": "read",
            "undelivered": "failed",
            "failed": "failed",
            "canceled": "failed",
        },
    },
}
"""What gateways of a kind have in common; every value can be overridden in the account."""

PLACEHOLDERS = frozenset(("sender", "to", "text", "message_id", "webhook"))
PLACEHOLDER = re.compile(r"\{(\w*)\}")


class InboundNames(BaseModel):
    """Where the parts of an incoming message stand, as paths like ``data.text``."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    id: str
    sender: str = Field(alias="from")
    text: str
    to: str | None = None
    time: str | None = None
    media: str | None = None
    """Start of the numbered names of attached files' addresses, like ``MediaUrl`` for ``MediaUrl0``."""
    media_type: str | None = None
    """Start of the numbered names of their types."""
    reference: str | None = None
    """What the parts of one long message have in common, where the gateway hands them over one by one."""
    part: str | None = None
    parts: str | None = None


class ReceiptNames(BaseModel):
    """Where the parts of a delivery receipt stand. What has a ``status`` is a receipt."""

    model_config = ConfigDict(extra="forbid")

    id: str
    status: str
    time: str | None = None
    reason: str | None = None


class SmsAccount(BaseModel):
    """One number or sender at one HTTP gateway. ``preset`` fills in what is not given."""

    model_config = ConfigDict(extra="forbid")

    preset: Literal["json", "twilio"] = Field(default="json", description="Kind of gateway")
    sender: str = Field(min_length=1, max_length=20, description="Number, short code or name to send from")

    send_url: str = Field(description="Where messages are posted; {username} stands for the user name")
    auth: Literal["none", "basic", "bearer"] = Field(description="How to sign in at the gateway")
    username: str | None = Field(default=None, description="User name, account id")
    password: SecretStr | None = Field(default=None, description="Password or token")
    body: Literal["json", "form"] = Field(description="How a message is written")
    fields: dict[str, str] = Field(
        description="Names in the body and what they hold: {sender} {to} {text} {message_id} {webhook}"
    )
    id_path: str = Field(description="Where the gateway's own id stands in its answer, like messages.0.id")
    error_path: str = Field(default="error", description="Where the reason of a refusal stands in its answer")
    idempotency_header: str = Field(default="Idempotency-Key", description="Header that carries the message's id")
    timeout: float = Field(default=15.0, gt=0, le=60, description="Seconds to wait for the gateway")
    max_segments: int = Field(default=10, ge=1, le=255, description="Longest text, in segments")
    allow_private: bool = Field(
        default=False, description="Whether the gateway may be at an address that is not public"
    )

    signature: Literal["hmac", "twilio"] = Field(description="How the gateway signs what it posts here")
    webhook_secret: SecretStr | None = Field(
        default=None, description="Key of that signature; Twilio's is the password, if this is not given"
    )
    signature_header: str = Field(default="X-Signature", description="Header of the signature (hmac)")
    timestamp_header: str = Field(default="X-Timestamp", description="Header of the time, in Unix seconds (hmac)")
    tolerance: int = Field(default=300, ge=1, le=3600, description="Seconds that a signed time may be off (hmac)")

    items: str | None = Field(default=None, description="Where the list of items stands in what is posted")
    inbound: InboundNames = Field(description="Names in an incoming message")
    receipt: ReceiptNames = Field(description="Names in a delivery receipt")
    statuses: dict[str, Status] = Field(description="What the gateway's words for a status mean")
    start_purpose: str = Field(
        default="service",
        min_length=1,
        description="Purpose that START gives consent for; * for all, if the sign-up says so",
    )

    @model_validator(mode="before")
    @classmethod
    def _of_preset(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        return {**PRESETS.get(str(values.get("preset", "json")), {}), **values}

    @field_validator("send_url")
    @classmethod
    def _is_http(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
            raise ValueError(f"{value!r} is no address of a gateway; expected https://…")
        if parts.username or parts.password:
            raise ValueError("the address must not hold a password; use username and password")
        return value

    @field_validator("fields")
    @classmethod
    def _has_known_placeholders(cls, value: dict[str, str]) -> dict[str, str]:
        for name, template in value.items():
            unknown = set(PLACEHOLDER.findall(template)) - PLACEHOLDERS
            if unknown:
                known = ", ".join(f"{{{word}}}" for word in sorted(PLACEHOLDERS))
                raise ValueError(f"{name} holds {{{sorted(unknown)[0]}}}; known are {known}")
        return value

    @field_validator("statuses")
    @classmethod
    def _is_folded(cls, value: dict[str, Status]) -> dict[str, Status]:
        return {word.casefold(): status for word, status in value.items()}

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if self.auth == "basic" and not (self.username and self.password):
            raise ValueError("auth basic needs username and password")
        if self.auth == "bearer" and not self.password:
            raise ValueError("auth bearer needs a password: the token")
        if "{username}" in self.send_url and not re.fullmatch(r"[\w.@+-]+", self.username or ""):
            raise ValueError("send_url holds {username}, so username must be given, of letters, digits and _.@+-")
        if self.secret is None:
            raise ValueError("webhook_secret is missing: without it nobody knows who posts messages here")
        if self.signature == "hmac" and not self.webhook_secret:
            raise ValueError("signature hmac needs a webhook_secret")
        return self

    @property
    def secret(self) -> str | None:
        """The key of signatures."""
        if self.webhook_secret is not None:
            return self.webhook_secret.get_secret_value()
        if self.signature == "twilio" and self.password is not None:
            return self.password.get_secret_value()
        return None

    @property
    def url(self) -> str:
        """Where messages are posted."""
        return self.send_url.replace("{username}", self.username or "")
