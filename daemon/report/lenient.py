"""Reading a record that an older or newer reflexd wrote: what is understood is kept, the rest is named."""

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

Record = TypeVar("Record", bound=BaseModel)


def read_leniently(kind: type[Record], body: Mapping[str, Any]) -> tuple[Record | None, tuple[str, ...]]:
    """The record, and the fields that were left out because this version has no such field, or reads another shape.

    None when what is left is no record: a field without a default is missing or broken.
    """
    try:
        return kind.model_validate(body), ()
    except ValidationError as error:
        broken = {str(each["loc"][0]) for each in error.errors() if each["loc"]}
    kept = {name: value for name, value in body.items() if name not in broken}
    dropped = tuple(sorted(broken))
    try:
        return kind.model_validate(kept), dropped
    except ValidationError:
        return None, dropped
