"""Settings of the GraphQL layer, the section ``[graphql]``."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, Field, ValidationInfo, field_validator


class SignIn(BaseModel, extra="forbid"):
    """A user whom everybody may sign in as: the explorer offers it as a button, and tells the password."""

    label: str = Field(min_length=1)
    email: str = Field(min_length=1)
    password: str = Field(min_length=1, repr=False)


class GraphQLSettings(BaseModel, extra="forbid"):
    """How much one request may ask for, and whether the explorer is served."""

    page_size: int = Field(default=50, ge=1)
    """Rows of a connection that is asked for without ``first`` or ``last``."""
    max_page_size: int = Field(default=500, ge=1, validate_default=True)
    """Rows of a connection that may be asked for at most."""
    max_rows: int = Field(default=250_000, ge=1)
    """Rows that an answer may have at most, as the sizes of its pages say before anything is run."""
    max_depth: int = Field(default=50, ge=1)
    """Levels of fields within fields."""
    max_fields: int = Field(default=2_000, ge=1)
    """Fields of an operation, with its fragments put in wherever they are used."""
    max_cost: int = Field(default=1_000_000, ge=1)
    """Fields that an answer may have at most: each counts once for every record that it is asked of."""
    max_root_fields: int = Field(default=50, ge=1)
    """Fields at the root of an operation; each mutation there is a transaction of its own."""
    max_list: int = Field(default=1_000, ge=1)
    """Items of a list that is handed in: ids, rows to write, keys to order by, values of a filter."""
    max_body: int = Field(default=4 * 2**20, ge=1)
    """Bytes of a request's body."""
    max_json_depth: int = Field(default=64, ge=1)
    """Levels of objects and lists within a request's JSON."""
    resolver_timeout: float = Field(default=30.0, gt=0)
    """Seconds that a root field of a plugin's own may take."""
    cached_documents: int = Field(default=1_000, ge=0)
    """Documents that are kept parsed and validated, and those that clients may send again by their hash."""
    cached_characters: int = Field(default=1_000_000, ge=0)
    """Characters of these documents together, which bounds the memory that they take."""
    cached_plans: int = Field(default=1_000, ge=0)
    """Queries whose statements are kept for other values of their variables; 0 writes each anew."""
    persisted_operations: Path | None = None
    """A folder of GraphQL documents, or a manifest, that clients may name by hash instead of sending them."""
    only_persisted: bool = False
    """Whether nothing but these operations is answered over HTTP."""
    graphiql: bool = True
    """Whether the explorer is served to browsers."""
    sign_ins: list[SignIn] = Field(default_factory=list)
    """Users that the explorer offers to sign in as, with their passwords in the page: for demos only."""

    @field_validator("max_page_size")
    @classmethod
    def _has_room(cls, most: int, info: ValidationInfo) -> int:
        usual = info.data.get("page_size", 1)
        if most < usual:
            raise ValueError(f"expected at least page_size, which is {usual:,}")
        return most
