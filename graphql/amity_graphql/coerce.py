"""Variables made into what resolvers get, by functions that are put together once for each type.

They agree with graphql-core wherever they answer. Whatever is unusual is left to graphql-core, which also says
what is wrong: :class:`Unusual` is raised then.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from graphql import (
    GraphQLBoolean,
    GraphQLEnumType,
    GraphQLID,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLInt,
    GraphQLList,
    GraphQLNonNull,
    GraphQLScalarType,
    GraphQLString,
)
from graphql.pyutils import Undefined

Coerce = Callable[[Any], Any]
_PLAIN: Mapping[str, type] = {GraphQLString.name: str, GraphQLID.name: str, GraphQLBoolean.name: bool}
"""Python types of which every value is taken as it is."""
_INT32 = 2**31


class Unusual(ValueError):
    """Raised for a value that is wrong, or is to be coerced by graphql-core."""


def coercer(type_: GraphQLInputType) -> Coerce | None:
    """What coerces JSON values to a type; None for types within themselves, and others out of the ordinary."""
    try:
        return _coercer(type_, ())
    except Unusual:
        return None


def _coercer(type_: Any, within: tuple[Any, ...]) -> Coerce:
    if isinstance(type_, GraphQLNonNull):
        return _required(_coercer(type_.of_type, within))
    inner = _inner(type_, within)

    def coerce(value: Any) -> Any:
        return None if value is None else inner(value)

    return coerce


def _required(coerce: Coerce) -> Coerce:
    def required(value: Any) -> Any:
        if value is None:
            raise Unusual
        return coerce(value)

    return required


def _inner(type_: Any, within: tuple[Any, ...]) -> Coerce:
    if isinstance(type_, GraphQLList):
        return _list(_coercer(type_.of_type, within))
    if isinstance(type_, GraphQLInputObjectType):
        return _object(type_, within)
    if isinstance(type_, GraphQLEnumType):
        return _enum(type_)
    if not isinstance(type_, GraphQLScalarType):
        raise Unusual
    kind = _PLAIN.get(type_.name)
    if kind is not None:
        return _plain(kind, _leaf(type_))
    return _int if type_.name == GraphQLInt.name else _leaf(type_)


def _list(item: Coerce) -> Coerce:
    def coerce(value: Any) -> Any:
        if type(value) is not list:
            raise Unusual
        return [item(each) for each in value]

    return coerce


def _object(type_: GraphQLInputObjectType, within: tuple[Any, ...]) -> Coerce:
    if type_ in within or type_.is_one_of or type_.out_type is not GraphQLInputObjectType.out_type:
        raise Unusual
    fields = type_.fields.items()
    if any(field.default is not None or field.default_value is not Undefined for _, field in fields):
        raise Unusual
    members = [(name, field.out_name or name, _coercer(field.type, (*within, type_))) for name, field in fields]
    needed = [name for name, field in fields if isinstance(field.type, GraphQLNonNull)]

    def coerce(value: Any) -> Any:
        if type(value) is not dict:
            raise Unusual
        for name in needed:
            if name not in value:
                raise Unusual
        found = {key: member(value[name]) for name, key, member in members if name in value}
        if len(found) != len(value):
            raise Unusual
        return found

    return coerce


def _enum(type_: GraphQLEnumType) -> Coerce:
    values = {name: type_.coerce_input_value(name) for name in type_.values}

    def coerce(value: Any) -> Any:
        if type(value) is not str or value not in values:
            raise Unusual
        return values[value]

    return coerce


def _plain(kind: type, otherwise: Coerce) -> Coerce:
    def coerce(value: Any) -> Any:
        return value if type(value) is kind else otherwise(value)

    return coerce


def _int(value: Any) -> Any:
    if type(value) is not int or not -_INT32 <= value < _INT32:
        raise Unusual
    return value


def _leaf(type_: GraphQLScalarType) -> Coerce:
    parse = type_.coerce_input_value

    def coerce(value: Any) -> Any:
        try:
            found = parse(value)
        except Exception as error:
            raise Unusual from error
        if found is Undefined:
            raise Unusual
        return found

    return coerce


__all__ = ["Coerce", "Unusual", "coercer"]
