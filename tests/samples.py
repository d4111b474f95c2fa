"""Request bodies made from the structs of the route table."""

from __future__ import annotations

from typing import Any

from msgspec import inspect


def minimal(kind: Any) -> Any:
    """Return the smallest JSON value that a struct accepts: what is required, at its bounds."""
    return _value(inspect.type_info(kind))


def _value(info: inspect.Type) -> Any:  # noqa: C901 (one case for each type)
    match info:
        case inspect.StructType():
            tag = {} if info.tag_field is None else {info.tag_field: info.tag}
            return tag | {f.encode_name: _value(f.type) for f in info.fields if f.required}
        case inspect.UnionType():
            return _value(info.types[0])
        case inspect.ListType() | inspect.VarTupleType() | inspect.SetType():
            return [_value(info.item_type)] * (info.min_length or 0)
        case inspect.TupleType():
            return [_value(one) for one in info.item_types]
        case inspect.DictType():
            return {}
        case inspect.LiteralType():
            return info.values[0]
        case inspect.BoolType():
            return False
        case inspect.IntType():
            return info.ge or 0
        case inspect.FloatType():
            return info.ge or 0.0
        case inspect.NoneType():
            return None
        case inspect.StrType():
            return "0" * max(info.min_length or 0, 16 if info.pattern else 1)
        case inspect.RawType() | inspect.AnyType():
            return {}
        case inspect.Metadata():
            return _value(info.type)
    raise AssertionError(f"no sample of {info}")
