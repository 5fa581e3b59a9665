"""Settings: ``amity.toml``, and ``AMITY_*`` in the environment, which wins.

Top-level keys are the core's. Every enabled plugin has a section of its own name, checked against its
settings model; ``AMITY_<PLUGIN>__<KEY>`` sets the same from the environment.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, get_args
from zoneinfo import ZoneInfo

from cryptography.fernet import Fernet
from pydantic import BaseModel, Field, SecretBytes, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)
from pydantic_settings import SettingsError as EnvironmentProblem

DEFAULT_FILE = "amity.toml"


class SettingsError(ValueError):
    """Raised when settings can't be read. Each of ``problems`` says where, what and what to do."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


class ServerSettings(BaseModel, extra="forbid"):
    """``[server]``: where ``amity serve`` listens."""

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535)
    allowed_hosts: list[str] = Field(default_factory=list)
    """Host names, without port, that requests are answered under besides those of this machine's loopback."""
    public_url: str | None = Field(default=None, pattern="^https?://[^/?#]+(/[^?#]*)?$")
    """Where others reach the server, for links in messages and webhooks."""


class SecuritySettings(BaseModel, extra="forbid"):
    """``[security]``: the keys that secrets are encrypted, and links are signed, with."""

    keys: list[SecretStr] = Field(default_factory=list)
    """The first one encrypts and signs, all of them decrypt and verify."""

    @field_validator("keys")
    @classmethod
    def _are_keys(cls, keys: list[SecretStr]) -> list[SecretStr]:
        for number, key in enumerate(keys, 1):
            try:
                Fernet(key.get_secret_value())
            except ValueError:
                raise ValueError(f"key {number} is none; `amity connections new-key` makes one") from None
        return keys


class FileSettings(BaseModel, extra="forbid"):
    """``[files]``: where the files of messages are kept."""

    storage: Literal["local", "s3"] = "local"
    folder: Path = Path("files")
    """For local storage."""
    max_size: int = Field(default=50_000_000, ge=1)
    """Bytes that one file may have."""
    link_seconds: int = Field(default=300, ge=1)
    """How long the URL of a file works."""
    bucket: str | None = None
    """For S3, like everything below."""
    prefix: str = ""
    endpoint: str | None = None
    region: str | None = None
    access_key_id: str | None = None
    secret_access_key: SecretStr | None = None

    @model_validator(mode="after")
    def _has_bucket(self) -> FileSettings:
        if self.storage == "s3" and not self.bucket:
            raise ValueError('storage is "s3", and there is no bucket; name one')
        return self


class SignInSettings(BaseModel, extra="forbid"):
    """``[sign_in]``: how people sign in."""

    session_days: float = Field(default=14, gt=0)
    """A sign-in ends when it was not used for so long."""
    attempts: int = Field(default=10, ge=1)
    """Failures after which an account has to wait."""
    attempt_minutes: float = Field(default=15, gt=0)
    """How long it has to wait, and how long failures count."""
    argon2_memory: int = Field(default=65_536, ge=8)
    """Memory in KiB that hashing a password takes."""
    argon2_passes: int = Field(default=3, ge=1)
    """How often hashing a password goes over that memory."""
    argon2_lanes: int = Field(default=4, ge=1)
    """Into how many lanes that memory is divided."""


class SchemaSettings(BaseModel, extra="forbid"):
    """``[schema]``: ``rename`` maps ``"plugin.Entity"``, ``"plugin.Entity.field"`` or ``"plugin.action"``."""

    rename: dict[str, str] = Field(default_factory=dict)


class CustomFieldSettings(BaseModel, extra="forbid"):
    """``[[custom_fields]]``: a field that an entity has here."""

    entity: str
    """The entity, like ``"Customer"``."""
    name: str
    """A lower-case word; in GraphQL ``contract_value`` is ``contractValue``."""
    type: str
    """What it holds: text, integer, number, money, date, datetime, boolean, choice or link."""
    label: str | None = None
    """What people call it."""
    choices: list[str] | None = None
    """The values of a choice: lower-case words."""
    to: str | None = None
    """The entity that a link leads to."""
    related_name: str | None = None
    """The relation that leads back from there; made of both names where it is absent."""
    max_length: int | None = Field(default=None, ge=1)
    """Characters that a text may have."""
    indexed: bool = False
    """Whether filters and orders by it are answered from an index; those of links always are."""
    required: bool = False
    """Whether new records have to bring it."""
    personal: bool = False
    """Whether it identifies a person."""
    default: str | int | float | bool | None = None
    """What records have that bring nothing, those that are there already too."""


