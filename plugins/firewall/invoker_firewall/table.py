"""The machine's tables of rules: what is in them, and what has to change so that ours are. No input, no output.

Rules of ours are in two chains of a table, named for the invoker's identity, so that two invokers on one machine leave
each other's alone and a killed one's are found by its next life. Jumps lead to them from chains that everybody shares.
"""

import hashlib
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, Self

import msgspec

from invoker.entities.node import Node
from invoker_firewall.rules import Line, Rules

PREFIX: Final = "FUNCTIONS-INVOKER-"
"""Of all chains of all invokers; with eight digits and two letters the 28 characters that a name may have."""
INCOMING: Final = "INPUT"
FORWARDED: Final = "FORWARD"
FORWARDED_BY_DOCKER: Final = "DOCKER-USER"
"""Docker keeps it in front of its own rules and leaves its content alone, a restart included."""

_TO_DOCKERS: Final = f"-j {FORWARDED_BY_DOCKER}"
_REFUSALS: Final = frozenset({"DROP", "REJECT"})
_REMARKS: Final = frozenset({"LOG", "NFLOG", "MARK", "CONNMARK", "TRACE"})
_SAID: Final = re.compile(r"[^A-Za-z0-9_.:/ -]", re.ASCII)
_LONGEST_REMARK: Final = 80


class Chains(msgspec.Struct, frozen=True):
    """The names of an invoker's chains, and what the jumps to them say about whose they are."""

    forwarded: str
    incoming: str
    remark: str

    @classmethod
    def of(cls, node: Node) -> Self:
        """Return the chains of an identity; the displayed name is no part of it."""
        digest = hashlib.sha256(f"{node.id}/{node.unique_name or ''}".encode()).hexdigest()[:8]
        remark = _SAID.sub("?", f"functions-invoker {node}")[:_LONGEST_REMARK]
        return cls(f"{PREFIX}{digest}-F", f"{PREFIX}{digest}-I", remark)

    def __contains__(self, chain: object) -> bool:
        return chain in (self.forwarded, self.incoming)

    def __iter__(self) -> Iterator[str]:
        return iter((self.forwarded, self.incoming))


class Table(msgspec.Struct, frozen=True):
    """A table of the packet filter: the rules of each chain, each without the chain in front."""

    line: Line
    chains: Mapping[str, Sequence[str]]

    @classmethod
    def read(cls, line: Line, saved: str) -> Self:
        """Read what `iptables-save -t` prints of a table."""
        chains: dict[str, list[str]] = {}
        for text in saved.splitlines():
            if text.startswith(":"):
                chains.setdefault(text[1:].split()[0], [])
            elif text.startswith("-A "):
                chain, _, rule = text.removeprefix("-A ").partition(" ")
                chains.setdefault(chain, []).append(rule)
        return cls(line, chains)

    def rules(self, chain: str) -> Sequence[str]:
        """Return a chain's rules; none where there is no such chain."""
        return self.chains.get(chain, ())

    def jumps(self, chains: Chains) -> Iterator[tuple[str, str]]:
        """Yield every rule that leads to one of `chains`, after the name of the chain it is in."""
        for chain, rules in self.chains.items():  # of Kubernetes there may be ten thousand: to take one apart is slow
            yield from ((chain, rule) for rule in rules if PREFIX in rule and _target(rule) in chains)


class Plan(msgspec.Struct, frozen=True):
    """What a table shall have of ours."""

    chains: Mapping[str, Sequence[str]]
    jumps: Sequence[tuple[str, str]]
    """Rules after the names of the chains they are in; each before anything there that lets packets through."""
    bridges: Sequence[str]


def plan(table: Table, chains: Chains, rules: Rules, bridges: Sequence[str]) -> Plan:
    """Return what `table` shall have, now that the others' rules in it are as they are."""
    forward = FORWARDED_BY_DOCKER if _is_dockers(table, bridges) else FORWARDED
    remark = f'-m comment --comment "{chains.remark}"'
    return Plan(
        {chains.forwarded: rules.forwarded, chains.incoming: rules.incoming},
        [
            (parent, f"-i {bridge} {remark} -j {chain}")
            for parent, chain in ((forward, chains.forwarded), (INCOMING, chains.incoming))
            for bridge in bridges
        ],
        bridges,
    )


