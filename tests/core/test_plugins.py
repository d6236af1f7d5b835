"""The façade: plugins are loaded by name, checked once, and every fault names the plugin and the remedy."""

import itertools
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from invoker.cli.local import Nobody
from invoker.config import LogsSettings, RolesSettings, Settings
from invoker.contracts import ActivationStore
from invoker.errors import BrokenContract, PluginBroken, PluginError, PluginNotInstalled, ProviderCount
from invoker.plugins import Plugins, check_contract, hooks_in, installed
from invoker.testing.builders import an_activation
from invoker.testing.stores import MemoryActivations

Install = Callable[..., str]

STORE = """
from contextlib import asynccontextmanager
from invoker import hookimpl
from invoker.testing.stores import MemoryActivations

store = MemoryActivations()

@hookimpl
@asynccontextmanager
async def open_activation_store(settings):
    yield store
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Install a plugin: a module and the metadata of a distribution that offers it under `name`."""
    monkeypatch.syspath_prepend(str(tmp_path))
    numbers = itertools.count()

    def make(source: str, name: str) -> str:
        module = f"a_plugin_{tmp_path.name.replace('-', '_')}_{next(numbers)}"
        (tmp_path / f"{module}.py").write_text(source)
        metadata = tmp_path / f"{module}-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
        (metadata / "entry_points.txt").write_text(f"[invoker.plugins]\n{name} = {module}\n")
        return module

    return make


def plugins(logs: str = "attached", **roles: object) -> Plugins:
    """Load the embedded plugins, but for what is named."""
    return Plugins(RolesSettings(**roles), LogsSettings(plugin=logs))  # type: ignore[arg-type]


def test_only_what_the_roles_name_is_loaded(install: Install) -> None:
    module = install("raise RuntimeError('nobody asked for this')", "unwanted")

    loaded = plugins()

    assert loaded.active == ("http", "process", "attached", "sqlite")
    assert "unwanted" in installed()
    assert module not in sys.modules


def test_the_hooks_of_a_plugin_are_known() -> None:
    assert plugins().hooks_of("sqlite") == ("open_activation_store", "open_function_store", "settings_section")


def test_a_plugin_that_is_not_installed_is_named_with_those_that_are() -> None:
    with pytest.raises(PluginNotInstalled, match=r"'dokcer' is installed; installed are: .*attached, docker") as error:
        plugins(runtime="dokcer")

    assert "name another in the settings" in str(error.value)


def test_a_plugin_that_cannot_be_imported_says_why(install: Install) -> None:
    install("import nothing_of_that_name", "broken")

    with pytest.raises(
        PluginBroken, match=r"plugin 'broken' can't be loaded: ModuleNotFoundError: .*nothing_of_that_name"
    ):
        plugins(extra=("broken",))


def test_a_misspelt_hook_is_an_error(install: Install) -> None:
    install("from invoker import hookimpl\n@hookimpl\ndef open_activation_stoer(settings): ...\n", "misspelt")

    with pytest.raises(PluginBroken, match="open_activation_stoer"):
        plugins(extra=("misspelt",))


def test_a_hook_with_an_argument_that_does_not_exist_is_an_error(install: Install) -> None:
    install("from invoker import hookimpl\n@hookimpl\ndef open_activation_store(setings): ...\n", "wrong")

    with pytest.raises(PluginBroken, match="setings"):
        plugins(extra=("wrong",))


def test_two_distributions_that_claim_one_name_are_an_error(install: Install) -> None:
    first, second = install(STORE, "mine"), install(STORE, "mine")

    with pytest.raises(PluginError, match="'mine' is claimed by") as error:
        plugins()

    assert first in str(error.value)
    assert second in str(error.value)


async def test_a_role_whose_plugin_does_not_provide_it_is_an_error() -> None:
    loaded = plugins(activations="process")

    with pytest.raises(ProviderCount, match=r"role 'activations' .* open_activation_store, found: none"):
        async with loaded.activation_store(Settings.of()):
            pass


