"""The façade: plugins are loaded by name, checked once, and every fault names the plugin and the remedy."""

import itertools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from invoker.cli.check import Nobody
from invoker.config import LogsSettings, RolesSettings, Settings
from invoker.contracts import ActivationStore
from invoker.errors import (
    BrokenContract,
    ModuleMissing,
    PluginBroken,
    PluginError,
    PluginNotInstalled,
    ProviderCount,
)
from invoker.plugins import Plugins, check_contract, hooks_in, installed
from invoker.testing.builders import an_activation, as_records
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

    def make(source: str, name: str, *requirements: str) -> str:
        module = f"a_plugin_{tmp_path.name.replace('-', '_')}_{next(numbers)}"
        (tmp_path / f"{module}.py").write_text(source)
        metadata = tmp_path / f"{module}-1.0.dist-info"
        metadata.mkdir()
        asks = "".join(f"Requires-Dist: {one}\n" for one in requirements)
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n{asks}")
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

    assert str(error.value).startswith("runtime: no plugin named 'dokcer' is installed")
    assert "Did you mean 'docker'?" in str(error.value)


@pytest.mark.parametrize(
    ("named", "setting"),
    [
        ({"transports": ("http", "zz")}, "transports"),
        ({"runtime": "zz"}, "runtime"),
        ({"functions": "zz"}, "functions"),
        ({"activations": "zz"}, "activations"),
        ({"activations": "zz", "functions": "zz"}, "functions"),
        ({"extra": ("zz",)}, "extra"),
        ({"logs": "zz"}, "logs"),
    ],
)
def test_the_setting_that_names_a_plugin_is_told(named: dict[str, Any], setting: str) -> None:
    with pytest.raises(PluginNotInstalled, match=rf"^{setting}: no plugin named 'zz' .* name another in {setting}$"):
        plugins(**named)


def test_a_plugin_that_cannot_be_imported_says_why(install: Install) -> None:
    install("raise LookupError('of all things')", "broken")

    with pytest.raises(PluginBroken, match="plugin 'broken' can't be loaded: LookupError: of all things"):
        plugins(extra=("broken",))


ABSENT = "import nothing_of_that.name"
EXTRA = "nothing-of_that>=0.24; extra == 'theirs'"
OTHERS = ("nothing-else; extra == 'mine'", "nothing-else", "nothing_of_that; python_version < '3'")


@pytest.mark.parametrize(
    ("requirements", "remedy"),
    [
        ([], "install the distribution that has it"),
        (["nothing-of-that"], "install the distribution that has it"),
        ([EXTRA], "pip install '{module}[theirs]'"),
        ([*OTHERS, EXTRA], "pip install '{module}[theirs]'"),
        (["nothing.of.that; extra == 'dev'", 'Nothing_Of_That ; extra == "mine"'], "pip install '{module}[mine]'"),
        (["nothing-py>1; extra == 'mine'"], "pip install '{module}[mine]'"),
        (["nothing-py>1; extra == 'other'"], "install the distribution that has it"),
    ],
)
def test_of_a_library_that_is_missing_is_told_what_brings_it(
    install: Install, requirements: list[str], remedy: str
) -> None:
    module = install(ABSENT, "mine", *requirements)

    with pytest.raises(ModuleMissing) as error:
        plugins(runtime="mine")

    assert str(error.value) == (
        "runtime: plugin 'mine' can't be loaded: the Python module 'nothing_of_that' is not installed: "
        f"{remedy.format(module=module)}, or name another plugin in runtime"
    )


HOOKS = (
    ("open_container_runtime(settings)", {"runtime": "mine"}, "runtime"),
    ("open_activation_store(settings)", {"activations": "mine"}, "activations"),
    ("open_transport(settings, intake, operations)", {"transports": ("mine",)}, "transports"),
    ("open_admission(settings)", {"extra": ("mine",)}, "extra"),
    ("open_observer(settings)", {"extra": ("mine",)}, "extra"),
)


@pytest.mark.parametrize("entered", [True, False])
@pytest.mark.parametrize(("signature", "named", "setting"), HOOKS)
async def test_a_library_may_be_missed_as_late_as_when_its_plugin_opens(
    install: Install, signature: str, named: dict[str, Any], setting: str, *, entered: bool
) -> None:
    decorated = "@asynccontextmanager\nasync def" if entered else "def"
    rest = "\n    yield object()" if entered else ""
    install(
        "from contextlib import asynccontextmanager\nfrom invoker import hookimpl\n@hookimpl\n"
        f"{decorated} {signature}:\n    {ABSENT}{rest}\n",
        "mine",
        EXTRA,
    )
    loaded = plugins(**named)

    with pytest.raises(ModuleMissing, match=rf"^{setting}: plugin .*'nothing_of_that' is not installed: pip install"):
        await opened(loaded, setting)


async def opened(loaded: Plugins, setting: str) -> None:
    """Open what one setting names."""
    match setting:
        case "runtime":
            openings = [loaded.container_runtime(Settings.of())]
        case "activations":
            openings = [loaded.activation_store(Settings.of())]
        case "transports":
            openings = [opening for _, opening in loaded.transports(Settings.of(), Nobody(), Nobody())]
        case _:
            openings = [opening for _, opening in (*loaded.admissions(Settings.of()), *loaded.observers(Settings.of()))]
    for opening in openings:
        async with opening:
            pass


