"""What all native request bodies have in common."""

from __future__ import annotations

from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator


class Wire(BaseModel):
    """Unknown fields are refused, so that a misspelt one does not pass silently; `true` is no number."""

    model_config = ConfigDict(extra="forbid", strict=False, str_max_length=1_000_000)

    @field_validator("*", mode="before")
    @classmethod
    def _true_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Pydantic would read it as 1, against the document."""
        field = cls.model_fields[info.field_name or ""]
        if _holds_bool(value) and not _takes_bool(field.annotation):
            raise ValueError("true and false are no numbers")
        return value


def _holds_bool(value: Any) -> bool:
    return isinstance(value, bool) or (isinstance(value, list) and any(map(_holds_bool, value)))


def _takes_bool(annotation: Any) -> bool:
    return annotation in (bool, Any) or any(map(_takes_bool, get_args(annotation)))
