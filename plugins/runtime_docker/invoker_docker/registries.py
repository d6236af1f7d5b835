"""Credentials of registries: out of the file that `docker login` writes, or by the helpers that it names."""

import asyncio
import base64
import functools
import json
import logging
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import Any, Final, Self

import msgspec

from invoker.errors import SettingsError

HUB: Final = "docker.io"
PATIENCE: Final = 10.0  # seconds for a helper
_HUBS_KEY: Final = "https://index.docker.io/v1/"
_AROUND: Final = re.compile(r"^https?://(?:index\.(?=docker\.io/))?|/(?:v[12]/?)?$")
"""What there may be around the name of a registry in the file."""

logger = logging.getLogger("invoker.docker")


class Login(msgspec.Struct):
    """What the file says of one registry."""

    username: str = ""
    password: str = ""
    auth: str = ""  # both, with a colon in between, in base64
    identitytoken: str = ""


class Helped(msgspec.Struct, rename="pascal"):
    """What a helper says of one; the user `<token>` has an identity token in place of a password."""

    username: str
    secret: str


class RegistryConfig(msgspec.Struct, rename="camel"):
    """The file, as far as it is of interest."""

    auths: dict[str, Login] = {}
    cred_helpers: dict[str, str] = {}  # names of helpers, by registry
    creds_store: str = ""  # the helper for all others

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read it.

        Raises:
            SettingsError: it can't be read, or is something else; what is in it is not told.
        """
        try:
            return msgspec.json.decode(path.read_bytes(), type=cls)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise SettingsError([f"docker.registry_config: can't use {path}: {reason}"]) from None

    async def header(self, registry: str) -> str | None:
        """Return what an engine is told in `X-Registry-Auth`; `None` where nothing is known."""
        helper = _of(registry, self.cred_helpers) or self.creds_store
        login = await _helped(helper, registry) if helper else _of(registry, self.auths)
        if login is None or login == Login():
            return None
        try:
            user, _, password = base64.b64decode(login.auth, validate=True).decode().rstrip("\0").partition(":")
        except ValueError:
            raise SettingsError([f"docker.registry_config: what it says of {registry} is no base64"]) from None
        given = {"username": login.username or user, "password": login.password or password}
        if login.identitytoken:
            given = {"identitytoken": login.identitytoken}
        return base64.urlsafe_b64encode(json.dumps({**given, "serveraddress": registry}).encode()).decode()


def _of(registry: str, entries: Mapping[str, Any]) -> Any:
    return next((entry for name, entry in entries.items() if _AROUND.sub("", name) == registry), None)


async def _helped(helper: str, registry: str) -> Login | None:
    """Ask a helper, a program; where it has nothing to say there are no credentials."""
    program = f"docker-credential-{helper}"
    key = (_HUBS_KEY if registry == HUB else registry).encode()
    ask = functools.partial(subprocess.run, [program, "get"], stdout=PIPE, stderr=DEVNULL, check=True)
    try:
        answer = await asyncio.to_thread(ask, input=key, timeout=PATIENCE)
        found = msgspec.json.decode(answer.stdout, type=Helped)
    except (OSError, ValueError, subprocess.SubprocessError) as error:  # what it says may be a secret
        logger.warning("%s gave no credentials for %s: %s", program, registry, type(error).__name__)
        return None
    return Login(identitytoken=found.secret) if found.username == "<token>" else Login(found.username, found.secret)
