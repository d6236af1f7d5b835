"""One line of one family's rules on this machine: put up, compared with what was put, taken down."""

import contextlib
import logging
from collections.abc import Sequence
from typing import Final

from invoker_firewall import host
from invoker_firewall.programs import FilterFailed, Programs
from invoker_firewall.rules import Family, Line, Policy, rules
from invoker_firewall.settings import GATEWAY, FirewallSettings
from invoker_firewall.table import (
    FORWARDED_BY_DOCKER,
    Chains,
    Plan,
    Table,
    differences,
    found,
    plan,
    raising,
    removal,
)

_TRIES: Final = 3
"""Others change the table too, perhaps between a look at it and a change that rests on the look."""

logger = logging.getLogger("invoker.firewall")


class Side:
    """The rules in one table. Owns what was put, and how the table looked afterwards."""

    def __init__(
        self, family: Family, line: Line, programs: Programs, settings: FirewallSettings, chains: Chains
    ) -> None:
        self.family = family
        self.line = line
        self._programs = programs
        self._settings = settings
        self._chains = chains
        self._wanted: Plan | None = None
        self._seen: Plan | None = None
        """The same in the program's own words, which needn't be ours."""
        self.has_docker = False
        """Whether Docker has been here: its chain is, in use or not."""

    def __str__(self) -> str:
        """Return what people are told."""
        return f"{self.family}, table {self.line.value}"

    async def put_up(self, bridges: Sequence[str], *, docker: bool) -> None:
        """Put the rules in place; what an earlier life left is replaced. `docker`: another table has its chains.

        Raises:
            FilterFailed: they aren't, and nothing of them is.
        """
        try:
            await self._put(bridges, docker=docker)
        except FilterFailed:
            with contextlib.suppress(FilterFailed):
                await self.take_down()
            raise

    async def look(self, bridges: Sequence[str], *, docker: bool) -> list[str]:
        """Put back what somebody has changed, and return what that was; follow what else has changed.

        Raises:
            FilterFailed: it can't be said how the rules are, or they can't be put back.
        """
        assert self._seen is not None  # noqa: S101 (put_up came first)
        table = await self._programs.read(self.line)
        changes = differences(table, self._seen)
        outdated = self._plan(table, bridges, docker=docker) != self._wanted
        if changes or outdated:
            await self._put(bridges, docker=docker)
        if outdated and not changes:
            logger.info("the rules of %s follow a change of bridges, name servers or Docker's chains", self)
        return changes

    async def take_down(self) -> None:
        """Take away everything of ours, from whatever life.

        Raises:
            FilterFailed: some or all of it is still there.
        """
        for attempt in range(1, _TRIES + 1):
            transaction = removal(await self._programs.read(self.line), self._chains)
            if not transaction:
                return
            try:
                await self._programs.apply(transaction)
            except FilterFailed:
                if attempt == _TRIES:
                    raise

    async def _put(self, bridges: Sequence[str], *, docker: bool) -> None:
        for attempt in range(1, _TRIES + 1):
            table = await self._programs.read(self.line)
            wanted = self._plan(table, bridges, docker=docker)
            try:
                await self._programs.apply(raising(table, self._chains, wanted))
            except FilterFailed:
                if attempt == _TRIES:
                    raise
                continue
            self._seen = self._checked(await self._programs.read(self.line), wanted)
            self._wanted = wanted
            return

    def _plan(self, table: Table, bridges: Sequence[str], *, docker: bool) -> Plan:
        self.has_docker = FORWARDED_BY_DOCKER in table.chains
        policy = self._policy(docker=docker or self.has_docker)
        return plan(table, self._chains, rules(policy, self.family, self.line, bridges), bridges)

    def _policy(self, *, docker: bool) -> Policy:
        settings = self._settings
        named = settings.resolvers
        return Policy(
            internet=settings.internet,
            allowed=settings.allowed,
            denied=settings.denied,
            resolvers=host.resolvers() if named is None else settings.named_resolvers,
            gateway_resolves=not docker if named is None else GATEWAY in named,
        )

    def _checked(self, table: Table, wanted: Plan) -> Plan:
        """Return what is in `table` of ours, after making sure that it is what was put.

        Raises:
            FilterFailed: it isn't.
        """
        seen = found(table, self._chains, wanted.bridges)
        counted = {name: len(rules) for name, rules in seen.chains.items()}
        asked = {name: len(rules) for name, rules in wanted.chains.items()}
        wrong = differences(table, seen)
        if counted != asked or len(seen.jumps) != len(wanted.jumps) or wrong:
            raise FilterFailed(self._programs.restore, "; ".join(wrong) or "the rules it took are not there")
        return seen
