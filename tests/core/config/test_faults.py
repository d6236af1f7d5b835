"""What is said about settings that can't be used."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.core.config.shop import SHOP, STRICT, faults, layers

from invoker.config import RolesSettings, Section, SettingsSection, Validator
from invoker.errors import PluginBroken, SettingsError

Write = Callable[..., Path]


def file_faults(*files: Path, secrets: Path | None = None) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as raised:
        layers(*files, secrets=secrets)
    return raised.value.faults


def test_a_missing_file_is_named_with_a_remedy(tmp_path: Path) -> None:
    absent = tmp_path / "absent.toml"

    (fault,) = file_faults(absent)

    assert fault == (
        f"{absent}: there is no such file; name one that is there, or write a new one with 'invoker config init'"
    )


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    (fault,) = file_faults(tmp_path)

    assert fault == f"{tmp_path}: this is a directory; name the file in it"


@pytest.mark.parametrize("name", ["a\0b.toml", "x" * 300])
def test_a_name_that_no_file_can_have_is_a_fault(tmp_path: Path, name: str) -> None:
    (fault,) = file_faults(tmp_path / name)

    assert "name another file" in fault


def test_an_ill_formed_file_is_named_with_the_line(write: Write) -> None:
    file = write("[pool]\n\nmemory = 1 GB\n")

    (fault,) = file_faults(file)

    assert fault.startswith(f"{file}, line 3, column 12: ")
    assert fault.endswith("the file must be TOML, where text stands in quotes")


def test_an_unfinished_file_is_a_fault(write: Write) -> None:
    (fault,) = file_faults(write('[pool]\nmemory = "1 GB'))

    assert "line" in fault or "end of document" in fault


def test_a_file_that_is_not_utf_8_is_named_with_the_line(tmp_path: Path) -> None:
    file = tmp_path / "latin.toml"
    file.write_bytes(b'[node]\nunique_name = "caf\xe9"\n')

    (fault,) = file_faults(file)

    assert fault == f"{file}, line 2: not UTF-8; save the file in that encoding"


@pytest.mark.parametrize(
    "content",
    [
        "x = " + "[" * 10_000,
        "x = " + "[" * 40 + "]" * 40,
        ".".join(["a"] * 2000) + " = 1",
        "x = " + "{ a = " * 30 + "1" + "}" * 30,
        "x = " + "9" * 5000,
        "x = 0x" + "f" * 5000,
        "x = [18446744073709551616]",
    ],
)
def test_what_no_setting_needs_is_refused_and_not_tried(write: Write, content: str) -> None:
    file = write(content)

    (fault,) = file_faults(file)

    assert fault.startswith(f"{file}")


def test_the_faults_of_all_files_and_arguments_come_at_once(write: Write, tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as raised:
        layers(write("x"), tmp_path / "absent.toml", secrets=write("[", "secrets.toml"), overrides=["nonsense"])

    assert len(raised.value.faults) == 4


def test_the_text_of_a_secrets_file_is_not_repeated(write: Write) -> None:
    (fault,) = file_faults(secrets=write("[shop]\npassword = hunter2\n", "secrets.toml"))

    assert "line 2" in fault
    assert "hunter2" not in fault


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
        ("username.a = 1", "shop.username: expected a string, got { a = 1 }"),
        ('port = "80"', "shop.port: expected a whole number of at least 1 and of at most 65535, got '80'"),
        ("port = true", "shop.port: expected a whole number of at least 1 and of at most 65535, got true"),
        ('open = "true"', "shop.open: expected true or false, got 'true'"),
        ("wait = 0", "shop.wait: expected a duration longer than 0, such as '3 s', got 0"),
        ("wait = inf", "shop.wait: expected a duration such as '3 s' or '500 ms', got inf"),
        ("size = 1.5", "shop.size: expected a size such as '256 MB', got 1.5"),
        ('hosts = "a"', "shop.hosts: expected a list, each item a string, got 'a'"),
        ("hosts = [1]", "shop.hosts: expected a list, each item a string, got [1]"),
        ("labels.a = 1", "shop.labels.a: expected a string, got 1"),
        ("folder = 5", "shop.folder: expected a path, got 5"),
    ],
)
def test_a_file_must_have_the_types_of_the_fields(write: Write, content: str, fault: str) -> None:
    file = write(f"[shop]\n{content}\n")

    assert faults(layers(file)) == (f"{fault} (from {file})",)


def test_the_place_is_the_one_that_counts(write: Write) -> None:
    file = write('[pool]\nmemory = "lots"\n')

    in_file = faults(layers(file))
    in_variable = faults(layers(file, environ={"INVOKER_POOL__MEMORY": "more"}))

    assert in_file == (f"pool.memory: expected a size such as '256 MB', got 'lots' (from {file})",)
    assert in_variable == ("pool.memory: expected a size such as '256 MB', got 'more' (from INVOKER_POOL__MEMORY)",)


def test_a_good_value_covers_a_wrong_one(write: Write) -> None:
    file = write('[pool]\nmemory = "lots"\n')

    layers(file, overrides=["pool.memory=1 GB"]).settings()


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


def ruled(*rules: Validator) -> SettingsSection:
    return SettingsSection(name="shop", into=SHOP.into, rules=rules)


@pytest.mark.parametrize(
    ("rule", "fault"),
    [
        (Validator("recording.grace", lte=5), "recording.grace: must be at most 5, is 10 s"),
        (Validator("shop.tip", must_exist=True), "shop.tip: must be given"),
        (Validator("shop.port", must_exist=False), "shop.port: must not be given"),
        (Validator("shop.tls.verify", eq=False), "shop.tls.verify: must be False, is True"),
        (Validator("runtime", is_in=["docker"]), "runtime: must be one of ['docker'], is process"),
        (Validator("runtime", ne="process", messages={"operations": "no {value}"}), "no process"),
        (
            Validator("shop.tip", must_exist=True) | Validator("shop.port", gt=80),
            "one of these must be put right: shop.tip: must be given or shop.port: must be above 80, is 80",
        ),
    ],
)
def test_a_rule_that_fails_is_a_fault(rule: Validator, fault: str) -> None:
    overrides = ["shop.tls.certificate=x"]

    (found,) = faults(layers(overrides=overrides), ruled(rule))

    assert found.startswith(f"{fault}; shop asks for it")


def test_the_fault_of_a_rule_says_where_the_setting_is_made() -> None:
    rule = Validator("recording.flush_interval", lte=60, when=Validator("shop.url", must_exist=True))

    (found,) = faults(layers(environ={"INVOKER_RECORDING__FLUSH_INTERVAL": "2 min"}), ruled(rule))

    assert found == (
        "recording.flush_interval: must be at most 60, is 2 min; shop asks for it"
        " (from INVOKER_RECORDING__FLUSH_INTERVAL)"
    )


def test_rules_that_hold_or_do_not_apply_are_silent() -> None:
    rules = (
        Validator("recording.flush_interval", lte=60),
        Validator("shop.port", gt=100, when=Validator("shop.tip", must_exist=True)),
        Validator("shop.tip", must_exist=True) | Validator("shop.port", lte=80),
    )

    layers().settings([ruled(*rules)])


def test_a_rule_is_not_asked_about_a_setting_that_has_a_fault_already() -> None:
    found = faults(layers(overrides=["shop.port=x"]), ruled(Validator("shop.port", must_exist=True)))

    assert len(found) == 1


def test_a_rule_changes_nothing() -> None:
    rule = Validator("shop.tip", "shop.port", default=5, cast=lambda _: 6)
    read = layers()

    made = read.settings([ruled(rule, Validator("shop.tip", must_exist=False), Validator("shop.port", eq=80))])

    assert made[SHOP.into] == SHOP.into()
    assert rule.messages == Validator.default_messages


def test_rules_see_strings_as_they_are() -> None:
    seen: list[object] = []

    def see(value: object) -> bool:
        seen.append(value)
        return True

    rule = Validator("shop.username", "shop.hosts", condition=see)
    overrides = ["shop.username=@int 12345", "shop.hosts=2,1"]

    layers(overrides=overrides).settings([ruled(rule)])

    assert seen == ["@int 12345", ["2", "1"]]


def test_a_rule_does_not_show_a_secret() -> None:
    rule = Validator("shop.password", eq="x")

    (fault,) = faults(layers(overrides=["shop.password=hunter2"]), ruled(rule))

    assert fault.startswith("shop.password: must be x, is ***")


def test_a_rule_that_breaks_is_its_plugins_fault() -> None:
    def broken(value: object) -> bool:
        raise ZeroDivisionError(value)

    with pytest.raises(PluginBroken, match=r"plugin 'shop' .* its rule about shop.url failed: ZeroDivisionError"):
        layers().settings([ruled(Validator("shop.url", condition=broken))])


def test_a_type_that_nothing_can_read_is_said_to_be_one() -> None:
    class Unreadable:
        pass

    class Odd(Section, frozen=True, kw_only=True):
        field: Unreadable | None = None

    (fault,) = faults(layers(overrides=["odd.field=x"]), SettingsSection(name="odd", into=Odd))

    assert "Unreadable can't be read from settings: it has no class method parse" in fault
