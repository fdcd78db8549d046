"""What a text field takes is said in words, not as a regular expression."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from bty.daemon.openapi import describe
from bty.daemon.routes import ROUTES
from bty.services import text

FIELDS = {name: kind for name, kind in vars(text).items() if getattr(kind, "__metadata__", None) and name != "Labels"}


def _patterns(value: Any) -> set[str]:
    if isinstance(value, list):
        return set().union(*map(_patterns, value))
    if not isinstance(value, dict):
        return set()
    here = {value["pattern"]} if isinstance(value.get("pattern"), str) else set()
    return here.union(*map(_patterns, value.values()))


def test_every_pattern_of_the_interface_has_its_words() -> None:
    patterns = _patterns(describe(ROUTES)["components"]["schemas"])
    assert len(patterns) > 8
    assert patterns <= {pattern.replace(r"\Z", "$") for pattern in text.WORDS}


@pytest.mark.parametrize("name", FIELDS)
def test_the_words_of_a_field_come_in_the_place_of_its_pattern(name: str) -> None:
    with pytest.raises(msgspec.ValidationError, match="matching regex") as raised:
        msgspec.convert({"a": "\n"}, dict[str, FIELDS[name]])
    said = text.explain(str(raised.value))
    (pattern,) = (meta.pattern for meta in FIELDS[name].__metadata__)
    assert said == f"Expected {text.WORDS[pattern]} - at `$[...]`"


@pytest.mark.parametrize("said", ["Expected `int`, got `str` - at `$.page`", "Expected `str` matching regex '^x' - at `$.a`"])
def test_what_has_no_words_stays_as_it_is(said: str) -> None:
    assert text.explain(said) == said
