"""What the settings are, and why."""

import json
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from invoker.config import Explained, PoolSettings, as_toml, to_jsonable
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
    assert lines["shop.port"] == Explained("shop.port", "2", f"file {second}")
    assert lines["shop.password"] == Explained("shop.password", "***", f"file {secrets}")
    assert lines["shop.tip"] == Explained("shop.tip", "3", "environment INVOKER_SHOP__TIP")
    assert lines["shop.open"] == Explained("shop.open", "false", "command line")
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


def test_settings_with_faults_are_not_explained() -> None:
    with pytest.raises(SettingsError):
        layers(overrides=["pool.memory=lots"]).explain()


def test_the_effective_settings_are_a_file_that_gives_the_same_settings(write: Write) -> None:
    overrides = [
        'shop.username=a"b\\c\n\t\x7f\u2028é😀',
        "shop.share=1e-7",
        "shop.size=3",
        "shop.wait=1234567.891",
        "shop.pause=0.1 ms",
        "shop.hosts=['a', 'b']",
        "shop.grid=[[1], []]",
        "shop.labels={ 'a b' = 'c', d = '' }",
        "shop.tls={ certificate = '/c', verify = false }",
        "shop.folder=/x y",
        "logs=docker",
        "recording.first_retry=7 ms",
    ]
    read = layers(overrides=overrides).settings([SHOP])

    again = layers(write(as_toml(read, [SHOP]))).settings([SHOP])

    assert to_jsonable(again, [SHOP]) == to_jsonable(read, [SHOP]) | {
        "shop": to_jsonable(read, [SHOP])["shop"] | {"password": "***"}
    }
    assert again[ShopSettings].username == read[ShopSettings].username


def test_the_effective_settings_show_no_secret() -> None:
    overrides = ["shop.password=hunter2", "encryption.keys.mine=hunter2", "shop.tokens=hunter2"]
    read = layers(overrides=[*overrides, "shop.url=http://hunter2@host"]).settings([SHOP])

    text = as_toml(read, [SHOP])
    document = json.dumps(to_jsonable(read, [SHOP]))

    assert "hunter2" not in text + document
    assert tomllib.loads(text)["shop"]["password"] == "***"
    assert tomllib.loads(text)["encryption"]["keys"] == {"mine": "***"}
    assert "# tls is not set\n" in text


def test_the_effective_settings_for_json_have_bytes_and_seconds() -> None:
    read = layers(overrides=["pool.memory=1 GB", "shop.wait=5 ms"]).settings([SHOP])

    document = to_jsonable(read, [SHOP])

    assert document["runtime"] == "process"
    assert document["pool"]["memory"] == 1 << 30
    assert document["shop"]["wait"] == 0.005
    assert document["shop"]["tls"] is None
    assert json.loads(json.dumps(document)) == document


def test_text_that_toml_can_not_have_is_replaced_where_it_is_shown() -> None:
    read = layers(environ={"INVOKER_SHOP__USERNAME": "caf\udce9"}).settings([SHOP])

    text = as_toml(read, [SHOP])

    assert tomllib.loads(text)["shop"]["username"] == "caf\ufffd"
