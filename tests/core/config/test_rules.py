"""Rules about several sections, which plugins bring."""

import pytest

from invoker.config import SettingsSection
from invoker.config.merging import Validator
from invoker.errors import PluginBroken
from tests.core.config.shop import SHOP, faults, layers


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
