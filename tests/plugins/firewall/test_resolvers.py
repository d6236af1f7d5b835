"""Name servers, as the machine has them."""

import ipaddress
from pathlib import Path

import pytest

from invoker_firewall.guard import resolvers


def a_file(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "servers"),
    [
        ("nameserver 10.0.0.53\nnameserver 8.8.8.8\n", ["10.0.0.53", "8.8.8.8"]),
        ("# nameserver 1.1.1.1\n;x\nsearch example.org\n  nameserver\tfd00::53 # here\n", ["fd00::53"]),
        ("nameserver nonsense\nnameserver\nnameserver 10.0.0.53\nnameserver 10.0.0.53\n", ["10.0.0.53"]),
        ("nameserver fe80::1%eth0\nnameserver ::1\n", []),
        ("", []),
    ],
)
def test_name_servers_are_those_of_resolv_conf(text: str, servers: list[str], tmp_path: Path) -> None:
    found = resolvers(a_file(tmp_path, "resolv.conf", text), tmp_path / "none")

    assert [str(server) for server in found] == servers


def test_behind_a_resolver_on_loopback_are_those_of_systemd(tmp_path: Path) -> None:
    stub = a_file(tmp_path, "resolv.conf", "nameserver 127.0.0.53\n")
    behind = a_file(tmp_path, "behind.conf", "nameserver 10.0.0.53\n")

    assert resolvers(stub, behind) == [ipaddress.ip_address("10.0.0.53")]


def test_a_machine_without_resolv_conf_has_no_name_servers(tmp_path: Path) -> None:
    assert resolvers(tmp_path / "none", tmp_path / "none") == []
