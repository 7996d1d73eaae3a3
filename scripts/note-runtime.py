"""Notes the folder of ONNX Runtime in the user's face.toml, leaving every other line of it as it is.

usage: note-runtime.py FACE_TOML RUNTIME_FOLDER [FORMER_FOLDER]

A setting that names something that exists is the user's choice and stays, but for FORMER_FOLDER, which the new one replaces.
"""

import os
import re
import sys
import tempfile
import tomllib

KEY = "runtime-library"


def toml_string(text):
    escaped = "".join(
        {"\\": "\\\\", '"': '\\"'}.get(c, c if c.isprintable() else f"\\U{ord(c):08x}") for c in text
    )
    return f'"{escaped}"'


def with_runtime(text, folder):
    """The same document with the key set, as a line before the first table."""
    line = f"{KEY} = {toml_string(folder)}\n"
    if KEY not in tomllib.loads(text):
        return line + text
    return re.sub(rf"^[ \t]*[\"']?{KEY}[\"']?[ \t]*=.*\n?", lambda _: line, text, count=1, flags=re.MULTILINE)


def main():
    config, folder, *former = sys.argv[1:]
    config = os.path.realpath(config)  # a link to a file kept elsewhere stays a link
    text, mode = "", 0o644
    try:
        if os.path.exists(config):
            with open(config, encoding="utf-8", newline="") as file:
                text = file.read()
            mode = os.stat(config).st_mode & 0o777
        before = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        sys.exit(f"error: read '{config}': {error}; correct it or remove it, then run setup again")

    present = before.get(KEY)
    if present == folder:
        return
    if isinstance(present, str) and present not in former and os.path.exists(os.path.expanduser(present)):
        print(f"{config} names another runtime, which stays: {present}")
        return

    after = with_runtime(text, folder)
    if tomllib.loads(after) != before | {KEY: folder}:
        sys.exit(f"error: edit '{config}': set {KEY} = {toml_string(folder)} there by hand")
    os.makedirs(os.path.dirname(config), exist_ok=True)
    handle, partial = tempfile.mkstemp(prefix=".face.toml.", dir=os.path.dirname(config))
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            file.write(after)
        os.chmod(partial, mode)
        os.replace(partial, config)
    except BaseException:
        os.unlink(partial)
        raise
    print(f"noted in {config}")


main()
