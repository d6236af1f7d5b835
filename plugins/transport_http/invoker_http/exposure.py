"""Who could reach the listeners, and whether that is safe: whoever reaches the data listener can run code."""

from collections.abc import Sequence

from invoker_http.address import Place
from invoker_http.settings import HttpSettings


def faults(settings: HttpSettings, data: Sequence[Place], admin: Sequence[Place]) -> list[str]:
    """Return what makes the listeners unsafe; a listener that only this machine can reach is safe as it is."""
    found: list[str] = []
    if settings.allow_anonymous:
        return found
    if _reachable(data) and settings.tls.client_ca is None and settings.password is None:
        found.append(
            f"http.bind: {settings.bind} can be reached from other machines, and whoever reaches it can run code. "
            "Set http.tls.client_ca, so that callers need a certificate, or http.username and http.password; or bind "
            "to 127.0.0.1. If the network itself is guarded, set http.allow_anonymous = true"
        )
    if _reachable(admin):
        found.append(
            f"http.admin: {settings.admin} can be reached from other machines, and it asks nobody who they are. "
            "Bind it to 127.0.0.1. If the network itself is guarded, set http.allow_anonymous = true: "
            "certificates and passwords that the settings ask for are still asked for"
        )
    return found


def sends_passwords_in_the_clear(settings: HttpSettings, data: Sequence[Place]) -> bool:
    """Whether somebody on the way could read the callers' password."""
    return settings.password is not None and settings.tls.certificate is None and _reachable(data)


def _reachable(places: Sequence[Place]) -> bool:
    return any(not place.is_loopback for place in places)
