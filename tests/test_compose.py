"""What docker-compose.yml, the Dockerfile and nginx.conf promise, as far as a machine without Docker can tell."""

import json
import os
import re
import socket
import subprocess
import sys
import tomllib
from importlib.metadata import requires, version
from ipaddress import IPv4Network, ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
import yaml

from core.settings import Settings, load_settings

REPOSITORY = Path(__file__).parents[1]
COMPOSE = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
EXAMPLE = (REPOSITORY / ".env.example").read_text(encoding="utf-8")
DOCKERFILE = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8")
NGINX = re.sub(r"#.*", "", (REPOSITORY / "deploy" / "nginx.conf").read_text(encoding="utf-8"))
VARIABLE = re.compile(r"\$\{(\w+)[^}]*\}")
DEFAULT = re.compile(r"\$\{(\w+)(?::-|:\+.*)([^}]*)\}")  # where .env gives nothing
INSTANCES = ("web1", "web2", "web3")
OURS = (*INSTANCES, "migrate")
FIELDS = {name.upper(): field for name, field in Settings.model_fields.items()}
SUBNET = ip_network(COMPOSE["networks"]["default"]["ipam"]["config"][0]["subnet"])


def example(commented: bool) -> dict[str, str]:
    """The variables of .env.example: those to be filled in, or those that are as shipped."""
    return dict(re.findall(r"^# (\w+)=(.*)$" if commented else r"^(\w+)=(.*)$", EXAMPLE, re.MULTILINE))


def variables(part: object) -> set[str]:
    """What a part of the file takes from .env: by ${NAME}, or by a name without a value."""
    match part:
        case str():
            return set(VARIABLE.findall(part))
        case dict():
            bare = set(part.get("environment") or {}) if isinstance(part.get("environment"), dict) else set()
            given = {name for name in bare if part["environment"][name] is None}
            return given.union(*(variables(value) for value in part.values()))
        case list():
            return set().union(*(variables(value) for value in part))
        case _:
            return set()


def make_secrets(folder: Path, **given: str) -> dict[str, str]:
    """What is in a folder of secrets after another start, with these in .env."""
    script = REPOSITORY / "deploy" / "secrets.sh"
    environment = {"PATH": os.environ["PATH"]} | given
    made = subprocess.run(["sh", script, folder], env=environment, capture_output=True, check=True)
    assert made.stdout + made.stderr == b""
    return {path.name: path.read_text(encoding="utf-8").removesuffix("\n") for path in folder.iterdir()}


def directives(name: str, text: str = NGINX) -> list[str]:
    """The values of a directive in nginx.conf."""
    return re.findall(rf"^\s*{name}\s+([^;{{]+);", text, re.MULTILINE)


def copied() -> set[str]:
    """What the Dockerfile takes from the repository."""
    copies = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    return {source.rstrip("/") for copy in copies for source in copy.split()}


