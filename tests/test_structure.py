"""The house: imports only go down, siblings do not see each other, and no module grows past its bounds."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import vcodec

PACKAGE = Path(vcodec.__file__).parent

# Lowest first; the names of one line are siblings. A folder is one name.
LEVELS = [
    ["errors", "loops", "products", "turning"],
    [
        "convolving",
        "evenness",
        "grain",
        "helper",
        "lanes",
        "registry",
        "scale",
        "sources",
        "spots",
        "starting",
        "tiles",
    ],
    ["choices"],
    ["bitstream", "media", "backbones", "quantizers", "entropy", "metrics"],
    ["states"],
    ["parsing"],
    ["codec"],
    ["checkpoint"],
    # the parts of api.py: file to file
    ["pipeline", "output", "models", "encoding", "decoding", "importing"],
    ["gops"],
    ["search", "latents"],
    ["vaefile"],
    ["passes"],
    ["api", "splicing", "measures"],
    ["evaluation", "datasets"],
    ["training", "rd", "batch"],
    ["studies"],
    ["cli"],
    ["__main__"],
]
LEVEL_OF = {name: level for level, names in enumerate(LEVELS) for name in names}


def unit(path: Path) -> str:
    """The name in LEVELS that a file of the package belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def modules() -> list[Path]:
    return [path for path in sorted(PACKAGE.rglob("*.py")) if path.parent != PACKAGE or path.name != "__init__.py"]


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and name of each unit of vcodec that a file imports, wherever in it the import stands."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            if node.module == "vcodec":
                for alias in node.names:
                    if alias.name != "__version__":
                        yield node.lineno, alias.name
            elif node.module and node.module.startswith("vcodec."):
                yield node.lineno, node.module.split(".")[1]
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("vcodec."):
                    yield node.lineno, alias.name.split(".")[1]


def test_every_module_has_its_place() -> None:
    """Each file of the package belongs to a level of the design."""
    assert {unit(path) for path in modules()} <= set(LEVEL_OF)


def test_imports_only_go_down() -> None:
    """A module imports from its own folder and from lower levels only."""
    wrong = [
        f"{path.relative_to(PACKAGE)}:{line} imports {name}"
        for path in modules()
        for line, name in imports(path)
        if name != unit(path) and LEVEL_OF.get(name, len(LEVELS)) >= LEVEL_OF[unit(path)]
    ]
    assert not wrong


def test_layers_keep_to_their_libraries() -> None:
    """bitstream is standard library only; media never sees torch; backbones and quantizers see no file."""
    forbidden = {
        "bitstream": {"numpy", "torch", "av", "constriction", "safetensors"},
        "media": {"torch", "constriction", "safetensors"},
        "errors": {"numpy", "torch", "av"},
        "registry": {"numpy", "torch", "av"},
        "backbones": {"av", "constriction", "safetensors"},
        "quantizers": {"av", "constriction", "safetensors"},
    }
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text())):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module]
            roots = {name.split(".")[0] for name in names}
            assert not roots & forbidden.get(unit(path), set()), f"{path}: {roots}"


def test_files_stay_small() -> None:
    """No file is over 500 lines, and none is named utils.py."""
    for path in modules():
        assert len(path.read_text().splitlines()) <= 500, path
        assert path.name not in ("utils.py", "helpers.py", "common.py"), path


def test_the_command_modules_load_light() -> None:
    """At their top, the files of cli/ import nothing heavier than typer; functions import what is heavy."""
    light = {"errors", "cli", "bitstream", "starting"}
    for path in sorted((PACKAGE / "cli").glob("*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("vcodec"):
                named = [alias.name for alias in node.names]
                units = named if node.module == "vcodec" else [node.module.split(".")[1]]
                assert set(units) <= light | {"__version__"}, f"{path}:{node.lineno}"