def _is_dockers(table: Table, bridges: Sequence[str]) -> bool:
    """Return whether whatever is forwarded from the bridges comes by Docker's chain for rules of the machine's owner.

    The chain may be there without being used: after Docker has gone, or has changed to tables of its own.
    """
    there = FORWARDED_BY_DOCKER in table.chains
    return there and not _overtaken(table.rules(FORWARDED), _TO_DOCKERS, bridges)


def found(table: Table, chains: Chains, bridges: Sequence[str]) -> Plan:
    """Return what `table` has of ours, in the words of the program that printed it."""
    return Plan(
        {name: table.rules(name) for name in chains if name in table.chains}, list(table.jumps(chains)), bridges
    )


def differences(table: Table, plan: Plan) -> list[str]:
    """Return what of `plan` isn't so in `table`, one short text for each."""
    return [*_changed_chains(table, plan), *_changed_jumps(table, plan)]


def _changed_chains(table: Table, plan: Plan) -> Iterator[str]:
    for name, rules in plan.chains.items():
        if name not in table.chains:
            yield f"chain {name} is gone"
        elif not table.rules(name):
            yield f"chain {name} was emptied"
        elif list(table.rules(name)) != list(rules):
            yield f"chain {name} was changed"


def _changed_jumps(table: Table, plan: Plan) -> Iterator[str]:
    for parent, rule in plan.jumps:
        if rule not in table.rules(parent):
            yield f"the jump to {_target(rule)} is gone from {parent}"
        elif _overtaken(table.rules(parent), rule, plan.bridges):
            yield f"another rule was put before the jump to {_target(rule)} in {parent}"


def raising(table: Table, chains: Chains, plan: Plan) -> str:
    """Return what makes `table` have all of `plan`, and nothing else of ours, for `iptables-restore --noflush`.

    It is one transaction: at no moment is a packet judged by half of it.
    """
    return _transaction(
        table.line,
        [
            *(f":{name} - [0:0]" for name in plan.chains),  # makes the chain, or empties it
            *(f"-A {name} {rule}" for name, rules in plan.chains.items() for rule in rules),
            *(f"-D {parent} {rule}" for parent, rule in table.jumps(chains)),
            *(f"-I {parent} 1 {rule}" for parent, rule in reversed(plan.jumps)),
        ],
    )


def removal(table: Table, chains: Chains) -> str:
    """Return what takes all of ours out of `table`; empty where there is nothing."""
    names = [name for name in chains if name in table.chains]
    if not names:
        return ""
    return _transaction(
        table.line,
        [
            *(f":{name} - [0:0]" for name in names),
            *(f"-D {parent} {rule}" for parent, rule in table.jumps(chains)),
            *(f"-X {name}" for name in names),
        ],
    )


def _transaction(line: Line, changes: Iterable[str]) -> str:
    return "\n".join((f"*{line.value}", *changes, "COMMIT", ""))


def _overtaken(rules: Sequence[str], jump: str, bridges: Sequence[str]) -> bool:
    """Return whether packets from the bridges may be let through before they come to `jump`, or never come to it."""
    for rule in rules:
        if rule == jump:
            return False
        if not _harmless(rule, bridges):
            return True
    return True


def _harmless(rule: str, bridges: Sequence[str]) -> bool:
    """Return whether a rule surely doesn't let packets from the bridges through; when in doubt, it may."""
    words = _words(rule)
    interface = _after(words, "-i")
    if interface is not None and "!" not in words and not any(_is_of(interface, bridge) for bridge in bridges):
        return True
    target = _after(words, "-j")
    if target is None:
        return "-g" not in words  # otherwise it only counts
    return target in _REFUSALS or target in _REMARKS or target.startswith(PREFIX)


def _is_of(interface: str, bridge: str) -> bool:
    """Return whether `bridge` is what a rule calls `interface`, which may stand for all that begin so."""
    return bridge.startswith(interface[:-1]) if interface.endswith("+") else bridge == interface


def _target(rule: str) -> str | None:
    return _after(_words(rule), "-j")


def _after(words: Sequence[str], option: str) -> str | None:
    """Return what an option is given."""
    at = words.index(option) + 1 if option in words else len(words)
    return words[at] if at < len(words) else None


def _words(rule: str) -> list[str]:
    try:
        return shlex.split(rule)
    except ValueError:  # a quotation that doesn't end, in somebody else's comment
        return rule.split()
