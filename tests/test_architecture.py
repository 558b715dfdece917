"""The arrows of the design: who may import whom."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import uploader

ROOT = Path(uploader.__file__).parent

# What each layer may import of the package, besides itself.
MAY_IMPORT = {
    "version": set[str](),
    "printable": set(),
    "errors": {"printable"},
    "models": set(),
    "hosts": set(),
    "media": {"errors", "models"},
    "options": {"errors", "hosts", "models"},
    "core": {"errors", "hosts", "models", "options"},
    "io": {"core", "errors", "hosts", "models", "options", "version"},
    "pending": {"io", "errors", "models"},
    "resuming": {"io", "core", "errors", "options"},
    "saying": {"printable"},
    "observe": {"core", "errors", "models", "printable", "saying"},
    "local": set(),
    "job": {"io", "core", "media", "errors", "models", "options"},
    "cluster": {"errors", "saying"},
    "arguments": {"job", "errors", "options"},
    "client": {
        *("arguments", "job", "pending", "resuming", "io", "core", "observe"),
        *("hosts", "errors", "models", "options"),
    },
    "aio": {"client", "core", "observe", "errors", "models", "options"},
    "sample": set(),
    "demo": {"local", "client", "core", "io", "observe", "media", "sample", "saying", "errors", "models"},
    "bench": {"local", "client", "core", "observe", "sample", "errors", "options", "printable", "saying"},
    "serving": {"local", "observe", "options", "saying"},
    "batch": {"client", "job", "io", "core", "observe", "errors", "models"},
    "commands": {
        *("batch", "client", "cluster", "job", "pending", "bench", "demo", "serving", "local"),
        *("observe", "io", "errors", "models", "options", "saying"),
    },
    "parameters": {"options"},
    "cli": {"commands", "observe", "parameters", "saying", "version"},
    "__main__": {"cli"},
    "__init__": {"aio", "client", "core", "errors", "job", "models", "options", "version"},
}

# The core decides and does nothing.
IMPURE = {
    "httpx",
    "os",
    "socket",
    "threading",
    "time",
    "random",
    "asyncio",
    "ssl",
    "sqlite3",
    "pathlib",
    "io",
}


def modules() -> list[Path]:
    return sorted(ROOT.rglob("*.py"))


def layer_of(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[str]:
    """Every module imported anywhere in a file, in functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            assert node.module is not None
            yield node.module
            if node.module == "uploader":
                yield from (f"uploader.{alias.name}" for alias in node.names)


def layers_imported(path: Path) -> set[str]:
    names = [name.split(".") for name in imports(path)]
    return {parts[1] for parts in names if parts[0] == "uploader" and len(parts) > 1}


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_arrows_point_down(path: Path) -> None:
    layer = layer_of(path)
    assert layers_imported(path) <= MAY_IMPORT[layer] | {layer}


@pytest.mark.parametrize("path", sorted((ROOT / "core").glob("*.py")), ids=lambda path: path.name)
def test_the_core_is_pure(path: Path) -> None:
    assert not {name.split(".")[0] for name in imports(path)} & IMPURE


def test_the_map_names_every_layer_and_no_other() -> None:
    assert {layer_of(path) for path in modules()} == MAY_IMPORT.keys()


def test_only_local_the_figure_and_the_cluster_need_an_extra() -> None:
    figure = ROOT / "bench" / "figure.py"
    apart = ("cluster", "demo", "local")
    outside = [path for path in modules() if layer_of(path) not in apart and path != figure]
    third_party = {name.split(".")[0] for path in outside for name in imports(path)} - sys.stdlib_module_names
    assert third_party == {
        "uploader",
        "click",
        "filelock",
        "h11",
        "httpx",
        "platformdirs",
        "pydantic",
        "pydantic_core",
        "tenacity",
        "tqdm",
    }
