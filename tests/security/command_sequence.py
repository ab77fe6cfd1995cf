"""Run commands of job/ one after another in this process: importing torch for each would take seconds.

Reads a list of command lines as JSON, and writes a list of [exit code, output], also of what native code printed.
"""

import json
import os
import runpy
import sys


def call(words: list[str], output: int) -> object:
    """Run a command's file as Python does when it is started by its name, with its output in a file descriptor."""
    sys.argv = words
    saved = os.dup(1), os.dup(2)
    for standard in (1, 2):
        os.dup2(output, standard)
    try:
        runpy.run_path(words[0], run_name="__main__")
        return 0
    except SystemExit as ended:
        return ended.code
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for standard, descriptor in zip((1, 2), saved, strict=True):
            os.dup2(descriptor, standard)


if __name__ == "__main__":
    commands = json.load(sys.stdin)
    outputs = [os.memfd_create("output") for _ in commands]
    codes = list(map(call, commands, outputs))
    # Only now: worker processes of the first command may work, and print, for a later one.
    texts = [os.pread(output, os.fstat(output).st_size, 0).decode() for output in outputs]
    json.dump(list(zip(codes, texts, strict=True)), sys.stdout)
