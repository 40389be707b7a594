"""The files in docker/, checked as far as that goes without a docker engine."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "docker" / "compose.yml"
DOCKERFILE = ROOT / "docker" / "Dockerfile"
UNTRIED = "not run"
Instruction = tuple[str, str]


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """Give compose.yml as YAML says it is."""
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    parsed = yaml.safe_load(COMPOSE.read_text("utf-8"))
    assert isinstance(parsed, dict)
    return parsed


@pytest.fixture(scope="module")
def instructions() -> list[Instruction]:
    """Give the instructions of the Dockerfile, each on one line and without comments."""
    lines = [line for line in DOCKERFILE.read_text("utf-8").splitlines() if not line.lstrip().startswith("#")]
    text = "\n".join(lines).replace("\\\n", " ")
    found = [line.split(maxsplit=1) for line in text.splitlines() if line.strip()]
    return [(name, " ".join(rest.split())) for name, rest in found]


def of(instructions: list[Instruction], name: str) -> list[str]:
    return [rest for found, rest in instructions if found == name]


def last_stage(instructions: list[Instruction]) -> list[Instruction]:
    start = max(index for index, (name, _) in enumerate(instructions) if name == "FROM")
    return instructions[start:]


@pytest.mark.parametrize("path", [COMPOSE, DOCKERFILE], ids=lambda path: path.name)
def test_the_first_line_says_what_was_tried(path: Path) -> None:
    """Nobody ran these files, and a reader learns it before anything else."""
    first = path.read_text("utf-8").splitlines()[0]
    assert first.startswith("#")
    assert UNTRIED in first


def test_compose_has_both_servers_in_the_versions_we_name(compose: dict[str, Any]) -> None:
    """PostgreSQL 18 and MongoDB 8, by their official images, and never the newest whatever it is."""
    images = {name: each["image"] for name, each in compose["services"].items()}
    assert set(images) == {"postgres", "mongo"}
    assert re.fullmatch(r"postgres:18(\.\d+)?", images["postgres"])
    assert re.fullmatch(r"mongo:8(\.\d+)*", images["mongo"])


def test_compose_opens_ports_on_loopback_only(compose: dict[str, Any]) -> None:
    """A published port without an address is open to the network, past the host's own firewall."""
    for name, each in compose["services"].items():
        assert each["ports"], name
        assert all(port.startswith("127.0.0.1:") for port in each["ports"]), name
        assert each.get("network_mode") != "host"


def test_compose_keeps_everything_in_named_volumes(compose: dict[str, Any]) -> None:
    """What a server writes is in a volume with a name, at the place where this version of the image looks for it."""
    mounts = {
        name: dict(mount.split(":", 1) for mount in each["volumes"]) for name, each in compose["services"].items()
    }
    assert {volume for each in mounts.values() for volume in each} == set(compose["volumes"])
    assert mounts["postgres"]["postgres"] == "/var/lib/postgresql"
    assert mounts["mongo"]["mongo"] == "/data/db"


def test_compose_holds_no_password(compose: dict[str, Any]) -> None:
    """A password comes from the environment; the default is good for development and says so."""
    for name, each in compose["services"].items():
        secrets = {key: value for key, value in each["environment"].items() if key.endswith("PASSWORD")}
        assert secrets, name
        assert all(re.fullmatch(r"\$\{[A-Z_]+:-development\}", value) for value in secrets.values()), name
        assert "PASSWORD:-" not in json.dumps([each.get("command"), each["healthcheck"]])


def test_compose_waits_for_servers_that_can_be_used(compose: dict[str, Any]) -> None:
    """PostgreSQL is asked by TCP, and MongoDB whether it takes writes, after the set was initiated where it was not."""
    checks = {name: each["healthcheck"] for name, each in compose["services"].items()}
    for name, check in checks.items():
        assert check["test"][0] == "CMD", name
        assert {"interval", "timeout", "retries", "start_period"} <= check.keys(), name
    assert checks["postgres"]["test"][1] == "pg_isready"
    assert "--host=127.0.0.1" in checks["postgres"]["test"]
    question = checks["mongo"]["test"][-1]
    assert question.index("rs.status()") < question.index("rs.initiate(") < question.index("isWritablePrimary")
    assert '_id: "rs0"' in question
    command = compose["services"]["mongo"]["command"]
    assert command[command.index("--replSet") + 1] == "rs0"
    assert command[command.index("--keyFile") + 1] in compose["services"]["mongo"]["entrypoint"][2]


def test_the_commands_inside_compose_can_be_read(compose: dict[str, Any]) -> None:
    """Bash and node, where they are here, find no error of syntax in what stands inside the YAML."""
    mongo = compose["services"]["mongo"]
    tried = [(["bash", "-n"], mongo["entrypoint"][2]), (["node", "--check"], mongo["healthcheck"]["test"][-1])]
    for command, text in tried:
        if shutil.which(command[0]):
            done = subprocess.run(command, check=False, input=text.replace("$$", "$"), capture_output=True, text=True)
            assert done.returncode == 0, done.stderr


def test_dockerfile_names_its_base_images_by_version(instructions: list[Instruction]) -> None:
    """Two stages on the same slim Python, with a version and not with whatever is newest."""
    images = of(instructions, "FROM")
    assert len(images) > 1
    assert {image.split()[0] for image in images} == {"python:3.13-slim"}


def test_dockerfile_copies_what_is_there(instructions: list[Instruction]) -> None:
    """Every source of a COPY exists, reaches the build past .dockerignore, and includes what the wheel is made of."""
    kept = re.findall(r"^!(\S+?)/?$", (ROOT / ".dockerignore").read_text("utf-8"), re.MULTILINE)
    sources = [
        source.rstrip("/")
        for rest in of(instructions, "COPY")
        if not rest.startswith("--from=")
        for source in rest.split()[:-1]
    ]
    assert {"pyproject.toml", "README.md", "migrator"} <= set(sources)
    for source in sources:
        assert (ROOT / source).exists(), source
        assert source in kept, source


def test_dockerfile_runs_the_command_as_nobody_in_particular(instructions: list[Instruction]) -> None:
    """The last stage ends as a user with a number that is not root, before the entry point, and in the project."""
    stage = last_stage(instructions)
    names = [name for name, _ in stage]
    assert names.index("USER") < names.index("ENTRYPOINT")
    [user] = of(stage, "USER")
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    assert of(stage, "ENTRYPOINT") == ['["migrator"]']
    assert of(stage, "WORKDIR") == ["/project"]


def test_dockerfile_leaves_nothing_behind(instructions: list[Instruction]) -> None:
    """No cache of pip in a layer, no pip in the image, and byte code that is made once and not at every start."""
    runs = of(instructions, "RUN")
    for run in runs:
        for part in run.split("&&"):
            if re.search(r"\bpip\b.*\b(install|wheel|download)\b", part):
                assert "--no-cache-dir" in part, part
    assert any("--without-pip" in run for run in runs)
    assert any("compileall" in run for run in runs)
    assert not any("pip" in rest for _, rest in last_stage(instructions))
    assert not re.search(r"\b(ADD|curl|wget|sudo)\b", "\n".join(runs))


def test_dockerfile_installs_the_wheel_and_nobody_elses_package(instructions: list[Instruction]) -> None:
    """The name `migrator` on the package index is somebody else's: what is installed is the wheel built here."""
    text = "\n".join(of(instructions, "RUN"))
    assert "polymigrator-*.whl)[postgres,mongo,web,metrics]" in text
    assert not re.search(r"install[^&]*\smigrator\b", text)