class TestEnvironment:
    def test_every_variable_is_in_the_example(self) -> None:
        assert variables(SERVICES) <= example(commented=False).keys() | example(commented=True).keys()

    def test_nothing_has_to_be_filled_in(self) -> None:
        assert re.findall(r"\$\{\w+:\?", str(SERVICES)) == []
        assert example(commented=False) == {}
        # Without a default only what has another source, or one of ours.
        for name, service in SERVICES.items():
            without = set(re.findall(r"\$\{(\w+)\}", str(service)))
            assert without == set(), name

    @pytest.mark.parametrize("name", OURS)
    def test_every_variable_of_ours_is_a_setting(self, name: str) -> None:
        assert {variable.removesuffix("_FILE") for variable in SERVICES[name]["environment"]} <= FIELDS.keys()

    @pytest.mark.parametrize("name", INSTANCES)
    def test_what_is_made_up_makes_settings_that_are_accepted(
        self, name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        for field in FIELDS:
            monkeypatch.delenv(field, raising=False)
        made = make_secrets(tmp_path)
        for variable, value in SERVICES[name]["environment"].items():
            given = DEFAULT.sub(r"\2", str(value or ""))
            if variable.endswith("_FILE") and given:
                folder, _, file = given.rpartition("/")
                assert folder == "/run/secrets"
                monkeypatch.setenv(variable.removesuffix("_FILE"), made[file])
            elif given:
                monkeypatch.setenv(variable, given)
        settings = load_settings()
        assert (settings.host, settings.admin_user) == ("0.0.0.0", "admin")
        assert settings.jwt_secret.get_secret_value() == made["jwt_secret"]
        assert settings.coingecko_api_key is None

    def test_what_the_example_says_of_defaults_is_so(self) -> None:
        told = {name: value for name, value in example(commented=True).items() if name in FIELDS and value}
        optional = {name: value for name, value in told.items() if not FIELDS[name].is_required()}
        required = dict.fromkeys(("admin_user", "admin_pass"), "x") | {
            "jwt_secret": "x" * 32,
            "database_url": told["DATABASE_URL"],
            "redis_url": told["REDIS_URL"],
        }
        as_told = Settings.model_validate(required | {name.lower(): value for name, value in optional.items()})
        assert as_told == Settings.model_validate(required)

    def test_secrets_are_not_committed(self) -> None:
        assert ".env" in (REPOSITORY / ".gitignore").read_text(encoding="utf-8").splitlines()
        for name in ("ADMIN_PASS", "JWT_SECRET", "COINGECKO_API_KEY"):
            assert example(commented=True)[name] == ""


class TestSecrets:
    def test_each_is_made_up_once_long_and_by_chance(self, tmp_path: Path) -> None:
        (tmp_path / "one").mkdir()
        (tmp_path / "other").mkdir()
        one, other = make_secrets(tmp_path / "one"), make_secrets(tmp_path / "other")
        assert one.keys() == {"admin_pass", "jwt_secret", "postgres_password", "database_url"}
        secrets = [each[name] for each in (one, other) for name in one if name != "database_url"]
        assert len(set(secrets)) == 6
        assert all(re.fullmatch("[0-9a-f]{64}", secret) for secret in secrets)
        assert make_secrets(tmp_path / "one") == one

    def test_what_is_given_is_taken_and_stays_but_the_databases_password_never_changes(self, tmp_path: Path) -> None:
        before = make_secrets(tmp_path)
        given = {
            "ADMIN_PASS": "it's 100% mine",
            "JWT_SECRET": "j" * 40,
            "JWT_SECRET_PREVIOUS": "k" * 40,
            "COINGECKO_API_KEY": "CG-1",
        }
        after = make_secrets(tmp_path, **given, POSTGRES_PASSWORD="other")
        assert {name: after[name.lower()] for name in given} == given
        assert {name: after[name] for name in ("postgres_password", "database_url")} == {
            name: before[name] for name in ("postgres_password", "database_url")
        }
        assert make_secrets(tmp_path, ADMIN_PASS="", JWT_SECRET="") == after

    def test_all_who_read_them_start_after_they_are_made_and_cannot_write_them(self) -> None:
        readers = {name for name, service in SERVICES.items() if "/run/secrets/" in str(service)}
        assert readers == {*OURS, "postgres"}
        for name in readers:
            assert "secrets:/run/secrets:ro" in SERVICES[name]["volumes"]
            assert SERVICES[name]["depends_on"]["secrets"] == {"condition": "service_completed_successfully"}

    def test_who_makes_them_is_given_what_the_environment_may_give(self) -> None:
        script = (REPOSITORY / "deploy" / "secrets.sh").read_text(encoding="utf-8")
        assert set(re.findall(r"\$\{([A-Z_]+):-\}", script)) == SERVICES["secrets"]["environment"].keys()
        folder = SERVICES["secrets"]["entrypoint"][-1]
        assert f"secrets:{folder}" in SERVICES["secrets"]["volumes"]


class TestServices:
    def test_images_are_pinned_to_a_version(self) -> None:
        images = [service["image"] for service in SERVICES.values()]
        stages = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
        for image in images + stages:
            assert re.search(r":\d+\.\d+", image), image

    def test_our_image_is_named_after_our_version(self) -> None:
        assert {SERVICES[name]["image"] for name in OURS} == {f"cryptopulse:{version('cryptopulse')}"}

    def test_every_file_it_builds_from_or_mounts_exists(self) -> None:
        for name, service in SERVICES.items():
            if "build" in service:
                assert (REPOSITORY / service["build"] / "Dockerfile").is_file(), name
            for volume in service.get("volumes", []):
                source = volume.split(":")[0]
                assert source in COMPOSE["volumes"] or (REPOSITORY / source).is_file(), volume

    def test_who_needs_another_waits_until_it_is_healthy_or_has_done_its_work(self) -> None:
        for name, service in SERVICES.items():
            for other, how in service.get("depends_on", {}).items():
                if SERVICES[other]["restart"] == "no":
                    assert how == {"condition": "service_completed_successfully"}, (name, other)
                else:
                    assert how == {"condition": "service_healthy"}, (name, other)
                    assert other in INSTANCES or SERVICES[other]["healthcheck"]["test"][0] == "CMD"

    def test_everything_waits_for_what_it_cannot_do_without(self) -> None:
        assert SERVICES["nginx"]["depends_on"].keys() == set(INSTANCES)
        assert SERVICES["migrate"]["depends_on"].keys() == {"secrets", "postgres"}
        for name in INSTANCES:
            assert SERVICES[name]["depends_on"].keys() == {"secrets", "valkey", "migrate"}

    def test_instances_and_nginx_are_healthy_when_requests_may_come(self) -> None:
        assert "/health/ready" in str(SERVICES["nginx"]["healthcheck"]["test"])
        for name in INSTANCES:
            assert "healthcheck" not in SERVICES[name]  # the image has one

    def test_nobody_can_come_to_more_rights_and_who_needs_no_disk_has_none(self) -> None:
        for name, service in SERVICES.items():
            assert service["security_opt"] == ["no-new-privileges:true"], name
            if name not in {"valkey", "postgres"}:
                assert service["read_only"] is True, name
                assert service["cap_drop"] == ["ALL"], name
        for name in (*INSTANCES, "nginx"):
            assert SERVICES[name]["tmpfs"] == ["/tmp"]

    def test_logs_do_not_fill_the_disk_and_whatever_dies_is_started_again(self) -> None:
        for name, service in SERVICES.items():
            assert service["logging"] == {"driver": "local"}, name
            assert service["restart"] == ("no" if name in {"migrate", "secrets"} else "unless-stopped"), name

    def test_nginx_cannot_reach_the_data_and_the_data_cannot_reach_the_internet(self) -> None:
        assert COMPOSE["networks"]["data"] == {"internal": True}
        for name in ("migrate", "valkey", "postgres"):
            assert SERVICES[name]["networks"] == ["data"]
        for name in INSTANCES:
            assert SERVICES[name]["networks"].keys() == {"default", "data"}
        assert "networks" not in SERVICES["nginx"]
        assert SERVICES["secrets"]["network_mode"] == "none"

    def test_valkey_syncs_an_append_only_file_each_second_and_evicts_nothing(self) -> None:
        command = SERVICES["valkey"]["command"]
        options = dict(zip(command[1::2], command[2::2], strict=True))
        assert options["--appendonly"] == "yes"
        assert options["--appendfsync"] == "everysec"
        assert options["--maxmemory-policy"] == "noeviction"
        assert SERVICES["valkey"]["volumes"] == ["valkey:/data"]

    def test_only_nginx_is_reached_from_outside(self) -> None:
        assert [name for name, service in SERVICES.items() if "ports" in service] == ["nginx"]

    def test_instances_get_the_time_to_answer_before_they_are_killed(self) -> None:
        for name in INSTANCES:
            patience_s = int(SERVICES[name]["stop_grace_period"].removesuffix("s"))
            assert patience_s * 1000 > Settings.model_fields["batch_result_timeout_ms"].default + 2000

    def test_instances_trust_the_network_they_share_with_nginx_and_nobody_else(self) -> None:
        assert isinstance(SUBNET, IPv4Network)
        for name in INSTANCES:
            assert SERVICES[name]["environment"]["TRUSTED_PROXIES"] == str(SUBNET)

    def test_instances_keep_addresses_that_nobody_else_is_given(self) -> None:
        others = ip_network(COMPOSE["networks"]["default"]["ipam"]["config"][0]["ip_range"])
        addresses = [ip_address(SERVICES[name]["networks"]["default"]["ipv4_address"]) for name in INSTANCES]
        assert len(set(addresses)) == len(addresses)
        assert all(address in SUBNET and address not in others for address in addresses)


class TestNginx:
    def test_its_blocks_are_closed(self) -> None:
        assert NGINX.count("{") - NGINX.count("}") == 0
        assert all(line.rstrip().endswith((";", "{", "}")) for line in NGINX.splitlines() if line.strip())

    def test_it_passes_requests_to_every_instance(self) -> None:
        servers = [server.split()[0] for server in directives("server")]
        assert servers == [f"{name}:{SERVICES[name]['environment']['PORT']}" for name in INSTANCES]
        assert set(directives("proxy_pass")) == {"http://instances"}

    def test_it_waits_longer_than_an_instance_may_take(self) -> None:
        read_timeout, _of_streams = directives("proxy_read_timeout")
        waits_ms = int(read_timeout.removesuffix("s")) * 1000
        assert waits_ms > Settings.model_fields["batch_result_timeout_ms"].default
        assert f"nginx waits for {read_timeout.removesuffix('s')} s" in EXAMPLE

    def test_it_says_whom_it_heard_a_request_from_and_nothing_that_the_client_claims(self) -> None:
        assert "X-Forwarded-For $remote_addr" in directives("proxy_set_header")
        assert "proxy_add_x_forwarded_for" not in NGINX

    def test_it_asks_the_other_instance_when_one_fails_but_never_repeats_a_post(self) -> None:
        [when] = directives("proxy_next_upstream")
        assert when.split() == ["error", "timeout", "http_503"]
        assert directives("proxy_next_upstream_tries") == ["2"]

    def test_a_503_does_not_make_it_write_an_instance_off(self) -> None:
        assert all("max_fails=0" in server for server in directives("server"))

    def test_it_lets_go_of_idle_connections_before_an_instance_does(self) -> None:
        [idle] = directives("keepalive_timeout")
        assert int(idle.removesuffix("s")) < 10

    def test_it_passes_streams_on_unread(self) -> None:
        [stream] = re.findall(r"location = /v1/prices/stream \{(.+?)\}", NGINX, re.DOTALL)
        assert "proxy_buffering off;" in stream
        assert directives("proxy_buffering") == ["off"]

    def test_what_it_refuses_itself_is_refused_as_the_service_would(self) -> None:
        assert directives("error_page") == ["502 504 = @away"]
        [body] = re.findall(r"return 503 '(.+)'", NGINX)
        assert yaml.safe_load(body).keys() == {"statusCode", "message", "error"}
        assert directives("add_header") == ["Retry-After 1 always"]


class TestDockerfile:
    def test_every_file_it_copies_exists_and_is_not_ignored(self) -> None:
        ignore = (REPOSITORY / ".dockerignore").read_text(encoding="utf-8").splitlines()
        assert [source for source in copied() if not (REPOSITORY / source).exists()] == []
        assert "*" in ignore
        assert {line.removeprefix("!") for line in ignore if line.startswith("!")} == copied()

    def test_it_copies_all_that_the_package_is_made_of(self) -> None:
        with (REPOSITORY / "pyproject.toml").open("rb") as file:
            project = tomllib.load(file)
        parts = project["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"]
        assert {*parts, project["project"]["readme"]} <= copied()

    def test_what_it_installs_is_checked_by_hash_and_the_project_brings_nothing_else(self) -> None:
        installs = re.findall(r"pip (?:install|wheel) [^\n\\]+", DOCKERFILE)
        assert len(installs) == 4
        assert all("--require-hashes -r " in install or "--no-deps" in install for install in installs)

    def test_what_builds_the_project_is_all_taken_from_the_pinned_requirements(self) -> None:
        [names] = re.findall(r"/\^\((.+)\)==/", DOCKERFILE)
        needed = {re.split(r"[^\w-]", name)[0] for name in requires("hatchling") or () if ";" not in name}
        assert set(names.split("|")) == {"hatchling"} | needed
        pinned = set(re.findall(r"^([\w-]+)==", (REPOSITORY / "requirements.txt").read_text(), re.MULTILINE))
        assert set(names.split("|")) <= pinned

    def test_the_image_runs_as_nobody_in_particular_and_serves(self) -> None:
        last_stage = DOCKERFILE.rpartition("\nFROM ")[2]
        assert re.findall(r"^USER (.+)$", last_stage, re.MULTILINE) == ["10001:10001"]
        assert 'ENTRYPOINT ["cryptopulse"]\nCMD ["serve"]' in last_stage

    def test_it_takes_a_python_that_the_project_supports(self) -> None:
        pythons = re.findall(r"^FROM python:(\d+)\.(\d+)\.", DOCKERFILE, re.MULTILINE)
        assert {(3, 11) <= (int(major), int(minor)) < (3, 14) for major, minor in pythons} == {True}

    @pytest.mark.parametrize(("status", "code"), [("200 OK", 0), ("503 Service Unavailable", 1)])
    def test_healthy_is_who_may_be_sent_requests(self, status: str, code: int) -> None:
        [words] = re.findall(r"^HEALTHCHECK .* CMD (\[.+\])$", DOCKERFILE, re.MULTILINE)
        python, *check = json.loads(words)
        assert python == "python"
        with socket.create_server(("127.0.0.1", 0)) as listener:
            environment = os.environ | {"PORT": str(listener.getsockname()[1])}
            with subprocess.Popen([sys.executable, *check], env=environment, stderr=subprocess.DEVNULL) as checking:
                connection, _ = listener.accept()
                with connection:
                    assert connection.recv(4096).startswith(b"GET /health/ready HTTP/1.1\r\n")
                    connection.sendall(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())
                    assert checking.wait() == code
