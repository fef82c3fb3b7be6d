"""focus-validator 1.0.0, a third party's, over a projection of our rows: focus_validator.py ENVIRONMENT FILE...

It lives in an environment of its own, because it wants old versions of numpy and pandas; the environment is made in the
folder that the first argument names. Two more facts of it: it opens a file of its own relative to where it runs, and
its exit status is 0 even where it fails, so its text is what counts.
"""

import subprocess
import sys
import tempfile
import venv
from pathlib import Path

PACKAGES = ("focus-validator==1.0.0", "multimethod<1.12")  # with a newer multimethod it does not start
SUCCEEDED = "Validation succeeded."

# They demand names that FOCUS 1.0 does not have, or read a column that it removed.
WRONG_RULES = """\
overrides:
  - InvoiceIssuer_Required
  - Provider_Required
  - Publisher_Required
  - ResourceID_Required
  - SkuPriceId_Nullable
"""


class NotInstallable(RuntimeError):
    """The environment cannot be made here; the message is pip's last line."""


def install(folder: Path) -> Path:
    """The environment's Python, made where it is missing; raises NotInstallable."""
    python = folder / "bin" / "python"
    if not (folder / "bin" / "focus-validator").exists():
        venv.create(folder, with_pip=True)
        command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PACKAGES]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
        if done.returncode:
            raise NotInstallable((done.stderr.strip().splitlines() or ["pip failed"])[-1])
    return python


def validate(python: Path, file: Path) -> str:
    """What the validator says of a file of FOCUS 1.0."""
    where = "import focus_validator, pathlib; print(pathlib.Path(focus_validator.__file__).parent.parent)"
    home = subprocess.run([str(python), "-c", where], check=True, capture_output=True, text=True).stdout.strip()
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as rules:
        rules.write(WRONG_RULES)
        rules.flush()
        program = str(python.with_name("focus-validator"))
        flags = ["--validate-version", "1.0", "--data-file", str(file.resolve()), "--override-file", rules.name]
        done = subprocess.run([program, *flags], cwd=home, capture_output=True, text=True, timeout=300, check=False)
    return done.stdout + done.stderr


def main() -> None:
    """Validate files: focus_validator.py ENVIRONMENT FILE..."""
    python = install(Path(sys.argv[1]))
    for file in map(Path, sys.argv[2:]):
        said = validate(python, file)
        if SUCCEEDED not in said:
            sys.exit(f"{file}: {said}")
        sys.stdout.write(f"{file}: {SUCCEEDED}\n")


if __name__ == "__main__":
    main()
