"""Which source wins, and how they are laid over one another."""

from collections.abc import Callable
from pathlib import Path

import pytest

from invoker.config import (
    ByteSize,
    EncryptionSettings,
    LogsSettings,
    NodeSettings,
    PoolSettings,
    RecordingSettings,
    RolesSettings,
    Secret,
    Section,
    SettingsSection,
)
from invoker.config.layers import Layers
from invoker.errors import PluginBroken, SettingsError
from tests.core.config.shop import SHOP, ShopSettings, layers, settings, shop

Write = Callable[..., Path]


def test_without_any_source_every_setting_has_its_default() -> None:
    read = layers().settings()

    assert read[RolesSettings] == RolesSettings()
    assert read[PoolSettings] == PoolSettings()
    assert read[RecordingSettings] == RecordingSettings()


def test_a_file_wins_over_the_defaults(write: Write) -> None:
    read = settings(write('[pool]\nmemory = "1 GB"\n'))

    assert read[PoolSettings].memory == ByteSize.parse("1 GB")
    assert read[PoolSettings].idle_timeout == PoolSettings().idle_timeout


def test_a_later_file_wins_over_an_earlier_one(write: Write) -> None:
    first = write("[node]\nid = 1\n", "first.toml")
    second = write("[node]\nid = 2\n", "second.toml")

    assert settings(first, second)[NodeSettings].id == 2
    assert settings(second, first)[NodeSettings].id == 1


def test_the_secrets_file_wins_over_the_other_files(write: Write) -> None:
    file = write('[shop]\npassword = "public"\n')
    secrets = write('[shop]\npassword = "private"\n', "secrets.toml")

    read = layers(file, secrets=secrets).settings([SHOP])

    assert read[ShopSettings].password == Secret("private")


def test_the_environment_wins_over_the_secrets_file(write: Write) -> None:
    secrets = write('[shop]\npassword = "from the file"\n', "secrets.toml")

    read = layers(secrets=secrets, environ={"INVOKER_SHOP__PASSWORD": "from the environment"}).settings([SHOP])

    assert read[ShopSettings].password == Secret("from the environment")


def test_the_command_line_wins_over_the_environment() -> None:
    read = settings(environ={"INVOKER_NODE__ID": "1"}, overrides=["node.id=2"])

    assert read[NodeSettings].id == 2


def test_of_two_overrides_the_later_one_wins() -> None:
    read = settings(overrides=["node.id=1", "node.id=2"])

    assert read[NodeSettings].id == 2


def test_tables_merge(write: Write) -> None:
    first = write('[shop]\nusername = "jane"\n[shop.labels]\ncolour = "red"\nsize = "small"\n', "first.toml")
    second = write('[shop]\nport = 8080\n[shop.labels]\nsize = "large"\n', "second.toml")

    read = shop(
        first, second, environ={"INVOKER_SHOP__LABELS": '{ shape = "round" }'}, overrides=["shop.labels.age=new"]
    )

    assert (read.username, read.port) == ("jane", 8080)
    assert read.labels == {"colour": "red", "size": "large", "shape": "round", "age": "new"}


def test_a_later_list_replaces_an_earlier_one(write: Write) -> None:
    first = write('transports = ["http", "kafka"]\nextra = ["seen"]\n', "first.toml")
    second = write('transports = ["kafka"]\n', "second.toml")

    assert settings(first, second)[RolesSettings].transports == ("kafka",)
    assert settings(first, environ={"INVOKER_EXTRA": "[]"})[RolesSettings].extra == ()


def test_keys_of_free_tables_keep_their_case(write: Write) -> None:
    first = write('[encryption.keys]\nMine = "a"\n"aes-128" = "b"\n', "first.toml")
    second = write('[encryption.keys]\nmine = "c"\nMINE = "d"\n"a b" = "e"\na_b = "f"\n', "second.toml")

    read = settings(
        first,
        second,
        environ={"INVOKER_ENCRYPTION__KEYS__mInE": "g"},
        overrides=['encryption.keys."My.Key"=h'],
    )

    revealed = {name: key.reveal() for name, key in read[EncryptionSettings].keys.items()}
    assert revealed == {
        "Mine": "a",
        "aes-128": "b",
        "mine": "c",
        "MINE": "d",
        "a b": "e",
        "a_b": "f",
        "mInE": "g",
        "My.Key": "h",
    }


@pytest.mark.parametrize("digits", ["12345", "1_000", "1e5", "0x1F", "007", "true", "null", "1979-05-27", " 5 ", ""])
def test_a_password_of_digits_stays_as_it_is(write: Write, digits: str) -> None:
    file = write(f'[shop]\npassword = "{digits}"\nusername = "{digits}"\nnickname = "{digits}"\n')
    environ = {f"INVOKER_SHOP__{name}": digits for name in ("PASSWORD", "USERNAME", "NICKNAME")}
    overrides = [f"shop.{name}={digits}" for name in ("password", "username", "nickname")]

    for read in (shop(file), shop(environ=environ), shop(overrides=overrides)):
        assert (read.password.reveal(), read.username, read.nickname) == (digits, digits, digits)


