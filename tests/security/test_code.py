"""What the code must not do: shells with strings, code from data, temporary files with predictable names."""

import ast
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(path for directory in ("pneumo", "job", "docker") for path in (ROOT / directory).rglob("*.py"))
FORBIDDEN = {
    *("os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput", "commands.getoutput", "pty.spawn"),
    *("eval", "exec", "__import__", "compile"),
    *("pickle.load", "pickle.loads", "pickle.Unpickler", "marshal.loads", "shelve.open", "joblib.load", "yaml.load"),
    *("tempfile.mktemp", "torch.hub.load", "torch.jit.load", "runpy.run_path"),
}


def name_of(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{name_of(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def words_of(node: ast.AST) -> list[str]:
    """Return the words of a command line that are in the source, "" for others."""
    parts = node.args if isinstance(node, ast.Call) else node.elts if isinstance(node, ast.List | ast.Tuple) else []
    return [name_of(part) or (str(part.value) if isinstance(part, ast.Constant) else "") for part in parts]


def violations(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        words = words_of(node)
        if ("sys.executable", "-m") in pairwise(words) or ("sys.executable", "-c") in pairwise(words):
            yield f"line {node.lineno}: Python without -P, which imports from the current directory"  # type: ignore[attr-defined]
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if f"{node.module}.{alias.name}" in FORBIDDEN:
                    yield f"line {node.lineno}: imports {node.module}.{alias.name}"
        if not isinstance(node, ast.Call):
            continue
        called, keywords = name_of(node.func), {word.arg: word.value for word in node.keywords}
        if called in FORBIDDEN:
            yield f"line {node.lineno}: {called}"
        if "shell" in keywords and ast.unparse(keywords["shell"]) != "False":
            yield f"line {node.lineno}: shell"
        if "allow_pickle" in keywords and ast.unparse(keywords["allow_pickle"]) != "False":
            yield f"line {node.lineno}: allow_pickle"
        if called == "torch.load" and ast.unparse(keywords.get("weights_only", ast.Constant(None))) != "True":
            yield f"line {node.lineno}: torch.load without weights_only"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_shell_no_code_from_data_no_predictable_names(path: Path) -> None:
    assert list(violations(path.read_text())) == []


@pytest.mark.parametrize(
    "source",
    [
        "os.system(f'rm {x}')",
        "subprocess.run(x, shell=True)",
        "subprocess.run([sys.executable, '-m', 'venv'])",
        "run(sys.executable, '-c', x)",
        "subprocess.run(x, shell=y)",
        "from os import popen",
        "eval(x)",
        "torch.load(x)",
        "torch.load(x, weights_only=False)",
        "np.load(x, allow_pickle=True)",
        "pickle.loads(x)",
        "tempfile.mktemp()",
    ],
)
def test_each_violation_is_found(source: str) -> None:
    assert list(violations(source))


def test_all_of_the_code_is_checked() -> None:
    count: Callable[[str], int] = lambda directory: sum(path.is_relative_to(ROOT / directory) for path in SOURCES)  # noqa: E731
    assert count("pneumo") > 90
    assert count("job") >= 7
