"""What the settings are, and why."""

from collections.abc import Callable
from pathlib import Path

import pytest

from invoker.config import PoolSettings
from invoker.config.conversion import Explained
from invoker.errors import SettingsError
from tests.core.config.shop import SHOP, ShopSettings, layers

Write = Callable[..., Path]


def test_every_field_of_every_section_is_explained() -> None:
    lines = layers().explain([SHOP])

    keys = [line.key for line in lines]
    assert keys[:3] == ["compat", "transports", "runtime"]
    assert [key for key in keys if key.startswith("pool.")] == [
        f"pool.{name}" for name in PoolSettings.__struct_fields__
    ]
    assert {key for key in keys if key.startswith("shop.")} == {
        f"shop.{name}" for name in ShopSettings.__struct_fields__
    }
    assert {line.origin for line in lines} == {"default"}


def test_each_setting_is_explained_by_the_source_that_made_it(write: Write) -> None:
    first = write('[shop]\nusername = "a"\nport = 1\ntip = 1\nopen = true\n', "first.toml")
    second = write("[shop]\nport = 2\ntip = 2\nopen = false\n", "second.toml")
    secrets = write('[shop]\npassword = "hunter2"\n', "secrets.toml")
    read = layers(
        first,
        second,
        secrets=secrets,
        environ={"INVOKER_SHOP__TIP": "3", "INVOKER_SHOP__OPEN": "true"},
        overrides=["shop.open=false"],
    )

    lines = {line.key: line for line in read.explain([SHOP])}

    assert lines["shop.username"] == Explained("shop.username", "a", f"file {first}")
    assert lines["shop.port"] == Explained(
        "shop.port", "2", f"file {second}", (Explained("shop.port", "1", f"file {first}"),)
    )
    assert lines["shop.password"] == Explained("shop.password", "***", f"file {secrets}")
    assert (lines["shop.tip"].value, lines["shop.tip"].origin) == ("3", "environment INVOKER_SHOP__TIP")
    assert (lines["shop.open"].value, lines["shop.open"].origin) == ("false", "command line")
    assert [(each.value, each.origin) for each in lines["shop.open"].overrode] == [
        ("true", f"file {first}"),
        ("false", f"file {second}"),
        ("true", "environment INVOKER_SHOP__OPEN"),
    ]
    assert lines["shop.mood"] == Explained("shop.mood", "sunny", "default")


def test_entries_of_free_tables_are_explained_one_by_one(write: Write) -> None:
    file = write('[encryption.keys]\n"aes-128" = "AAAA"\n')

    read = layers(file, overrides=["encryption.keys.mine=BBBB", "shop.labels={ 'a b' = 'c' }"])
    lines = {line.key: line for line in read.explain([SHOP])}

    assert lines["encryption.keys.aes-128"] == Explained("encryption.keys.aes-128", "***", f"file {file}")
    assert lines["encryption.keys.mine"] == Explained("encryption.keys.mine", "***", "command line")
    assert lines['shop.labels."a b"'].value == "c"
    assert lines["shop.shelves"] == Explained("shop.shelves", "{}", "default")


def test_a_short_form_is_explained_as_what_it_stands_for() -> None:
    lines = {line.key: line for line in layers(environ={"INVOKER_LOGS": "docker"}).explain()}

    assert lines["logs.plugin"] == Explained("logs.plugin", "docker", "environment INVOKER_LOGS")


def test_values_are_explained_as_people_write_them() -> None:
    overrides = [
        "shop.size=1048576",
        "shop.wait=0.5",
        "shop.hosts=a,b",
        "shop.username=",
        "shop.nickname=a\nb",
        "shop.url=http://jane:hunter2@host",
        "shop.tls={ certificate = '/c' }",
        "shop.tokens=hunter2,hunter3",
    ]

    values = {line.key: line.value for line in layers(overrides=overrides).explain([SHOP])}

    assert values["shop.size"] == "1 MB"
    assert values["shop.wait"] == "500 ms"
    assert values["shop.hosts"] == '["a", "b"]'
    assert values["shop.username"] == '""'
    assert values["shop.nickname"] == '"a\\nb"'
    assert values["shop.url"] == "http://***@host"
    assert values["shop.tls.certificate"] == "/c"
    assert values["shop.tls.verify"] == "true"
    assert values["shop.tokens"] == '["***", "***"]'
    assert values["shop.folder"] == "not set"


def test_what_was_overridden_is_explained_as_it_was_written_and_without_secrets(write: Write) -> None:
    file = write(
        '[shop]\nsize = "1 GB"\nhosts = ["a"]\npassword = "hunter2"\nurl = "http://jane:hunter2@host"\n'
        '[shop.labels]\na = "b"\n[encryption.keys]\nmine = "hunter2"\n'
    )
    overrides = ["shop.size=2 GB", "shop.hosts=b", "shop.password=x", "shop.url=http://x", "shop.labels={ a = 'c' }"]

    read = layers(file, overrides=[*overrides, "encryption.keys.mine=hunter3"])

    below = {line.key: [each.value for each in line.overrode] for line in read.explain([SHOP]) if line.overrode}
    assert below == {
        "encryption.keys.mine": ["***"],
        "shop.url": ["http://***@host"],
        "shop.password": ["***"],
        "shop.size": ["1 GB"],
        "shop.hosts": ['["a"]'],
        "shop.labels.a": ["b"],
    }


def test_a_file_that_is_read_twice_overrides_what_is_between(write: Write) -> None:
    first, second = write("[node]\nid = 1\n", "first.toml"), write("[node]\nid = 2\n", "second.toml")

    lines = {line.key: line for line in layers(first, second, first).explain()}

    assert (lines["node.id"].value, lines["node.id"].origin) == ("1", f"file {first}")
    assert [each.value for each in lines["node.id"].overrode] == ["1", "2"]


def test_settings_with_faults_are_not_explained() -> None:
    with pytest.raises(SettingsError):
        layers(overrides=["pool.memory=lots"]).explain()
