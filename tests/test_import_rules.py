"""The import rules of the package: downward only, no circle, and one package alone knows where the job runs.

Every import counts, also one inside a function or under ``TYPE_CHECKING``.
"""

import ast
import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LAYERS = {
    "runtime": 0,
    "masks": 1,
    "distributed": 1,
    "dicom": 2,
    "dataset": 3,
    "synthetic": 4,
    "loading": 4,
    "modeling": 4,
    "inference": 5,
    "reporting": 6,
    "training": 7,
    "bench": 8,
}
"""A package imports from itself and from packages with a smaller number."""
USERS = {
    "synthetic": {"bench", "job/demo.py"},
    "distributed": {"loading", "inference", "training", "bench", "job"},
    "reporting": {"training", "bench", "job"},
    "bench": {"job/bench.py"},
}
"""Who else may import these packages; tests may import everything."""
LAUNCH_VARIABLE = re.compile(
    r"\b(RANK|LOCAL_RANK|GROUP_RANK|WORLD_SIZE|LOCAL_WORLD_SIZE|MASTER_ADDR|MASTER_PORT|JOB_COMPLETION_INDEX|SLURM_\w+)\b"
)
LOOSE = {"__init__.py", "README.md", "py.typed"}
"""All that is directly under pneumo/ beside the packages."""


def sources(root: Path) -> list[Path]:
    return sorted(path for directory in ("pneumo", "job") for path in (root / directory).rglob("*.py"))


def name_of(path: Path, root: Path) -> str:
    """Return the dotted name of a module, which of a package is the directory's."""
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def package_of(module: str) -> str:
    """Return "dicom" of "pneumo.dicom.reader", "" of "pneumo" itself and "job" of a command."""
    first, _, rest = module.partition(".")
    return first if first != "pneumo" else rest.partition(".")[0]


