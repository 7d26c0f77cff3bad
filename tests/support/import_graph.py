"""What a module of this checkout imports, read from its source and not run; imports for types alone do not count."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

PROJECT = Path(__file__).parents[2]
SCRIPTS = PROJECT / "scripts"


def package_modules(root: Path = SCRIPTS) -> dict[str, Path]:
    """Return the file of each module of the package `crosstrain`, and of each command beside it, by its dotted name."""
    files = [*root.glob("*.py"), *root.glob("crosstrain/**/*.py")]
    return {_name(path.relative_to(root)): path for path in files}


def imports(path: Path) -> set[str]:
    """Return the dotted names of what a file imports, wherever in it; `from a import b` gives both `a` and `a.b`."""
    return set(_imports(ast.parse(path.read_text(encoding="utf-8")).body))


def closure(names: Iterable[str], modules: dict[str, Path]) -> set[str]:
    """Return all that is imported when modules are: the package's own by their names, others as they are written."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        if name in modules:
            waiting += imports(modules[name])
            # Importing a module imports the packages that it is in.
            waiting += [name.rpartition(".")[0]] if "." in name else []
    return found


def _imports(nodes: Iterable[ast.AST]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            yield from _imports(node.orelse)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "an import is relative"
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        else:
            yield from _imports(ast.iter_child_nodes(node))


def _name(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")
