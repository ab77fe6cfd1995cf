"""Run many command lines of job/ one after another in this process: importing torch for each would take minutes.

Reads a list of [command, words] as JSON and writes a list of [exit code, standard output, standard error].
"""

import contextlib
import io
import json
import runpy
import signal
import sys
from pathlib import Path

JOB = Path(__file__).resolve().parents[2] / "job"


def call(command: str, words: list[str]) -> tuple[object, str, str]:
    """Run the command's file as Python does when it is started by its name."""
    sys.argv = [f"job/{command}.py", *words]
    # With an encoding, as a file has it: the parser draws its boxes according to it.
    out, errors = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    code: object = None
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        try:
            runpy.run_path(str(JOB / f"{command}.py"), run_name="__main__")
        except SystemExit as ended:
            code = ended.code
    return code, *(stream.buffer.getvalue().decode() for stream in (out, errors))


if __name__ == "__main__":
    results = []
    for command, words in json.load(sys.stdin):
        results.append(call(command, words))
        # job/train.py catches it to save its state.
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    json.dump(results, sys.stdout)