def imported(tree: ast.Module, modules: set[str]) -> Iterator[str]:
    """Yield the modules of the package that a module imports, as far down as a name is a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.partition(".")[0] == "pneumo")
        elif isinstance(node, ast.ImportFrom) and node.level:
            yield "." * node.level + (node.module or "")
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] == "pneumo":
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in modules else node.module
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            yield from by_name(node.args[0])


def by_name(argument: ast.expr) -> Iterator[str]:
    """Yield what ``import_module`` imports; of an f-string the package that it begins with."""
    first = argument.values[0] if isinstance(argument, ast.JoinedStr) else argument
    if not isinstance(first, ast.Constant):
        yield "a computed name"
    elif str(first.value).partition(".")[0] == "pneumo":
        yield str(first.value).rstrip(".")


def graph(root: Path) -> dict[str, set[str]]:
    """Return what each module of pneumo/ and job/ imports of the package."""
    files = {name_of(path, root): path for path in sources(root)}
    return {name: set(imported(ast.parse(path.read_text()), set(files))) for name, path in files.items()}


def upward(imports: dict[str, set[str]]) -> Iterator[str]:
    for module, targets in imports.items():
        own = package_of(module)
        for target in sorted(targets):
            other = package_of(target)
            if not target.startswith("pneumo"):
                yield f"{module} imports {target}, which is no absolute name of a module"
            elif not other or other == own:
                continue
            elif other not in LAYERS or (own != "job" and own not in LAYERS):
                yield f"{module} imports {target}, and one of the two packages has no layer"
            elif own != "job" and LAYERS[other] >= LAYERS[own]:
                yield f"{module} imports {target}, which is not below it"
            elif not {own, module.replace(".", "/") + ".py"} & USERS.get(other, {own}):
                yield f"{module} imports {target}, which only {sorted(USERS[other])} may do"


def circle(imports: dict[str, set[str]]) -> list[str]:
    """Return the modules of a circle of imports, none when there is no circle."""
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        found: list[str] = error.args[1]
        return found
    return []


def launch_variables(root: Path) -> Iterator[str]:
    """Yield every string outside of pneumo/distributed that names a variable of a launcher; docstrings may."""
    for path in sources(root):
        if path.is_relative_to(root / "pneumo" / "distributed"):
            continue
        tree = ast.parse(path.read_text())
        docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
                yield from (
                    f"{path.relative_to(root)}:{node.lineno} {name}" for name in LAUNCH_VARIABLE.findall(node.value)
                )


def loose(root: Path) -> set[str]:
    return {path.name for path in (root / "pneumo").iterdir() if path.is_file()} - LOOSE


def test_imports_go_downward_only() -> None:
    assert list(upward(graph(ROOT))) == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert circle(graph(ROOT)) == []


def test_distributed_alone_knows_the_variables_of_launchers() -> None:
    assert list(launch_variables(ROOT)) == []


def test_nothing_is_loose_under_the_package() -> None:
    assert loose(ROOT) == set()
    directories = {path.name for path in (ROOT / "pneumo").iterdir() if any(path.glob("*.py"))}
    assert directories == set(LAYERS)


def test_every_module_is_read() -> None:
    imports = graph(ROOT)
    assert len(imports) > 90
    assert sum(map(len, imports.values())) > 300
    assert "pneumo.reporting.held_out_images" in imports["pneumo.training.loop"]


@pytest.mark.parametrize(
    ("module", "code", "message"),
    [
        ("pneumo/runtime/a.py", "from pneumo.masks import rle", "which is not below it"),
        ("pneumo/dicom/a.py", "def f():\n    from pneumo.dataset.table import SampleTable", "which is not below it"),
        ("pneumo/loading/a.py", "import pneumo.modeling.losses", "which is not below it"),
        ("pneumo/modeling/a.py", "if TYPE_CHECKING:\n    from pneumo.inference import predictor", "not below it"),
        ("pneumo/inference/a.py", "import importlib\nimportlib.import_module('pneumo.training.loop')", "not below it"),
        ("pneumo/dataset/a.py", "from pneumo.distributed import world", "only ['bench', 'inference', 'job', 'loading'"),
        ("pneumo/dataset/a.py", "from pneumo.synthetic import phantom", "which is not below it"),
        ("pneumo/training/a.py", "from pneumo.synthetic import phantom", "only ['bench', 'job/demo.py'] may do"),
        ("job/train.py", "from pneumo.synthetic import phantom", "only ['bench', 'job/demo.py'] may do"),
        ("pneumo/training/a.py", "from . import loop", "no absolute name"),
        ("pneumo/extra/a.py", "from pneumo.runtime import errors", "has no layer"),
        ("pneumo/training/a.py", "import importlib\nimportlib.import_module(name)", "a computed name"),
        (
            "pneumo/training/a.py",
            "from importlib import import_module\nimport_module(f'pneumo.bench.{x}')",
            "not below",
        ),
    ],
)
def test_an_import_against_the_rules_is_found(tmp_path: Path, module: str, code: str, message: str) -> None:
    plant(tmp_path, module, code)
    (found,) = upward(graph(tmp_path))
    assert message in found


@pytest.mark.parametrize(
    ("module", "code"),
    [
        ("job/demo.py", "from pneumo.synthetic import phantom"),
        ("pneumo/bench/a.py", "from pneumo.synthetic import phantom\nfrom pneumo.distributed import world"),
        ("pneumo/training/a.py", "from pneumo import __version__\nfrom pneumo.reporting import overlays\nimport torch"),
    ],
)
def test_an_import_within_the_rules_is_not(tmp_path: Path, module: str, code: str) -> None:
    plant(tmp_path, module, code)
    assert list(upward(graph(tmp_path))) == []


def test_a_circle_is_found(tmp_path: Path) -> None:
    plant(tmp_path, "pneumo/loading/a.py", "from pneumo.loading.b import B")
    plant(tmp_path, "pneumo/loading/b.py", "from pneumo.loading import c")
    plant(tmp_path, "pneumo/loading/c.py", "def f():\n    from pneumo.loading.a import A")
    assert set(circle(graph(tmp_path))) == {f"pneumo.loading.{name}" for name in "abc"}


@pytest.mark.parametrize("code", ['os.environ["RANK"]', 'os.environ.get(f"SLURM_JOB_ID")', 'x = "unset WORLD_SIZE"'])
def test_a_launch_variable_is_found(tmp_path: Path, code: str) -> None:
    plant(tmp_path, "job/a.py", f'"""May name RANK."""\n{code}')
    plant(tmp_path, "pneumo/distributed/a.py", code)
    assert len(list(launch_variables(tmp_path))) == 1


def test_a_loose_module_is_found(tmp_path: Path) -> None:
    plant(tmp_path, "pneumo/helpers.py", "")
    assert loose(tmp_path) == {"helpers.py"}


def plant(root: Path, module: str, code: str) -> None:
    path = root / module
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(code + "\n")