async def test_the_role_chooses_among_several_providers(install: Install) -> None:
    """pluggy alone would take whichever was loaded last."""
    module = install(STORE, "memory")
    loaded = plugins(activations="memory", functions="sqlite")

    async with loaded.activation_store(Settings.of()) as store:
        await store.put_many([an_activation()])

    assert len(sys.modules[module].store.records) == 1


async def test_what_lacks_a_method_is_a_broken_contract(install: Install) -> None:
    install(STORE.replace("yield store", "yield object()"), "hollow")

    with pytest.raises(BrokenContract, match="'hollow' gave no ActivationStore: it lacks put_many"):
        async with plugins(activations="hollow").activation_store(Settings.of()):
            pass


async def test_a_wrapper_gets_the_others_object(install: Install) -> None:
    module = install(STORE, "memory")
    install(
        """
from contextlib import asynccontextmanager
import msgspec
from invoker import hookimpl

class Upper:
    def __init__(self, inner):
        self._inner = inner
    async def put_many(self, batch):
        await self._inner.put_many([msgspec.structs.replace(one, logs=("wrapped",)) for one in batch])

@hookimpl(wrapper=True)
def open_activation_store(settings):
    inner = yield
    @asynccontextmanager
    async def outer():
        async with inner as store:
            yield Upper(store)
    return outer()
""",
        "upper",
    )
    loaded = plugins(activations="memory", extra=("upper",))

    async with loaded.activation_store(Settings.of()) as store:
        await store.put_many([an_activation()])

    (record,) = sys.modules[module].store.records.values()
    assert record.logs == ("wrapped",)


def test_a_section_must_be_called_like_its_plugin(install: Install) -> None:
    install(
        "from invoker import Section, SettingsSection, hookimpl\n"
        "@hookimpl\ndef settings_section():\n    return SettingsSection(name='other', into=Section)\n",
        "mine",
    )

    with pytest.raises(PluginBroken, match="called 'other'; it must be 'mine'"):
        list(plugins(extra=("mine",)).sections())


def test_sections_of_installed_plugins_are_there_when_asked_for(install: Install) -> None:
    install(
        "from invoker import Section, SettingsSection, hookimpl\n"
        "@hookimpl\ndef settings_section():\n    return SettingsSection(name='mine', into=Section)\n",
        "mine",
    )

    names = [section.name for section in plugins().sections(also=["mine", "sqlite"])]

    assert names.count("mine") == 1
    assert names.count("sqlite") == 1


def test_observers_are_called_and_their_failure_is_the_callers_to_handle(install: Install) -> None:
    module = install(
        "from invoker import hookimpl\nseen = []\n"
        "@hookimpl\ndef activation_finished(activation):\n    seen.append(activation)\n",
        "watcher",
    )
    activation = an_activation()
    loaded = plugins(extra=("watcher",))

    loaded.activation_finished(activation)

    assert loaded.has_observers
    assert sys.modules[module].seen == [activation]
    assert not plugins().has_observers


def test_transports_come_in_the_order_of_the_settings(install: Install) -> None:
    source = (
        "from contextlib import asynccontextmanager\nfrom invoker import hookimpl\n"
        "@hookimpl\n@asynccontextmanager\nasync def open_transport(settings, intake):\n    yield\n"
    )
    install(source, "one")
    install(source, "two")
    loaded = plugins(transports=("two", "one"))

    names = [name for name, _ in loaded.transports(Settings.of(), Nobody(), Nobody())]

    assert names == ["two", "one"]


def test_a_contract_is_checked_by_what_is_missing() -> None:
    check_contract("memory", "open_activation_store", ActivationStore, MemoryActivations())

    with pytest.raises(BrokenContract) as error:
        check_contract("nothing", "open_activation_store", ActivationStore, object())

    assert error.value.missing == ("put_many",)


def test_the_hooks_of_a_module_can_be_listed_without_using_it(install: Install) -> None:
    install(STORE, "memory")

    assert hooks_in(installed()["memory"]) == ("open_activation_store",)
