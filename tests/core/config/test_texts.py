"""Settings from the environment and the command line."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from invoker.config import (
    NodeSettings,
    PoolSettings,
    RolesSettings,
    Secret,
    SettingsSection,
    TelemetrySettings,
)
from invoker.errors import SettingsError
from tests.core.config.shop import SHOP, ShopSettings, TLSSettings, faults, layers, settings, shop

Write = Callable[..., Path]


def test_a_text_becomes_what_its_field_asks_for() -> None:
    environ = {
        "INVOKER_SHOP__PORT": "8080",
        "INVOKER_SHOP__TIP": "-5",
        "INVOKER_SHOP__SHARE": "1e-2",
        "INVOKER_SHOP__OPEN": "true",
        "INVOKER_SHOP__SIZE": "256 MB",
        "INVOKER_SHOP__WAIT": "500 ms",
        "INVOKER_SHOP__PAUSE": "0",
        "INVOKER_SHOP__FOLDER": "/var/lib/shop",
        "INVOKER_SHOP__MOOD": "rainy",
        "INVOKER_SHOP__PASSWORD": "hunter2",
    }

    read = shop(environ=environ)
    same = shop(overrides=[f"shop.{name[14:].lower()}={text}" for name, text in environ.items()])

    assert (read.port, read.tip, read.share, read.open) == (8080, -5, 0.01, True)
    assert (read.size, read.wait, read.pause) == (256 << 20, 0.5, 0.0)
    assert (read.folder, read.mood, read.password) == (Path("/var/lib/shop"), "rainy", Secret("hunter2"))
    assert read == same


def test_a_list_is_toml_or_words_with_commas() -> None:
    assert shop(environ={"INVOKER_SHOP__HOSTS": '["a,b", "c"]'}).hosts == ("a,b", "c")
    assert shop(environ={"INVOKER_SHOP__HOSTS": "a, b ,c"}).hosts == ("a", "b", "c")
    assert shop(environ={"INVOKER_SHOP__HOSTS": "a"}).hosts == ("a",)
    assert shop(environ={"INVOKER_SHOP__HOSTS": ""}).hosts == ()
    assert shop(environ={"INVOKER_SHOP__PORTS": "[80, 443]"}).ports == [80, 443]
    assert shop(overrides=["shop.ports=80,443"]).ports == [80, 443]
    assert shop(overrides=["shop.grid=[[1], [2, 3]]"]).grid == [[1], [2, 3]]
    assert settings(environ={"INVOKER_TRANSPORTS": '["http", "kafka"]'})[RolesSettings].transports == ("http", "kafka")


def test_a_table_is_toml() -> None:
    read = shop(environ={"INVOKER_SHOP__LABELS": '{ a = "1", B = "2" }', "INVOKER_SHOP__TLS": '{ certificate = "c" }'})

    assert read.labels == {"a": "1", "B": "2"}
    assert read.tls == TLSSettings(certificate=Path("c"))


def test_tables_can_be_given_value_by_value() -> None:
    read = shop(
        environ={
            "INVOKER_SHOP__LABELS__Colour": "12",
            "INVOKER_SHOP__SHELVES__top": "12",
            "INVOKER_SHOP__TLS__CERTIFICATE": "c",
            "INVOKER_SHOP__TLS__VERIFY": "false",
        }
    )

    assert read.labels == {"Colour": "12"}
    assert read.shelves == {"top": 12}
    assert read.tls == TLSSettings(certificate=Path("c"), verify=False)


def test_a_table_and_its_values_can_be_given_together() -> None:
    read = shop(
        environ={"INVOKER_SHOP__LABELS__a": "value", "INVOKER_SHOP__LABELS": '{ a = "table", b = "table" }'},
    )

    mixed = shop(environ={"INVOKER_Shop": "{ port = 81, tip = 1 }", "INVOKER_SHOP__PORT": "82"})

    assert read.labels == {"a": "value", "b": "table"}
    assert (mixed.port, mixed.tip) == (82, 1)


def test_a_whole_section_can_be_a_table_in_a_variable() -> None:
    read = settings(environ={"INVOKER_NODE": '{ id = 3, tags = ["x"] }'})

    assert (read[NodeSettings].id, read[NodeSettings].tags) == (3, ("x",))


@pytest.mark.parametrize("text", ["[1", "[1]\nother = 2", '[1, "two"]', "one,two", "[[1]]"])
def test_what_is_no_list_of_the_kind_is_a_fault(text: str) -> None:
    (fault,) = faults(layers(environ={"INVOKER_SHOP__PORTS": text}))

    assert fault.startswith("shop.ports: expected a list, each item a whole number")
    assert fault.endswith("(from INVOKER_SHOP__PORTS)")


@pytest.mark.parametrize("text", ["{", "{ a = 1 }\nother = 2", "red", "{ a = { b = 1 } }", ""])
def test_what_is_no_table_of_the_kind_is_a_fault(text: str) -> None:
    (fault,) = faults(layers(environ={"INVOKER_SHOP__LABELS": text}))

    assert fault.startswith(("shop.labels: expected a table, each value a string", "shop.labels.a: expected a string"))


@pytest.mark.parametrize("word", ["null", "None", ""])
def test_no_word_unsets_a_field(word: str) -> None:
    (fault,) = faults(layers(environ={"INVOKER_SHOP__TIP": word}))

    assert fault == f"shop.tip: expected a whole number, got {word!r} (from INVOKER_SHOP__TIP)"


def test_what_kubernetes_injects_is_no_setting() -> None:
    environ = {
        "INVOKER_SERVICE_HOST": "10.0.0.1",
        "INVOKER_SERVICE_PORT": "80",
        "INVOKER_SERVICE_PORT_HTTP": "80",
        "INVOKER_PORT": "tcp://10.0.0.1:80",
        "INVOKER_PORT_80_TCP": "tcp://10.0.0.1:80",
        "INVOKER_PORT_80_TCP_ADDR": "10.0.0.1",
        "INVOKER_METRICS_SERVICE_HOST": "10.0.0.2",
        "INVOKER_METRICS_SERVICE_PORT_HTTP": "9090",
        "INVOKER_METRICS_PORT": "tcp://10.0.0.2:9090",
        "INVOKER_METRICS_PORT_9090_TCP_PROTO": "tcp",
    }

    read = layers(environ=environ)

    assert read.tables() == set()
    assert read.settings()[PoolSettings] == PoolSettings()


def test_a_port_in_a_section_is_a_setting() -> None:
    assert shop(environ={"INVOKER_SHOP__PORT": "81", "INVOKER_SHOP_PORT": "tcp://10.0.0.1:80"}).port == 81


def test_the_names_of_the_files_are_no_settings() -> None:
    read = layers(
        environ={"INVOKER_CONFIG": "/etc/invoker.toml", "INVOKER_SECRETS": "/etc/secrets.toml", "PATH": "/bin"}
    )

    assert read.settings()[PoolSettings] == PoolSettings()


def test_an_unknown_variable_is_a_fault() -> None:
    found = faults(layers(environ={"INVOKER_VERBOSE": "1", "INVOKER_": "2", "INVOKER___X": "3"}))

    assert set(found) == {
        '"": there is no such section, in the core or in a plugin (from INVOKER_ and INVOKER___X)',
        "verbose: there is no such setting (from INVOKER_VERBOSE)",
    }


@pytest.mark.parametrize(
    "override", ["pool.memory", "", "=5", "po ol=5", "pool..memory=5", "a\nb=5", "[pool]\nx=5", "'=1"]
)
def test_an_override_that_is_no_setting_is_a_fault_that_repeats_nothing(override: str) -> None:
    with pytest.raises(SettingsError) as raised:
        layers(overrides=["node.id=1", override])

    assert raised.value.faults == ("the command line: setting number 2 is not of the form section.field=value",)


def test_the_value_of_an_override_is_all_that_follows_the_first_equals_sign() -> None:
    assert shop(overrides=["shop.username= a=b # c "]).username == " a=b # c "


def test_a_variable_of_many_parts_is_a_fault() -> None:
    with pytest.raises(SettingsError) as raised:
        layers(environ={"INVOKER" + "__A" * 5000: "x"})

    assert "nested more than 16 levels deep" in raised.value.faults[0]


def test_a_boolean_is_read_from_the_words_for_it() -> None:
    for text, value in (("true", True), ("False", False), ("1", True), ("0", False)):
        read = settings(environ={"INVOKER_TELEMETRY__ACTIVATIONS": text})

        assert read[TelemetrySettings].activations is value


def test_the_users_home_is_found_in_paths() -> None:
    assert shop(environ={"INVOKER_SHOP__FOLDER": "~/shop"}).folder == Path.home() / "shop"


def test_bytes_of_the_environment_that_are_no_text_survive() -> None:
    raw = os.fsdecode(b"caf\xe9")

    read = shop(environ={"INVOKER_SHOP__PASSWORD": raw, "INVOKER_SHOP__FOLDER": f"/{raw}"})

    assert read.password.reveal() == raw
    assert os.fsencode(str(read.folder)) == b"/caf\xe9"


def test_sections_in_overrides_are_written_as_in_files() -> None:
    (fault,) = faults(layers(overrides=["SHOP.port=1"]), SHOP)

    assert fault.startswith("SHOP: there is no such section")
    assert "did you mean shop?" in fault


def test_a_name_with_hyphens_has_underscores_in_variables() -> None:
    section = SettingsSection(name="my-shop", into=ShopSettings)

    read = layers(environ={"INVOKER_MY_SHOP__PORT": "81"})
    written = layers(overrides=["my-shop.port=82"])

    assert read.settings([section])[ShopSettings].port == 81
    assert written.settings([section])[ShopSettings].port == 82
    assert read.tables() == {"my-shop", "my_shop"}
