"""The section `[firewall]`: what can be written there, and what is said of what can't."""

import ipaddress
from ipaddress import ip_network
from pathlib import Path

import pytest

from invoker.config.layers import Layers
from invoker.errors import SettingsError
from invoker_docker.settings import SECTION as DOCKER
from invoker_firewall.settings import SECTION, Destination, FirewallSettings


def read(text: str, folder: Path) -> FirewallSettings:
    path = folder / "invoker.toml"
    path.write_text(text)
    return Layers.read([path], environ={}).settings([SECTION, DOCKER])[FirewallSettings]


@pytest.mark.parametrize(
    ("text", "destination"),
    [
        ("10.1.2.3", Destination(ip_network("10.1.2.3/32"))),
        ("10.2.0.0/16", Destination(ip_network("10.2.0.0/16"))),
        ("10.1.2.3:5432/tcp", Destination(ip_network("10.1.2.3/32"), (5432, 5432), ("tcp",))),
        ("10.1.2.3:53", Destination(ip_network("10.1.2.3/32"), (53, 53), ("tcp", "udp"))),
        ("10.2.0.0/16:8000-8080/udp", Destination(ip_network("10.2.0.0/16"), (8000, 8080), ("udp",))),
        ("fd00::5", Destination(ip_network("fd00::5/128"))),
        ("fd00::/64", Destination(ip_network("fd00::/64"))),
        ("::/0", Destination(ip_network("::/0"))),
        ("[fd00::5]", Destination(ip_network("fd00::5/128"))),
        ("[fd00::5]:443", Destination(ip_network("fd00::5/128"), (443, 443), ("tcp", "udp"))),
        ("[fd00::/64]:443-444/tcp", Destination(ip_network("fd00::/64"), (443, 444), ("tcp",))),
        ("::ffff:10.0.0.1", Destination(ip_network("::ffff:10.0.0.1/128"))),
    ],
)
def test_a_destination_is_read(text: str, destination: Destination) -> None:
    assert Destination.parse(text) == destination


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "expected '10.1.2.3:5432/tcp', '10.2.0.0/16' or '[fd00::5]:443', got ''"),
        ("db.example.org", "names can't be given"),
        ("db.example.org:5432/tcp", "names can't be given"),
        ("10.1.2.3.4", "names can't be given"),
        ("10.1.2.3/33", "expected '10.1.2.3:5432/tcp'"),
        ("10.2.3.4/16", "expected a network such as '10.2.0.0/16', got '10.2.3.4/16', which has bits beyond"),
        ("10.1.2.3:0", "expected ports from 1 to 65535"),
        ("10.1.2.3:65536", "expected ports from 1 to 65535"),
        ("10.1.2.3:80-70", "the smaller one first"),
        ("10.1.2.3:80/icmp", "expected /tcp, /udp, or none for both"),
        ("10.1.2.3/tcp", "expected '10.1.2.3:5432/tcp'"),
        ("[10.1.2.3]:80", "expected an IPv6 address in the brackets"),
        ("fd00::5%eth0", "expected '10.1.2.3:5432/tcp'"),
        ("[fe80::5%eth0]:80", "expected '10.1.2.3:5432/tcp'"),
        ("fd00::1:5/112", "expected a network such as 'fd00::1:0/112', got 'fd00::1:5/112', which has bits beyond"),
        ("10.1.2.3 -j ACCEPT", "expected '10.1.2.3:5432/tcp'"),
        ("10.1.2.3\n-A INPUT", "expected '10.1.2.3:5432/tcp'"),
        ("x" * 100, f"got '{'x' * 60}…'"),
    ],
)
def test_what_is_no_destination_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the text is compared below, without a pattern)
        Destination.parse(text)

    assert complaint in str(caught.value)


def test_settings_are_read(tmp_path: Path) -> None:
    text = '[firewall]\nallow = ["10.1.2.3:5432/tcp"]\ndeny = ["8.8.8.8"]\nresolvers = ["gateway", "10.0.0.53"]\n'

    settings = read(text, tmp_path)

    assert settings.allowed == (Destination.parse("10.1.2.3:5432/tcp"),)
    assert settings.denied == (Destination.parse("8.8.8.8"),)
    assert settings.named_resolvers == (ipaddress.ip_address("10.0.0.53"),)


def test_every_wrong_entry_is_named(tmp_path: Path) -> None:
    text = '[firewall]\nallow = ["db", "10.1.2.3"]\ndeny = ["10.1.2.3:0"]\nresolvers = ["dns", "fe80::1%eth0"]\n'

    with pytest.raises(SettingsError) as caught:
        read(text, tmp_path)

    (fault,) = caught.value.faults
    assert "allow: expected '10.1.2.3:5432/tcp'" in fault
    assert "deny: expected ports from 1 to 65535" in fault
    assert "resolvers: expected an address or 'gateway', got 'dns'" in fault
    assert "resolvers: expected an address or 'gateway', got 'fe80::1%eth0'" in fault


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ('reconcile_interval = "0 s"', "firewall.reconcile_interval: expected a duration longer than 0"),
        ('internet = "perhaps"', "firewall.internet: expected true or false"),
        ('allows = ["10.1.2.3"]', "did you mean firewall.allow?"),
    ],
)
def test_a_wrong_setting_is_named(line: str, complaint: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        read(f"[firewall]\n{line}\n", tmp_path)

    assert complaint in str(caught.value)


def test_whoever_names_dockers_name_servers_must_name_them_here(tmp_path: Path) -> None:
    docker = '[docker]\ndns = ["10.0.0.53"]\n'

    with pytest.raises(SettingsError, match=r"firewall.resolvers: must be given where docker.dns is"):
        read(docker, tmp_path)

    assert read(f'{docker}[firewall]\nresolvers = ["10.0.0.53"]\n', tmp_path).named_resolvers


def test_without_name_servers_of_docker_none_need_be_named(tmp_path: Path) -> None:
    assert read("", tmp_path) == FirewallSettings()