async def test_what_else_an_import_fails_with_is_told_of_its_plugin(install: Install) -> None:
    install(STORE.replace("    yield", "    from json import nothing\n    yield"), "old")

    with pytest.raises(PluginBroken, match="plugin 'old' can't be loaded: ImportError: cannot import name 'nothing'"):
        await opened(plugins(activations="old"), "activations")


async def test_an_import_that_fails_while_a_plugin_is_in_use_is_not_taken_for_its_opening(install: Install) -> None:
    install(STORE, "memory")

    with pytest.raises(ModuleNotFoundError):
        async with plugins(activations="memory").activation_store(Settings.of()):
            import nothing_of_that  # noqa: F401, PLC0415


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
        await store.put_many(as_records([an_activation()]))

    assert len(sys.modules[module].store.records) == 1


async def test_what_lacks_a_method_is_a_broken_contract(install: Install) -> None:
    install(STORE.replace("yield store", "yield object()"), "hollow")

    lacks = "faults, metrics, put_many, reader"
    with pytest.raises(BrokenContract, match=f"'hollow' gave no ActivationStore: it lacks {lacks}"):
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
    def __getattr__(self, name):
        return getattr(self._inner, name)
    async def put_many(self, batch):
        await self._inner.put_many([msgspec.structs.replace(one, logs=b'["wrapped"]') for one in batch])

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
        await store.put_many(as_records([an_activation()]))
        reader = store.reader

    (record,) = sys.modules[module].store.records.values()
    assert record.logs == ("wrapped",)
    assert reader is sys.modules[module].store, "what a wrapper passes on is found"


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


EVERYTHING = """
from contextlib import asynccontextmanager
from invoker import hookimpl
from invoker.contracts import Admission, Observer
from invoker.testing.stores import MemoryActivations

opened = []

@asynccontextmanager
async def opening(what, part, client=None):
    opened.append((what, client))
    yield part
    opened.append((f"left {what}", client))

class Judge(Admission):
    def refusal(self, request):
        return "no"

class Watcher(Observer):
    def finished(self, request, activation):
        pass

@hookimpl
def open_client(settings):
    return opening("client", "the client")

@hookimpl
def open_activation_store(settings, client):
    return opening("store", MemoryActivations(), client)

@hookimpl
def open_admission(settings, client):
    return opening("admission", Judge(), client)

@hookimpl
def open_observer(client):
    return opening("observer", Watcher(), client)
"""


@pytest.mark.parametrize(
    ("named", "used"),
    [
        ({"activations": "all"}, ["store"]),
        ({"extra": ("all",)}, ["admission", "observer"]),
        ({"activations": "all", "extra": ("all",)}, ["store", "admission", "observer"]),
    ],
)
async def test_only_what_a_role_or_extra_names_is_used(
    install: Install, named: dict[str, Any], used: list[str]
) -> None:
    """A plugin that is loaded for its store is asked for no admission and no observer."""
    module = install(EVERYTHING, "all")
    loaded = plugins(**{"activations": "sqlite", **named})

    openings = [*loaded.admissions(Settings.of()), *loaded.observers(Settings.of())]
    if loaded._roles.activations == "all":
        openings.insert(0, ("all", loaded.activation_store(Settings.of())))
    for _, opening in openings:
        async with opening:
            pass

    opened = [what for what, _ in sys.modules[module].opened if not what.startswith("left") and what != "client"]
    assert opened == used


async def test_a_wrapper_of_a_plugin_that_extra_does_not_name_wraps_nothing(install: Install) -> None:
    install(STORE, "memory")
    install(
        "from invoker import hookimpl\n"
        "@hookimpl(wrapper=True)\ndef open_activation_store(settings):\n    yield\n    raise RuntimeError('unwanted')\n"
        "@hookimpl\ndef open_function_store(settings): ...\n",
        "wraps",
    )

    async with plugins(activations="memory", functions="wraps").activation_store(Settings.of()):
        pass
    with pytest.raises(RuntimeError, match="unwanted"):
        async with plugins(activations="memory", extra=("wraps",)).activation_store(Settings.of()):
            pass


async def test_the_hooks_of_one_plugin_share_a_client_that_outlives_them(install: Install) -> None:
    module = install(EVERYTHING, "all")
    loaded = plugins(activations="all", extra=("all",))

    async with loaded.clients(Settings.of()), loaded.activation_store(Settings.of()):
        for _, opening in loaded.observers(Settings.of()):
            async with opening:
                pass

    assert sys.modules[module].opened == [
        ("client", None),
        ("store", "the client"),
        ("observer", "the client"),
        ("left observer", "the client"),
        ("left store", "the client"),
        ("left client", None),
    ]


async def test_a_part_that_is_opened_alone_has_a_client_of_its_own(install: Install) -> None:
    module = install(EVERYTHING, "all")

    async with plugins(activations="all").activation_store(Settings.of()):
        pass

    assert [what for what, _ in sys.modules[module].opened] == ["client", "store", "left store", "left client"]


def test_transports_come_in_the_order_of_the_settings(install: Install) -> None:
    source = (
        "from contextlib import asynccontextmanager\nfrom invoker import hookimpl\nfrom invoker.contracts import Part\n"
        "@hookimpl\n@asynccontextmanager\nasync def open_transport(settings, intake):\n    yield Part()\n"
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

    assert error.value.missing == ("faults", "metrics", "put_many", "reader")


def test_the_hooks_of_a_module_can_be_listed_without_using_it(install: Install) -> None:
    install(STORE, "memory")

    assert hooks_in(installed()["memory"]) == ("open_activation_store",)
