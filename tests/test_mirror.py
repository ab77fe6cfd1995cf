"""The rule of where tests are: those of ``pneumo/PACKAGE/MODULE.py`` are in ``tests/PACKAGE/test_MODULE.py``.

pytest wants different names for all test files, so the directory may come before the module's name:
``tests/dicom/encodings/test_encoding_rle.py``.
"""

from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WITHOUT_TESTS = {
    **dict.fromkeys(
        (
            f"bench/{name}.py"
            for name in (
                *("copy", "infer_memory", "load", "machine", "predict", "plan", "ranks", "save"),
                *("shard_command", "start", "train", "verify"),
            )
        ),
        "tests/bench/test_bench_command.py runs each through the command",
    ),
    "dataset/paths.py": "names alone",
    "inference/config.py": "fields and names alone",
    "loading/kind.py": "names alone",
    "modeling/config.py": "fields alone, which tests/job/test_job_refusals.py tries as flags",
    "modeling/losses/inputs.py": "what the terms are computed from, which the tests of each use",
    "synthetic/tree.py": "paths alone",
    "dicom/encodings/encoding.py": "the type of an encoding, which the tests of each use",
    "modeling/losses/term.py": "the type of a term, which the tests of each use",
    "reporting/outputs/context.py": "what the tests of each output use",
    "reporting/report/facts.py": "data alone",
    "runtime/ranges.py": "ranges alone, which tests/job/test_job_refusals.py tries at every flag",
    "training/pseudo_label_config.py": "fields alone; tests/training/test_pseudo_labels.py labels by them",
    "training/consistency_config.py": "fields alone; tests/training/test_consistency.py learns by them",
    "training/fold_data.py": "two selections of rows, which tests/training/test_loop.py trains on",
    "training/fold_validation.py": "tests/training/test_loop.py validates with it, test_resuming.py stops and resumes",
    "training/variant_runs.py": "what is put together; tests/job/test_job_compare.py runs it through the command",
    "training/recipes.py": "values alone; tests/training/test_cross_validation.py trains each",
}
"""Modules without a test file of their own, and why."""


def untested(root: Path) -> Iterator[str]:
    """Yield the modules of pneumo/ without a test file at the mirrored place."""
    for path in sorted((root / "pneumo").rglob("*.py")):
        module = path.relative_to(root / "pneumo")
        directory = module.parent.name
        names = (module.stem, f"{directory}_{module.stem}", f"{directory.removesuffix('s')}_{module.stem}")
        tests = (root / "tests" / module.parent / f"test_{name}.py" for name in names)
        if module.name != "__init__.py" and not any(test.is_file() for test in tests):
            yield module.as_posix()


def test_each_module_has_its_test_file_or_a_reason() -> None:
    assert set(untested(ROOT)) == set(WITHOUT_TESTS)


def test_a_module_without_a_test_file_is_found(tmp_path: Path) -> None:
    modules = ("masks/rle", "masks/metric", "dicom/encodings/rle", "dicom/encodings/native", "dicom/__init__")
    tests = ("masks/test_rle", "dicom/encodings/test_encoding_rle", "dicom/test_native")
    for name in (*(f"pneumo/{module}.py" for module in modules), *(f"tests/{test}.py" for test in tests)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert list(untested(tmp_path)) == ["dicom/encodings/native.py", "masks/metric.py"]
