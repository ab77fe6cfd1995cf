"""The pages with their code blocks, and the commands that they give; those in the docstrings of job/*.py count too."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted(
    path
    for pattern in ("*.md", "job/*.md", "docker/*.md", "slurm/*.md", "k8s/*.md", "pneumo/**/*.md")
    for path in ROOT.glob(pattern)
)
CHANGELOG = ROOT / "CHANGELOG.md"
"""Names what is gone, too."""
_COMMAND = r"(?:\w+=\S+ )*(?:\./|\.venv/|python|bash|sudo|accelerate|torchrun|slurm/|sbatch|kubectl|kind)"
_SCRIPT = r"(?:job/\w+\.py|launch\.sh|slurm/\w+\.sh|k8s/)"


def blocks(page: Path | str, language: str) -> list[tuple[int, str]]:
    """Return the code blocks of a page's language, or of a part of it, each with the number of its first line."""
    text = page if isinstance(page, str) else page.read_text()
    found = re.finditer(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [(text[: match.start(1)].count("\n") + 1, match[1]) for match in found]


def commands(page: Path) -> list[str]:
    """Return the command lines of a page, without comments, one line each."""
    return _lines("\n".join(block for _, block in blocks(page, "bash")))


def all_blocks() -> list[tuple[str, str]]:
    """Return each block of commands with its name, ``page:line``; those in the docstrings of job/*.py count too."""
    found = []
    for path in PAGES:
        name = path.relative_to(ROOT)
        found += [(f"{name}:{number}", block) for number, block in blocks(path, "bash") if path != CHANGELOG]
    for path in sorted((ROOT / "job").glob("*.py")):
        lines = (ast.get_docstring(ast.parse(path.read_text())) or "").splitlines()
        for number, line in enumerate(lines, 1):
            if re.match(rf"    {_COMMAND}.*{_SCRIPT}", line):
                found.append((f"job/{path.name}:{number}", f"{line.strip()}\n"))
    return found


def all_commands() -> list[tuple[str, str]]:
    """Return each page with each of its commands: of its code blocks, and within its sentences if it has a script."""
    found = []
    for path in PAGES:
        if path != CHANGELOG:
            inline = re.findall(rf"`({_COMMAND}[^`\n]*{_SCRIPT}[^`\n]*|{_SCRIPT} [^`\n]+)`", path.read_text())
            found += [(str(path.relative_to(ROOT)), line) for line in (*commands(path), *inline) if " " in line]
    for path in sorted((ROOT / "job").glob("*.py")):
        docstring = ast.get_docstring(ast.parse(path.read_text())) or ""
        lines = [part.strip() for line in _lines(docstring) for part in line.split(" or ")]
        found += [(f"job/{path.name}", line) for line in lines if re.match(rf"{_COMMAND}.*{_SCRIPT}", line)]
    return list(dict.fromkeys(found))


def _lines(text: str) -> list[str]:
    lines = (re.sub(r"(^|\s)#.*", "", line).strip() for line in text.replace("\\\n", " ").splitlines())
    return [" ".join(line.split()) for line in lines if line]