def test_logs_may_be_a_name(write: Write) -> None:
    file = write('logs = "docker"\n')

    assert layers(file).roles()[1] == LogsSettings(plugin="docker")
    assert layers(environ={"INVOKER_LOGS": "docker"}).roles()[1] == LogsSettings(plugin="docker")
    assert layers(overrides=["logs=docker"]).roles()[1] == LogsSettings(plugin="docker")


def test_a_name_for_logs_merges_with_the_table_of_other_layers(write: Write) -> None:
    table = write('[logs]\ntimeout = "1 s"\nplugin = "other"\n', "table.toml")
    name = write('logs = "docker"\n', "name.toml")

    _, after = layers(table, name, environ={"INVOKER_LOGS__COMBINE_WAIT": "7 ms"}).roles()
    _, before = layers(name, table).roles()

    assert (after.plugin, after.timeout, after.combine_wait) == ("docker", 1.0, 0.007)
    assert (before.plugin, before.timeout) == ("other", 1.0)


def test_logs_may_be_a_table_in_a_variable() -> None:
    _, logs = layers(environ={"INVOKER_LOGS": '{ plugin = "docker", timeout = "1 s" }'}).roles()

    assert (logs.plugin, logs.timeout) == ("docker", 1.0)


def test_roles_are_told_before_the_sections_of_plugins_are_known(write: Write) -> None:
    file = write('runtime = "docker"\ntransports = ["http", "kafka"]\n[docker]\nopen_files = 4\n')

    roles, logs = layers(file, environ={"INVOKER_ACTIVATIONS": "couchdb"}).roles()

    assert (roles.runtime, roles.activations, roles.transports) == ("docker", "couchdb", ("http", "kafka"))
    assert logs == LogsSettings()


def test_faults_elsewhere_do_not_hide_the_roles(write: Write) -> None:
    roles, _ = layers(write('runtime = "docker"\n[pool]\nmemory = "lots"\n')).roles()

    assert roles.runtime == "docker"


def test_faults_in_the_roles_come_with_those_of_the_whole_core() -> None:
    read = layers(environ={"INVOKER_COMPAT": "neither", "INVOKER_POOL__MEMORY": "lots", "INVOKER_LOGS__TIMEOUT": "0"})

    with pytest.raises(SettingsError) as raised:
        read.roles()

    assert [fault.partition(":")[0] for fault in raised.value.faults] == ["compat", "logs.timeout", "pool.memory"]


def test_tables_may_be_any_names_that_are_not_the_cores(write: Write) -> None:
    file = write('runtime = "process"\nlogs = "attached"\n[pool]\n[cache]\n[docker]\n[kafka.topic]\nname = "x"\n')

    read = layers(
        file,
        environ={
            "INVOKER_COUCHDB__URL": "x",
            "INVOKER_SHOP": "{ port = 1 }",
            "INVOKER_NODE__ID": "1",
            "INVOKER_X": "y",
        },
        overrides=["http.port=80", "pool.memory=1 GB"],
    )

    assert read.tables() == {"docker", "kafka", "couchdb", "shop", "http", "x"}


def test_every_file_that_was_read_is_named(write: Write) -> None:
    first, second, secrets = (write("", name) for name in ("a.toml", "b.toml", "secrets.toml"))

    assert layers(first, second, secrets=secrets).files == (first, second, secrets)


def test_a_secrets_file_that_everybody_can_read_is_worth_a_warning(write: Write) -> None:
    secrets = write('[shop]\npassword = "x"\n', "secrets.toml")

    secrets.chmod(0o604)
    warnings = layers(secrets=secrets).warnings
    secrets.chmod(0o640)
    no_warnings = layers(secrets=secrets).warnings

    assert len(warnings) == 1
    assert str(secrets) in warnings[0]
    assert "chmod" in warnings[0]
    assert no_warnings == ()


def test_a_plugin_can_not_take_the_name_of_a_section_or_role_of_the_core() -> None:
    class Pool(Section, frozen=True, kw_only=True):
        pass

    for name in ("pool", "functions", ""):
        with pytest.raises(PluginBroken):
            layers().settings([SettingsSection(name=name, into=Pool)])


def test_layers_can_be_asked_again(write: Write) -> None:
    read = layers(write("[shop]\nport = 1\n[shop.tls]\ncertificate = 'a'\n"), environ={"INVOKER_SHOP__HOSTS": "a,b"})

    first = read.settings([SHOP])[ShopSettings]
    second = read.settings([SHOP])[ShopSettings]

    assert first == second
    assert isinstance(read, Layers)
