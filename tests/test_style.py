"""House rules that no linter knows: docstrings of modules and tests, names, sizes, paths.

A rule stands here only when breaking it has a cost for the next reader; CONTRIBUTING.md tells them in prose.
"""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("configs", "engines", "pipeline", "tests")
MODULES = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
MODULES += [ROOT / "run_stream.py"]
TEXTS = sorted(
    path
    for pattern in ("*.md", "*.toml", "NOTICE", "Makefile", ".ci/*", "configs/**/*.yaml", "engines/zoo/**/*.*")
    for path in ROOT.glob(pattern)
    if path.is_file() and path.suffix not in {".onnx", ".png", ".jpg"}
)

MOST_LINES = 400
"""Aim at 60 to 250; a module of more than this has a second reason to change and becomes a folder."""

EMPTY_NAMES = re.compile(r"(?:^|_)(?:utils?|helpers?|managers?|common|misc)(?:$|_)")
"""Names that say nothing of what is inside."""

HOMES = re.compile(r"/(?:home|Users|[r]oot)/[\w.-]+")
"""A folder of the machine where something was written; it exists nowhere else."""


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=_name(path))


def _functions(tree: ast.Module) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def test_every_module_says_what_lives_in_it() -> None:
    """A module opens with a docstring, unless it is an empty `__init__.py`."""
    silent = [_name(path) for path in MODULES if _tree(path).body and not ast.get_docstring(_tree(path))]

    assert not silent


def test_every_module_is_short_enough_to_read() -> None:
    """No file has more lines than can be held in mind; split it where its second idea begins."""
    n_lines = {_name(path): len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}

    assert {name: n for name, n in n_lines.items() if n > MOST_LINES} == {}


def test_names_say_what_they_name() -> None:
    """No module, class or function is called utils, helper, manager or common."""
    empty = []
    for path in MODULES:
        classes = [node.name for node in ast.walk(_tree(path)) if isinstance(node, ast.ClassDef)]
        for name in [path.stem, *classes, *(function.name for function in _functions(_tree(path)))]:
            words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
            if EMPTY_NAMES.search(words):
                empty.append(f"{_name(path)}: {name}")

    assert not empty


def test_every_test_states_a_behaviour() -> None:
    """A test has a docstring of one sentence: what is true when it passes."""
    silent = [
        f"{_name(path)}: {function.name}"
        for path in MODULES
        if path.name.startswith("test_")
        for function in _functions(_tree(path))
        if function.name.startswith("test_") and not ast.get_docstring(function)
    ]

    assert not silent


def test_no_path_of_one_machine_is_written_down() -> None:
    """A home folder in code, config or prose works on one machine only."""
    found = [
        f"{_name(path)}:{number}: {match[0]}"
        for path in [*MODULES, *TEXTS]
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if (match := HOMES.search(line))
    ]

    assert not found


def test_no_module_is_named_after_a_dependency() -> None:
    """`import av` must find the library, whatever folder a script is started from."""
    dependencies = {"aiohttp", "av", "click", "cv2", "numpy", "onnx", "onnxruntime", "openvino", "torch", "yaml", "zmq"}

    clashes = [_name(path) for path in MODULES if path.stem in dependencies]

    assert not clashes
