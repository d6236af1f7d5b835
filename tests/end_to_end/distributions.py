"""Distributions with plugins, as if they had been installed."""

from pathlib import Path

from tests.end_to_end.program import Home


def distribution(folder: Path, name: str, points: str, **modules: str) -> Path:
    """Lay out a distribution with these entry points and modules; return where."""
    top = folder / name
    info = top / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[invoker.plugins]\n{points}\n")
    for module, text in modules.items():
        (top / f"{module}.py").write_text(text)
    return top


def search_path(home: Home, *places: Path) -> str:
    """Return the `PYTHONPATH` that makes distributions importable, besides what is so already."""
    inherited = home.environment.get("PYTHONPATH")
    return ":".join([*map(str, places), *([inherited] if inherited else [])])
