"""Dynaconf: lays one layer over another, and runs the rules that concern several sections.

Nobody else touches it, since what it does beyond these two things would surprise an operator. Measured on 3.3.5 and
3.2.10, and made impossible here:

* Its loaders read `settings.local.toml`, `.env`, and variables of other programs such as AUTO_CAST_FOR_DYNACONF. They
  are skipped: the files and the environment are read by `files` and `texts`.
* It turns "12345" into a number, "@format …" and "@read_file …" into what they say, and evaluates the latter late.
  It is given opaque values in which it finds no text.
* It joins lists, obeys keys and list items called "dynaconf_merge", and takes `aes` and `AES` for one key. It is
  given keys in hexadecimal and no lists.
"""

import copy
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, TypeAlias

from dynaconf import ValidationError, Validator
from dynaconf.base import Settings

from invoker.config.layer import Given, Tree

Rule: TypeAlias = Any
"""A `Validator`: Dynaconf ships no types."""

__all__ = ["Rule", "Validator", "failure", "merged", "names"]

_TREE: Final = "tree"

_MESSAGES: Final = {
    "must_exist_true": "{name}: must be given",
    "must_exist_false": "{name}: must not be given",
    "condition": "{name}: {value} is refused by the rule {function}",
    "operations": "{name}: must {operation} {op_value}, is {value}",
    "combined": "one of these must be put right: {errors}",
}
_OPERATIONS: Final = {
    "eq": "be",
    "ne": "not be",
    "gt": "be above",
    "lt": "be below",
    "ge": "be at least",
    "gte": "be at least",
    "le": "be at most",
    "lte": "be at most",
    "is_in": "be one of",
    "is_not_in": "not be one of",
    "cont": "contain",
    "startswith": "start with",
    "endswith": "end with",
}
_OPERATION: Final = re.compile(rf"(?<=: must )({'|'.join(_OPERATIONS)})(?= )")


def _settings() -> Any:
    """Return an empty Dynaconf.

    Made from the class behind `Dynaconf`, which reads the process's environment even when it has no loaders.
    """
    return Settings(
        AUTO_CAST_FOR_DYNACONF=False,  # first: it governs how the others are read
        DOTTED_LOOKUP_FOR_DYNACONF=True,
        ENVIRONMENTS_FOR_DYNACONF=False,
        MAIN_ENV_FOR_DYNACONF="main",
        dynaconf_skip_loaders=True,
        dynaconf_skip_validators=True,
    )


def merged(trees: Iterable[Tree]) -> Tree:
    """Return the trees laid over one another, the last on top: tables merge, anything else replaces."""
    settings = _settings()
    for tree in trees:
        settings.set(_TREE, _sealed(tree), merge=True, validate=False)
    return _opened(settings.get(_TREE, {}))


def _sealed(tree: Tree) -> Tree:
    return {
        f"k{key.encode('utf-8', 'surrogatepass').hex()}": node if isinstance(node, Given) else _sealed(node)
        for key, node in tree.items()
    }


def _opened(tree: Mapping[str, Any]) -> Tree:
    return {
        bytes.fromhex(key[1:]).decode("utf-8", "surrogatepass"): node if isinstance(node, Given) else _opened(node)
        for key, node in tree.items()
    }


def failure(rule: Rule, values: Mapping[str, Any]) -> str | None:
    """Return what a rule has against the sections' values, which have the roles beside them, if anything.

    The rule gets a copy: what a validator's `default` or `cast` changes, neither the next rule nor anybody else sees.

    Raises:
        Exception: what the rule's own functions raise.
    """
    settings = _settings()
    for name, value in values.items():
        settings.set(name, copy.deepcopy(value), validate=False, dotted_lookup=False)
    try:
        _worded(rule).validate(settings)
    except ValidationError as error:
        return _OPERATION.sub(lambda match: _OPERATIONS[match[1]], str(error))
    return None


def names(rule: Rule) -> set[str]:
    """Return the settings that a rule speaks of, its condition not included."""
    parts = getattr(rule, "validators", None)  # of `one | other`
    return {str(name) for name in rule.names} if parts is None else set().union(*(names(part) for part in parts))


def _worded(rule: Rule) -> Rule:
    """Return a copy of a rule that speaks our language where its author gave it no words."""
    rule = copy.copy(rule)  # not deep: a validator knows its missing default by identity
    if hasattr(rule, "validators"):
        rule.validators = tuple(_worded(part) for part in rule.validators)
    rule.messages = {
        key: _MESSAGES.get(key, text) if text == Validator.default_messages.get(key) else text
        for key, text in rule.messages.items()
    }
    return rule