class _Environment(BaseSettings):
    """Settings that are given, and that the environment overrides."""

    environment_wins: ClassVar[bool] = True

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        if not cls.environment_wins:
            return (init_settings,)
        assert isinstance(env_settings, EnvSettingsSource)
        # a field with an alias, like schema, is looked up without the prefix
        prefix = str(cls.model_config["env_prefix"]).lower()
        own = {name: value for name, value in env_settings.env_vars.items() if name.startswith(prefix)}
        env_settings.env_vars = own | {name.removeprefix(prefix): value for name, value in own.items()}
        return env_settings, init_settings


class Settings(_Environment):
    """The core's settings. Plugin sections are in ``sections``, not yet checked."""

    model_config = SettingsConfigDict(
        env_prefix="AMITY_", env_nested_delimiter="__", extra="ignore", hide_input_in_errors=True
    )

    database_url: str = "sqlite:///amity.sqlite3"
    plugins: Annotated[list[str], NoDecode] = Field(default_factory=list)
    default_region: str = Field(default="US", pattern="^[A-Z]{2}$")
    """Country (ISO 3166-1) of phone numbers that are written without one."""
    default_currency: str = Field(default="USD", pattern="^[A-Z]{3}$")
    """Currency (ISO 4217) of amounts that come without one."""
    statement_timeout: float = Field(default=30.0, gt=0)
    """Seconds that one statement may take."""
    pool_size: int = Field(default=10, ge=1)
    """Connections to PostgreSQL that one process keeps at most."""
    time_zone: str = "UTC"
    """Time zone (IANA) in which days begin, for filters like ``during: TODAY``."""
    custom_fields: list[CustomFieldSettings] = Field(default_factory=list)
    server: ServerSettings = Field(default_factory=ServerSettings)
    schema_: SchemaSettings = Field(default_factory=SchemaSettings, alias="schema")
    sign_in: SignInSettings = Field(default_factory=SignInSettings)
    security: SecuritySettings = Field(default_factory=SecuritySettings)
    files: FileSettings = Field(default_factory=FileSettings)
    sections: dict[str, Any] = Field(default_factory=dict, exclude=True)

    @field_validator("plugins", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        """``AMITY_PLUGINS=graphql,csv``"""
        if isinstance(value, str):
            return [part.strip() for part in value.strip("[]").replace('"', "").split(",") if part.strip()]
        return value

    @field_validator("time_zone")
    @classmethod
    def _is_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (LookupError, ValueError, OSError):
            if value != "UTC":  # that one is known without any data
                raise ValueError("no such time zone is known here; expected one like Europe/Zurich") from None
        return value


_SECTIONS: dict[str, type[BaseModel]] = {
    "server": ServerSettings,
    "schema": SchemaSettings,
    "sign_in": SignInSettings,
    "security": SecuritySettings,
    "files": FileSettings,
    "custom_fields": CustomFieldSettings,
}
_CORE_KEYS = {
    "database_url",
    "plugins",
    "default_region",
    "default_currency",
    "statement_timeout",
    "pool_size",
    "server",
    "schema",
    "sign_in",
    "security",
    "files",
    "time_zone",
    "custom_fields",
}


def load(path: Path | None = None, overrides: Mapping[str, Any] | None = None) -> Settings:
    """Settings from a file, the environment and ``overrides``, which win over both.

    Without ``path``: ``$AMITY_CONFIG``, or ``amity.toml`` in the working directory, or none. Raises
    :class:`SettingsError`.
    """
    explicit = path or (Path(os.environ["AMITY_CONFIG"]) if "AMITY_CONFIG" in os.environ else None)
    file = explicit or Path(DEFAULT_FILE)
    values: dict[str, Any] = {}
    if explicit is not None and not file.exists():
        raise SettingsError([f"{file}: no such file; `amity init` writes one"])
    if file.exists():
        values = read_toml(file)
    return from_mapping(values, str(file), overrides)


def read_toml(file: Path) -> dict[str, Any]:
    """A TOML file as a mapping. Raises :class:`SettingsError` with line and column."""
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise SettingsError([f"{file}: {error}"]) from error
    except UnicodeDecodeError as error:
        raise SettingsError([f"{file}: byte {error.start} is not UTF-8; save the file as UTF-8"]) from error
    except OSError as error:
        raise SettingsError([f"{file}: {error.strerror}"]) from error


def from_mapping(
    values: Mapping[str, Any], source: str = "settings", overrides: Mapping[str, Any] | None = None
) -> Settings:
    """Settings from a mapping shaped like ``amity.toml``, and the environment."""
    core = {key: value for key, value in values.items() if key in _CORE_KEYS}
    sections = {key: value for key, value in values.items() if key not in _CORE_KEYS}
    try:
        settings = Settings(**core, sections=sections)
        if overrides:
            settings = _Given(**{**settings.model_dump(by_alias=True), **overrides}, sections=settings.sections)
    except ValidationError as error:
        raise SettingsError(explain(error, source, model=Settings)) from error
    except EnvironmentProblem as error:
        raise SettingsError([_unreadable(error, "AMITY_")]) from error
    loose = {key for key, value in sections.items() if not isinstance(value, dict)}
    if loose:
        raise SettingsError([f"{source}: {unknown_key(key, _CORE_KEYS)}" for key in sorted(loose)])
    return settings


class _Given(Settings):
    """Settings that do not look at the environment."""

    environment_wins = False


def plugin_settings(model: type[BaseModel], name: str, section: Mapping[str, Any], source: str) -> BaseModel:
    """The settings of one plugin, from its section and ``AMITY_<NAME>__*``. Raises SettingsError."""
    prefix = f"AMITY_{name.upper()}__"

    class FromEnvironment(_Environment):
        model_config = SettingsConfigDict(
            env_prefix=prefix, env_nested_delimiter="__", extra="forbid", hide_input_in_errors=True
        )

    combined: type[BaseModel] = type(model.__name__, (FromEnvironment, model), {"__module__": model.__module__})
    try:
        return combined(**section)
    except ValidationError as error:
        problems = explain(error, f"{source} [{name}]", set(model.model_fields), model=model)
        raise SettingsError(problems) from error
    except EnvironmentProblem as error:
        raise SettingsError([_unreadable(error, prefix)]) from error


def _unreadable(error: EnvironmentProblem, prefix: str) -> str:
    field = re.search(r'field "(\w+?)_?"', str(error))
    name = f"{prefix}{field[1].upper()}" if field else f"{prefix}…"
    return f"environment: {name}, or what begins with {name}__, can't be read; write lists and tables as JSON"


def explain(
    error: ValidationError, source: str, known: set[str] | None = None, *, model: type[BaseModel]
) -> list[str]:
    """A pydantic error of ``model`` as sentences: where, what, expected. Secrets are not repeated."""
    messages = []
    for item in error.errors():
        where = ".".join(str(part) for part in item["loc"])
        if item["type"] == "extra_forbidden":
            key = str(item["loc"][-1])
            section = _SECTIONS.get(str(item["loc"][0])) if known is None else None
            keys = set(section.model_fields) if section else known or set()
            messages.append(f"{source}: {unknown_key(where, keys, key)}")
        else:
            shown = item["type"] != "missing" and not _secret(model, item["loc"])
            given = f"; it is {item['input']!r}" if shown else ""
            messages.append(f"{source}: {where}: {item['msg'].removeprefix('Value error, ')}{given}")
    return messages


def holds_secrets(annotation: Any) -> bool:
    """Whether a value of this type has a secret in it, at any depth."""
    if isinstance(annotation, type):
        if issubclass(annotation, (SecretStr, SecretBytes)):
            return True
        if issubclass(annotation, BaseModel):
            return any(holds_secrets(field.annotation) for field in annotation.model_fields.values())
    return any(holds_secrets(part) for part in get_args(annotation))


def _secret(model: type[BaseModel], place: tuple[int | str, ...]) -> bool:
    """Whether what a problem is about could be a secret, or have one in it."""
    annotation: Any = model
    for part in place:
        inner = (
            annotation.model_fields if isinstance(annotation, type) and issubclass(annotation, BaseModel) else {}
        )
        named = next((field for name, field in inner.items() if part in (name, field.alias)), None)
        if named is None:
            break
        annotation = named.annotation
    return holds_secrets(annotation)


def unknown_key(where: str, known: set[str], key: str | None = None) -> str:
    """``unknown key 'databse_url'; did you mean 'database_url'?``"""
    close = difflib.get_close_matches(key or where, sorted(known), n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(sorted(known)) or 'none'}"
    return f"unknown key {where!r}; {hint}"
