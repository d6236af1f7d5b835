"""A plugin's section with a field of every kind, and how tests read settings with it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from invoker.config import ByteSize, Seconds, SecondsOrZero, Secret, Section, Settings, SettingsSection
from invoker.config.layers import Layers
from invoker.errors import SettingsError


class TLSSettings(Section, frozen=True, kw_only=True):
    """A table in a section."""

    certificate: Path
    """PEM, the chain included."""
    verify: bool = True


class ShopSettings(Section, frozen=True, kw_only=True):
    """Where goods are."""

    url: Annotated[str, msgspec.Meta(pattern=r"^https?://", examples=["http://127.0.0.1:5984"])] = "http://localhost"
    """Without a path."""
    username: str = "anonymous"
    nickname: str | None = None
    password: Secret = Secret("")
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 80
    tip: int | None = None
    share: float = 0.5
    open: bool = False
    size: ByteSize = ByteSize(0)
    wait: Seconds = Seconds(1)
    pause: SecondsOrZero = SecondsOrZero(0)
    folder: Path | None = None
    mood: Literal["sunny", "rainy"] = "sunny"
    hosts: tuple[str, ...] = ()
    ports: list[int] = []  # noqa: RUF012 (msgspec copies it)
    grid: list[list[int]] = []  # noqa: RUF012 (msgspec copies it)
    labels: dict[str, str] = {}  # noqa: RUF012 (msgspec copies it)
    shelves: dict[str, int] = {}  # noqa: RUF012 (msgspec copies it)
    tokens: tuple[Secret, ...] = ()
    tls: TLSSettings | None = None
    """Encryption; none without a certificate."""


class StrictSettings(Section, frozen=True, kw_only=True):
    """A section that can't do without being told."""

    address: Annotated[str, msgspec.Meta(pattern="^tcp://", examples=["tcp://127.0.0.1:9000"])]
    """Where it is."""
    secret: Secret
    code: Annotated[str, msgspec.Meta(pattern="^[A-Z]{3}$")]


SHOP = SettingsSection(name="shop", into=ShopSettings)
STRICT = SettingsSection(name="strict", into=StrictSettings)


def layers(
    *files: Path,
    environ: Mapping[str, str] | None = None,
    overrides: Sequence[str] = (),
    secrets: Path | None = None,
) -> Layers:
    return Layers.read(files, secrets=secrets, environ=environ or {}, overrides=overrides)


def settings(*files: Path, environ: Mapping[str, str] | None = None, overrides: Sequence[str] = ()) -> Settings:
    return layers(*files, environ=environ, overrides=overrides).settings([SHOP])


def shop(*files: Path, environ: Mapping[str, str] | None = None, overrides: Sequence[str] = ()) -> ShopSettings:
    return settings(*files, environ=environ, overrides=overrides)[ShopSettings]


def faults(read: Layers, *sections: SettingsSection) -> tuple[str, ...]:
    """Return the faults of settings, which must have some."""
    try:
        read.settings(sections or [SHOP])
    except SettingsError as error:
        return error.faults
    raise AssertionError("the settings have no fault")
