"""The account of a connection: one mailbox, and the servers that it is reached by."""

from __future__ import annotations

import ssl
from datetime import date
from typing import Literal, Self

import idna
from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from amity.channels import AddressError, normalize_email

Security = Literal["tls", "starttls", "none"]
_SMTP_PORTS: dict[Security, int] = {"tls": 465, "starttls": 587, "none": 25}
_IMAP_PORTS: dict[Security, int] = {"tls": 993, "starttls": 143, "none": 143}


class EmailAccount(BaseModel):
    """One mailbox: sending needs an SMTP server, fetching an IMAP server, posted messages a secret."""

    model_config = ConfigDict(extra="forbid")

    address: str = Field(description="The mailbox's address, which messages are sent from")
    display_name: str | None = Field(default=None, max_length=200, description="Name to send with")
    aliases: list[str] = Field(default_factory=list, max_length=100, description="Its other addresses")

    smtp_host: str | None = Field(default=None, min_length=1, description="Server that takes what is sent")
    smtp_port: int | None = Field(default=None, ge=1, le=65535, description="465 by default, or as security asks")
    smtp_security: Security = Field(default="tls", description="tls, starttls, or none on a private network")
    smtp_username: str | None = Field(default=None, description="The address by default")
    smtp_password: SecretStr | None = Field(default=None, description="None: without signing in")

    imap_host: str | None = Field(default=None, min_length=1, description="Server that keeps what came")
    imap_port: int | None = Field(default=None, ge=1, le=65535, description="993 by default, or as security asks")
    imap_security: Security = Field(default="tls", description="tls, starttls, or none on a private network")
    imap_username: str | None = Field(default=None, description="The address by default")
    imap_password: SecretStr | None = Field(default=None, description="Password of the mailbox")
    imap_folder: str = Field(default="INBOX", min_length=1, description="Folder that is fetched")
    imap_sent_folder: str | None = Field(
        default=None, min_length=1, description="Folder of what was sent with mail programs; it is fetched too"
    )
    imap_since: date | None = Field(default=None, description="Fetch nothing that arrived before this day")

    webhook_secret: SecretStr | None = Field(
        default=None, description="Secret of whoever posts raw messages to this connection"
    )
    max_size: int = Field(
        default=50_000_000, ge=10_000, le=500_000_000, description="Bytes of the largest message, in and out"
    )
    timeout: float = Field(default=30.0, gt=0, le=120, description="Seconds to wait for an answer of a server")
    allow_private: bool = Field(
        default=False, description="Whether the servers may be at addresses that are not public"
    )
    certificate_authority: str | None = Field(
        default=None,
        description="Certificates (PEM) that the servers' are checked against, besides the usual ones",
    )

    @field_validator("address")
    @classmethod
    def _is_address(cls, value: str) -> str:
        return _checked(value)

    @field_validator("aliases")
    @classmethod
    def _are_addresses(cls, values: list[str]) -> list[str]:
        return [_checked(value) for value in values]

    @field_validator("certificate_authority")
    @classmethod
    def _is_certificate(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                ssl.create_default_context().load_verify_locations(cadata=value)
            except (ssl.SSLError, ValueError):
                raise ValueError("it is no certificate; expected -----BEGIN CERTIFICATE----- …") from None
        return value

    @model_validator(mode="after")
    def _is_usable(self) -> Self:
        if self.imap_host is not None and self.imap_password is None:
            raise ValueError("imap_host needs an imap_password")
        for name in ("smtp", "imap"):
            plain = getattr(self, f"{name}_security") == "none" and getattr(self, f"{name}_password") is not None
            if plain and not self.allow_private:
                raise ValueError(
                    f"{name}_security none would send the password in clear; use tls or starttls, "
                    "or set allow_private for a server on a private network"
                )
        return self

    @property
    def own(self) -> frozenset[str]:
        """All addresses of the mailbox."""
        return frozenset((self.address, *self.aliases))

    @property
    def domain(self) -> str:
        """What is behind the @ of the address, in ASCII."""
        return idna.encode(self.address.rpartition("@")[2]).decode("ascii")

    @property
    def smtp_at(self) -> tuple[str, int]:
        """Host and port of the SMTP server. Raises LookupError if there is none."""
        if self.smtp_host is None:
            raise LookupError("the account has no smtp_host, so nothing can be sent")
        return self.smtp_host, self.smtp_port or _SMTP_PORTS[self.smtp_security]

    @property
    def imap_at(self) -> tuple[str, int]:
        """Host and port of the IMAP server. Raises LookupError if there is none."""
        if self.imap_host is None:
            raise LookupError("the account has no imap_host, so nothing can be fetched")
        return self.imap_host, self.imap_port or _IMAP_PORTS[self.imap_security]


def tls_context(account: EmailAccount, host: str) -> ssl.SSLContext:
    """Checks certificates against the host's name, also where an address was connected to."""
    context = _Named(ssl.PROTOCOL_TLS_CLIENT)
    context.load_default_certs()
    if account.certificate_authority is not None:
        context.load_verify_locations(cadata=account.certificate_authority)
    context.host = host
    return context


class _Named(ssl.SSLContext):
    """Asks for the certificate of a host, whatever the library that uses it connected to."""

    host: str

    def wrap_socket(self, *arguments: object, **options: object) -> ssl.SSLSocket:
        return super().wrap_socket(*arguments, **{**options, "server_hostname": self.host})  # type: ignore[arg-type]


def _checked(value: str) -> str:
    try:
        return normalize_email(value)
    except AddressError as error:
        raise ValueError(str(error)) from None


__all__ = ["EmailAccount", "Security", "tls_context"]
