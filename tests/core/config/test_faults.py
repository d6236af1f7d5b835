"""What is said about settings that can't be used."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from invoker.config import CORE, Conflict, PoolSettings, RolesSettings, Section, SettingsSection
from invoker.errors import SettingsError
from tests.core.config.shop import SHOP, STRICT, faults, layers

Write = Callable[..., Path]


def test_all_faults_come_at_once(write: Write) -> None:
    file = write(
        '[node]\nid = -1\ntags = "x"\n[shop]\nport = 0\nprot = 1\n[recording]\nfirst_retry = "9 s"\n[dokcer]\nx = 1\n'
    )

    found = faults(layers(file, environ={"INVOKER_POOL__MEMORY": "lots"}), SHOP, STRICT)

    assert [fault.partition(":")[0] for fault in found] == [
        "node.id",
        "node.tags",
        "pool.memory",
        "recording",
        "shop.port",
        "shop.prot",
        "strict.address",
        "strict.secret",
        "strict.code",
        "dokcer",
    ]


@pytest.mark.parametrize(
    ("override", "fault"),
    [
        ("pool.memory=lots", "pool.memory: expected a size such as '256 MB', got 'lots'"),
        ("pool.memory=-1", "pool.memory: expected a size such as '256 MB', got '-1'"),
        ("shop.wait=soon", "shop.wait: expected a duration such as '3 s' or '500 ms', got 'soon'"),
        ("shop.wait=0 ms", "shop.wait: expected a duration longer than 0, such as '3 s', got '0 ms'"),
        ("shop.pause=-1", "shop.pause: expected a duration such as '3 s' or '500 ms', got '-1'"),
        ("shop.port=0", "shop.port: expected a whole number of at least 1 and of at most 65535, got '0'"),
        ("shop.port=1_000", "shop.port: expected a whole number of at least 1 and of at most 65535, got '1_000'"),
        ("shop.share=half", "shop.share: expected a number, got 'half'"),
        ("shop.open=perhaps", "shop.open: expected true or false, got 'perhaps'"),
        ("shop.mood=grey", "shop.mood: expected one of 'sunny', 'rainy', got 'grey'"),
        ("shop.url=ftp://x", "shop.url: expected a string that matches '^https?://', got 'ftp://x'"),
        ("shop.folder=", "shop.folder: expected a path, got ''"),
        ("shop.folder=~no.one/x", "shop.folder: expected a path, got '~no.one/x': there is no such user"),
        ("shop.shelves.top=x", "shop.shelves.top: expected a whole number, got 'x'"),
        ("shop.tls.verify=x", "shop.tls.verify: expected true or false, got 'x'"),
        ("shop.tls=x", "shop.tls: expected a table, got 'x'"),
        ("shop=x", "shop: expected a table; its settings are named one by one, as shop.url is"),
    ],
)  # fmt: skip
def test_a_fault_says_what_was_expected(override: str, fault: str) -> None:
    assert f"{fault} (from the command line)" in faults(layers(overrides=[override]))


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("username = 12345", "shop.username: expected a string, got 12345"),
        ("username = ['a']", 'shop.username: expected a string, got ["a"]'),
        ("username = 1979-05-27", "shop.username: expected a string, got 1979-05-27"),
        ("username.a = 1", "shop.username: expected a string, got {a = 1}"),
        ('port = "80"', "shop.port: expected a whole number of at least 1 and of at most 65535, got '80'"),
        ("port = true", "shop.port: expected a whole number of at least 1 and of at most 65535, got true"),
        ('open = "true"', "shop.open: expected true or false, got 'true'"),
        ("wait = 0", "shop.wait: expected a duration longer than 0, such as '3 s', got 0"),
        ("wait = inf", "shop.wait: expected a duration such as '3 s' or '500 ms', got inf"),
        ("size = 1.5", "shop.size: expected a size such as '256 MB', got 1.5"),
        ('hosts = "a"', "shop.hosts: expected a list, each item a string, got 'a'"),
        ("hosts = [1]", "shop.hosts: expected a list, each item a string, got [1]"),
        ("labels.a = 1", "shop.labels.a: expected a string, got 1"),
        ("labels = '{ a = 1 }'", "shop.labels: expected a table, each value a string, got '{ a = 1 }'"),
        ("folder = 5", "shop.folder: expected a path, got 5"),
        ('folder = "a\\u0000"', "shop.folder: expected a path, got 'a\\x00'"),
    ],
)
def test_a_file_must_have_the_types_of_the_fields(write: Write, content: str, fault: str) -> None:
    file = write(f"[shop]\n{content}\n")

    assert faults(layers(file)) == (f"{fault} (from {file})",)


def test_a_word_that_is_no_text_is_a_fault_like_any_other() -> None:
    (fault,) = faults(layers(environ={"INVOKER_SHOP__MOOD": "\udcff"}))

    assert fault == "shop.mood: expected one of 'sunny', 'rainy', got '\\udcff' (from INVOKER_SHOP__MOOD)"


def test_the_place_is_the_one_that_counts(write: Write) -> None:
    file = write('[pool]\nmemory = "lots"\n')

    in_file = faults(layers(file))
    in_variable = faults(layers(file, environ={"INVOKER_POOL__MEMORY": "more"}))

    assert in_file == (f"pool.memory: expected a size such as '256 MB', got 'lots' (from {file})",)
    assert in_variable == ("pool.memory: expected a size such as '256 MB', got 'more' (from INVOKER_POOL__MEMORY)",)


def test_a_good_value_covers_a_wrong_one(write: Write) -> None:
    file = write('[pool]\nmemory = "lots"\n')

    settings = layers(file, overrides=["pool.memory=1 GB"]).settings()

    assert settings[PoolSettings].memory == 1 << 30


def test_long_values_are_shortened() -> None:
    (fault,) = faults(layers(overrides=[f"shop.port={'9' * 10_000}"]))

    assert len(fault) < 250


def test_what_must_be_given_is_named_with_the_ways_to_give_it() -> None:
    assert faults(layers(), STRICT) == (
        "strict.address: must be given, in a settings file or as INVOKER_STRICT__ADDRESS",
        "strict.secret: must be given, in the secrets file or as INVOKER_STRICT__SECRET",
        "strict.code: must be given, in a settings file or as INVOKER_STRICT__CODE",
    )


@pytest.mark.parametrize(
    ("override", "meant"),
    [
        ("shop.usrname=x", "shop.username"),
        ("shop.Port=1", "shop.port"),
        ("shop.tls.verfy=true", "shop.tls.verify"),
        ("pol.memory=1", "pool"),
        ("pool.memroy=1", "pool.memory"),
        ("runtme=docker", "runtime"),
        ("memory=1", "pool.memory"),
        ("keys=1", "encryption.keys"),
        ("pool_memory=1", "pool.memory"),
    ],
)
def test_a_slip_of_the_pen_is_answered_with_what_was_meant(override: str, meant: str) -> None:
    key = override.partition("=")[0]

    found = faults(layers(overrides=[override]))

    assert any(f"did you mean {meant}?" in fault and key.split(".")[0] in fault for fault in found)


def test_what_was_meant_is_spelled_as_a_variable_where_a_variable_was_given() -> None:
    (fault,) = faults(layers(environ={"INVOKER_POOL_MEMORY": "1 GB"}))

    assert fault == (
        "pool_memory: there is no such setting; did you mean INVOKER_POOL__MEMORY? (from INVOKER_POOL_MEMORY)"
    )


def test_an_unknown_key_is_reported_with_all_its_places_and_without_its_value(write: Write) -> None:
    file = write('[shop]\npasword = "hunter2"\n')

    (fault,) = faults(layers(file, environ={"INVOKER_SHOP__PASWORD": "hunter3"}))

    assert fault.startswith("shop.pasword: there is no such setting; did you mean INVOKER_SHOP__PASSWORD?")
    assert fault.endswith(f"(from {file} and INVOKER_SHOP__PASWORD)")
    assert "hunter" not in fault


def test_an_unknown_section_is_a_fault_even_when_it_is_empty(write: Write) -> None:
    file = write("[dokcer]\n")

    assert faults(layers(file)) == (f"dokcer: there is no such section, in the core or in a plugin (from {file})",)


def test_an_unknown_name_is_written_so_that_it_can_be_read(write: Write) -> None:
    file = write('"a\\nb.c\\u202e" = 1\n')

    (fault,) = faults(layers(file))

    assert fault.startswith('"a\\nb.c\\U0000202e": there is no such setting')


@pytest.mark.parametrize(
    "override",
    [
        "shop.password={ a = 'hunter2' }",
        "shop.password.a=hunter2",
        'shop.tokens=["hunter2"',
        "shop.tokens=[5, 'hunter2']",
        "encryption.keys=hunter2",
        "encryption.keys={ a = { b = 'hunter2' } }",
        "encryption.keys={ a = ['hunter2'] }",
        "unknown='hunter2'",
        "shop.hunter1=hunter2",
    ],
)
def test_what_may_be_secret_is_never_repeated(override: str) -> None:
    read = layers(overrides=[override])

    try:
        said = repr(read.settings([SHOP])[RolesSettings])
    except SettingsError as error:
        said = str(error)

    assert "hunter2" not in said


def test_a_password_without_quotes_is_not_repeated(write: Write) -> None:
    file = write("[shop]\npassword = 12345\n")

    (fault,) = faults(layers(file))

    assert fault == f"shop.password: expected a string in quotes; what was given isn't shown (from {file})"


def test_a_password_in_an_address_is_not_repeated() -> None:
    (fault,) = faults(layers(overrides=["shop.url=tcp://jane:hunter2@host"]))

    assert "hunter2" not in fault
    assert "tcp://***@host" in fault


def test_what_a_section_checks_by_itself_is_a_fault() -> None:
    environ = {"INVOKER_RECORDING__LAST_RETRY": "9 s"}

    (fault,) = faults(layers(environ=environ, overrides=["recording.first_retry=10 s"]))

    assert fault == (
        "recording: first_retry must not exceed last_retry (from INVOKER_RECORDING__LAST_RETRY and the command line)"
    )


def test_a_type_that_nothing_can_read_is_said_to_be_one() -> None:
    class Unreadable:
        pass

    class Odd(Section, frozen=True, kw_only=True):
        field: Unreadable | None = None

    (fault,) = faults(layers(overrides=["odd.field=x"]), SettingsSection(name="odd", into=Odd))

    assert "Unreadable can't be read from settings: it has no class method parse" in fault


@pytest.mark.parametrize(
    ("overrides", "fault"),
    [
        (["transports=[]"], "transports: expected a list that is not empty, each item a string, got"),
        (["transports="], "transports: expected a list that is not empty, each item a string, got"),
        (
            ["pool.memory=100 MB"],
            (
                "pool.memory: 100 MB has no room for a single container: limits.min_memory is 128 MB; "
                "set pool.memory to 128 MB or more, or limits.min_memory to less (from the command line)"
            ),
        ),
        (
            ["limits.min_memory=4096", "limits.max_memory=4096"],
            (
                "pool.memory: 2 GB has no room for a single container: limits.min_memory is 4 GB; "
                "set pool.memory to 4 GB or more, or limits.min_memory to less (from the command line)"
            ),
        ),
        (
            ["limits.max_memory=64"],
            (
                "limits: min_memory is 128 and max_memory 64, so that no action would be within them: "
                "set max_memory to 128 or more, or min_memory to 64 or less (from the command line)"
            ),
        ),
        (["limits.min_timeout=400000"], "limits: min_timeout is 400000 and max_timeout 300000, so that no action"),
        (["limits.min_logs=11"], "limits: min_logs is 11 and max_logs 10, so that no action"),
        (["limits.min_concurrency=2"], "limits: min_concurrency is 2 and max_concurrency 1, so that no action"),
    ],
)
def test_settings_with_which_nothing_could_run_are_refused(overrides: list[str], fault: str) -> None:
    (found,) = faults(layers(overrides=overrides))

    assert found.startswith(fault)


@pytest.mark.parametrize("overrides", [["pool.memory=128 MB"], ["pool.memory=64 MB", "limits.min_memory=64"]])
def test_a_pool_may_hold_a_single_container(overrides: list[str]) -> None:
    assert layers(overrides=overrides).settings([SHOP])


def test_a_pool_is_not_measured_by_limits_that_have_a_fault() -> None:
    (found,) = faults(layers(overrides=["pool.memory=1 MB", "limits.min_memory=x"]))

    assert found.startswith("limits.min_memory: expected a whole number of at least 1")


def test_what_one_section_can_not_know_of_another_is_a_fault_of_both(write: Write) -> None:
    seen: list[Mapping[str, Any]] = []

    def check(sections: Mapping[str, Any]) -> Iterator[Conflict]:
        seen.append(sections)
        if sections["shop"].port == sections["node"].id:
            yield ("shop.port", "node.id"), "must differ from node.id"

    section = SettingsSection(name="shop", into=SHOP.into, check=check)
    file = write("[node]\nid = 81\n")

    (fault,) = faults(layers(file, environ={"INVOKER_SHOP__PORT": "81"}), section)
    layers(file).settings([section])

    assert fault == f"shop.port: must differ from node.id (from INVOKER_SHOP__PORT and {file})"
    assert seen[1].keys() == {each.name for each in (*CORE, SHOP)}


def test_a_section_with_a_fault_is_not_checked_against_others() -> None:
    def check(sections: Mapping[str, Any]) -> Iterator[Conflict]:
        raise AssertionError(sections)

    section = SettingsSection(name="shop", into=SHOP.into, check=check)

    (fault,) = faults(layers(overrides=["shop.port=x"]), section)

    assert fault.startswith("shop.port: expected a whole number")
