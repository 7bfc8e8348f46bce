"""The chart lints, renders what Kubernetes accepts, and keeps its promises about accounts, secrets and the network."""

from __future__ import annotations

import copy
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from bedplate_gateway.access.keyring import ensure_master_key, read_keyring
from bedplate_gateway.catalogue.apply import read_resources
from bedplate_gateway.catalogue.secrets import Secrets
from bedplate_gateway.settings import settings_from_environment
from bedplate_sessions.keys.config import key_provider

helm = pytest.importorskip(
    "helm_python", reason="helm-python-sdk has wheels for Linux on x86_64 only among our platforms"
)

CHART = Path(__file__).parents[2] / "helm" / "bedplate"
EXAMPLES = CHART.parents[1] / "examples"
VALUES = Path(__file__).parent / "values"
CASES = ("minimal", "full", "engine", "keys")
KUBERNETES = ("1.29.0", "1.37.0")
RELEASE_NAME = "bedplate"
"""The name that people choose, and the one whose service links would overwrite our settings."""

Manifest = dict[str, Any]


def values(case: str) -> dict[str, Any]:
    return yaml.safe_load((VALUES / f"{case}.yaml").read_text())


def merged(base: Mapping[str, Any], override: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(base)
    for name, value in override.items():
        inner = result.get(name)
        result[name] = merged(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return result


def render_text(case_values: Mapping[str, Any]) -> dict[str, str]:
    with helm.Chart.load(CHART) as chart:
        return chart.render(dict(case_values), name=RELEASE_NAME, namespace="ai", is_install=True)


def render(case_values: Mapping[str, Any]) -> list[Manifest]:
    texts = {path: text for path, text in render_text(case_values).items() if path.endswith(".yaml")}
    return [document for text in texts.values() for document in yaml.safe_load_all(text) if document]


@pytest.fixture(params=CASES)
def manifests(request: pytest.FixtureRequest) -> list[Manifest]:
    return render(values(request.param))


def one(manifests: list[Manifest], kind: str, name: str) -> Manifest:
    found = [each for each in manifests if each["kind"] == kind and each["metadata"]["name"] == name]
    assert len(found) == 1, [(each["kind"], each["metadata"]["name"]) for each in manifests]
    return found[0]


def pods(manifests: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    """Every pod template with the kind and name of what makes it."""
    for manifest in manifests:
        spec = manifest.get("spec", {})
        if manifest["kind"] == "CronJob":
            spec = spec["jobTemplate"]["spec"]
        if "template" in spec:
            yield f"{manifest['kind']}/{manifest['metadata']['name']}", spec["template"]


def gateway_of(manifests: list[Manifest]) -> Manifest:
    """The gateway's pod."""
    (found,) = [
        pod for _, pod in pods(manifests) if pod["metadata"]["labels"]["app.kubernetes.io/component"] == "gateway"
    ]
    return found


def environment(pod: Manifest) -> dict[str, Any]:
    (container,) = pod["spec"]["containers"]
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in container["env"]}


@pytest.mark.parametrize("case", CASES)
def test_lint_finds_nothing_to_correct(case: str) -> None:
    report = helm.lint(CHART, values(case), strict=True)
    assert report["errors"] == []
    assert [each for each in report["messages"] if each["severity"] > 1] == []


@pytest.mark.parametrize("version", KUBERNETES)
def test_kubernetes_accepts_every_manifest(manifests: list[Manifest], version: str) -> None:
    for manifest in manifests:
        assert kubernetes_validate.validate(manifest, version, strict=True) == version.rpartition(".")[0]


def test_the_strict_schemas_notice_a_misspelt_field() -> None:
    deployment = copy.deepcopy(one(render(values("minimal")), "Deployment", "bedplate"))
    deployment["spec"]["template"]["spec"]["containers"][0]["imagePullPolici"] = "Always"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, KUBERNETES[0], strict=True)


@pytest.mark.parametrize("case", CASES)
def test_no_two_manifests_have_one_name(case: str) -> None:
    names = [(each["kind"], each["metadata"]["name"]) for each in render(values(case))]
    assert len(names) == len(set(names))


def test_yamllint_finds_nothing(tmp_path: Path) -> None:
    written = [CHART / "Chart.yaml", CHART / "values.yaml", *VALUES.glob("*.yaml"), *EXAMPLES.glob("*.yaml")]
    rendered: list[Path] = []
    for case in CASES:
        for path, text in render_text(values(case)).items():
            if path.endswith(".yaml") and text.strip():
                rendered.append(tmp_path / f"{case}-{Path(path).name}")
                rendered[-1].write_text(text.strip() + "\n")
    shared = "document-start: disable, line-length: {max: 140}"
    # Helm writes the items of a list without further indentation, and modes as octal numbers are what is meant.
    helms = "indentation: {indent-sequences: whatever}, octal-values: disable"
    for rules, files in ((shared, written), (f"{shared}, {helms}", rendered)):
        config = f"{{extends: default, rules: {{{rules}}}}}"
        command = [sys.executable, "-m", "yamllint", "--strict", "-d", config, *map(str, files)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


def test_probes_ask_the_paths_that_need_no_key(manifests: list[Manifest]) -> None:
    from bedplate_gateway.web.edge import PUBLIC_PATHS

    (container,) = gateway_of(manifests)["spec"]["containers"]
    assert container["startupProbe"]["httpGet"]["path"] == "/healthz"
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"]["path"] in PUBLIC_PATHS
        assert container[probe]["httpGet"]["port"] == container["ports"][0]["name"]
    assert container["readinessProbe"]["timeoutSeconds"] > 2, "/readyz itself waits 2 s for Postgres"


def test_no_pod_has_rights_it_does_not_need(manifests: list[Manifest]) -> None:
    seen = 0
    for name, pod in pods(manifests):
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False, name
        assert spec["enableServiceLinks"] is False, f"{name}: BEDPLATE_PORT would be a URL"
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["runAsUser"] > 0, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys(), name
        for container in spec["containers"]:
            seen += 1
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"] is True, name
            assert context["allowPrivilegeEscalation"] is False, name
            assert context["capabilities"] == {"drop": ["ALL"]}, name
            assert context["seccompProfile"] == {"type": "RuntimeDefault"}, name
            assert container["resources"]["requests"]["cpu"], name
            assert container["resources"]["limits"]["memory"], name
        for volume in spec["volumes"]:
            assert "hostPath" not in volume, name
            if "emptyDir" in volume:
                assert volume["emptyDir"]["sizeLimit"], f"{name}: {volume['name']} has no bound"
    assert seen >= 2
    for account in (each for each in manifests if each["kind"] == "ServiceAccount"):
        assert account["automountServiceAccountToken"] is False


def test_every_volume_that_is_mounted_exists_and_the_other_way_round(manifests: list[Manifest]) -> None:
    for name, pod in pods(manifests):
        volumes = {volume["name"] for volume in pod["spec"]["volumes"]}
        mounted = {mount["name"] for container in pod["spec"]["containers"] for mount in container["volumeMounts"]}
        assert volumes == mounted, name


def test_secrets_are_referred_to_and_never_written(manifests: list[Manifest]) -> None:
    assert [each for each in manifests if each["kind"] == "Secret"] == []
    for name, pod in pods(manifests):
        for variable, value in environment(pod).items():
            if re.search(r"KEY$|URL$|TOKEN|PASSWORD|MATERIAL", variable):
                assert set(value) == {"secretKeyRef"}, f"{name}: {variable}"
    text = json.dumps(manifests)
    assert "postgresql://" not in text
    assert not re.search(r"\bbp_|(?<!sha256:)\b[0-9a-f]{64}\b", text), "an API key or a master key"
    for config in (each for each in manifests if each["kind"] == "ConfigMap"):
        for key in re.findall(r"api_key: *(\S+)", "".join(config["data"].values())):
            assert key.startswith("file:")


OPEN_SESSIONS = {"Deployment/bedplate", "Deployment/bedplate-worker", "CronJob/bedplate-shell"}


@pytest.mark.parametrize("case", ["minimal", "keys"])
def test_only_what_opens_conversations_holds_their_keys(case: str) -> None:
    rendered = dict(pods(render(values(case))))
    assert rendered.keys() >= OPEN_SESSIONS
    for name, pod in rendered.items():
        mounted = {volume["name"] for volume in pod["spec"]["volumes"]} & {"master-key", "session-keys", "vault-ca"}
        assert bool(mounted) is (name in OPEN_SESSIONS), name
        given = {variable for variable in environment(pod) if re.search(r"SESSION_KEY|KEY_DATABASE|VAULT", variable)}
        assert bool(given) is (name in OPEN_SESSIONS), name


def test_what_opens_conversations_comes_to_the_same_settings() -> None:
    rendered = dict(pods(render(values("keys"))))
    found = {name: environment(rendered[name]) for name in OPEN_SESSIONS}
    shared = {
        "BEDPLATE_RESPONSE_TIMEOUT_S": "1800",
        "BEDPLATE_SESSION_IDLE_S": "7200",
        "BEDPLATE_SESSION_RETENTION_S": "31536000",
        "BEDPLATE_SESSION_STEPS": "2000",
        "BEDPLATE_SESSION_STEP_BYTES": "1000000",
        "BEDPLATE_REPLY_RETENTION_S": "3600",
        "BEDPLATE_SESSION_KEYS": "vault:https://vault.example.com:8200/transit/bedplate, kms:alias/bedplate, "
        "file:/etc/bedplate/session-keys/keys.json, environment",
        "BEDPLATE_SESSION_KEY_MATERIAL": {"secretKeyRef": {"name": "old-session-keys", "key": "material"}},
        "BEDPLATE_VAULT_TOKEN": {"secretKeyRef": {"name": "vault", "key": "token"}},
        "BEDPLATE_VAULT_CA_FILE": "/etc/bedplate/vault/ca.crt",
        "BEDPLATE_KMS_REGION": "eu-central-1",
        "BEDPLATE_KEY_DATABASE_URL": {"secretKeyRef": {"name": "bedplate-key-database", "key": "url"}},
    }
    for name, variables in found.items():
        assert {key: variables.get(key) for key in shared} == shared, name
        mounts = {each["name"]: each for each in rendered[name]["spec"]["containers"][0]["volumeMounts"]}
        assert mounts["session-keys"]["mountPath"] == "/etc/bedplate/session-keys", name
        assert mounts["vault-ca"]["mountPath"] == "/etc/bedplate/vault", name
        volumes = {each["name"]: each["secret"] for each in rendered[name]["spec"]["volumes"] if "secret" in each}
        assert volumes["session-keys"]["items"] == [{"key": "keys.json", "path": "keys.json"}], name
        assert rendered[name]["spec"]["serviceAccountName"] == "bedplate", name
    account = one(render(values("keys")), "ServiceAccount", "bedplate")
    assert account["metadata"]["annotations"] == {"note": "an account annotation"}


def test_the_defaults_of_sessions_and_guardrails_are_the_gateways_own() -> None:
    variables = environment(gateway_of(render(values("minimal"))))
    given = settings_from_environment({key: value for key, value in variables.items() if isinstance(value, str)})
    own = settings_from_environment({})
    for field in own.__struct_fields__:
        if field.startswith(("session", "reply", "key_", "vault", "kms", "response", "guardrail")):
            assert getattr(given, field) == getattr(own, field), field


def test_what_declares_a_guardrail_knows_what_can_be_evaluated() -> None:
    said = {
        name: {key: value for key, value in environment(pod).items() if key.startswith("BEDPLATE_GUARDRAIL")}
        for name, pod in pods(render(values("full")))
        if pod["metadata"]["labels"]["app.kubernetes.io/component"] != "engine"
    }
    assert {name.partition("/")[0] for name in said} >= {"Deployment", "Job"}
    for name, variables in said.items():
        assert variables == {
            "BEDPLATE_GUARDRAIL_PROCESSES": "2",
            "BEDPLATE_GUARDRAIL_QUEUE": "100",
            "BEDPLATE_GUARDRAIL_MODELS": "/opt/models",
            "BEDPLATE_GUARDRAIL_VALIDATORS": "/etc/own/validators.yaml",
        }, name


def test_every_provider_of_session_keys_that_the_chart_names_is_one_of_the_gateways(tmp_path: Path) -> None:
    keys = json.dumps({"current": 1, "keys": {"1": "0" * 64}})
    (tmp_path / "keys.json").write_text(keys)
    (tmp_path / "keys.json").chmod(0o600)
    for provider in ("master", "none", "file", "environment", "vault", "kms"):
        override = {"sessionKeys": {"provider": provider, "alsoUnwrap": []}}
        variables = environment(gateway_of(render(merged(values("keys"), override))))
        setting = variables["BEDPLATE_SESSION_KEYS"].replace("/etc/bedplate/session-keys", str(tmp_path))
        made = key_provider(
            setting,
            master=bytes(32),
            environment_keys=keys if "BEDPLATE_SESSION_KEY_MATERIAL" in variables else None,
            vault_token="t" if "BEDPLATE_VAULT_TOKEN" in variables else None,
            vault_ca=None,
            region=variables.get("BEDPLATE_KMS_REGION"),
        )
        assert made.key_id
        assert ("BEDPLATE_VAULT_TOKEN" in variables) is (provider == "vault")
        assert ("BEDPLATE_SESSION_KEY_MATERIAL" in variables) is (provider == "environment")


def test_the_worker_runs_the_jobs_alone_and_can_be_left_out() -> None:
    manifests = render(values("keys"))
    deployment = one(manifests, "Deployment", "bedplate-worker")
    assert deployment["spec"]["replicas"] == 1
    pod = deployment["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    assert container["command"] == ["bedplate", "jobs"]
    assert not {"ports", "livenessProbe", "readinessProbe"} & container.keys()
    assert container["resources"]["limits"] == {"memory": "600Mi"}
    assert pod["spec"]["nodeSelector"] == {"disk": "fast"}
    assert pod["spec"]["tolerations"] == [{"key": "dedicated", "operator": "Exists"}]
    without = render(merged(values("keys"), {"worker": {"enabled": False}}))
    assert [each for each in without if each["metadata"]["name"].endswith("-worker")] == []


def test_a_pod_outlives_its_own_draining(manifests: list[Manifest]) -> None:
    gateway = gateway_of(manifests)
    drain_s = float(environment(gateway)["BEDPLATE_DRAIN_TIMEOUT_S"])
    hook = (
        gateway["spec"]["containers"][0]
        .get("lifecycle", {})
        .get("preStop", {})
        .get("exec", {})
        .get("command", ["", "0"])
    )
    assert gateway["spec"]["terminationGracePeriodSeconds"] >= 3 * drain_s + int(hook[1]) + 10


def test_the_gateways_settings_are_settings(manifests: list[Manifest]) -> None:
    for name, pod in pods(manifests):
        if "engine" in name:
            continue
        variables = {key: value for key, value in environment(pod).items() if isinstance(value, str)}
        settings = settings_from_environment(variables)
        known = {f"BEDPLATE_{field.upper()}" for field in settings.__struct_fields__}
        assert {key for key in environment(pod) if key.startswith("BEDPLATE_")} <= known
    assert settings.secrets_path is not None


def test_the_spool_holds_more_than_the_gateway_puts_there() -> None:
    from bedplate_store.row_writer import SPOOL_BYTES

    gateway = dict(pods(render(values("minimal"))))["Deployment/bedplate"]
    volume = next(each for each in gateway["spec"]["volumes"] if each["name"] == "spool")
    mebibytes = int(volume["emptyDir"]["sizeLimit"].removesuffix("Mi"))
    assert mebibytes << 20 > SPOOL_BYTES, "an emptyDir over its limit evicts the pod, and its records with it"


def test_migration_goes_before_and_declared_resources_after() -> None:
    full = render(values("full"))
    migrate = one(full, "Job", "models-migrate")
    apply = one(full, "Job", "models-apply")
    assert migrate["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    assert apply["metadata"]["annotations"]["helm.sh/hook"] == "post-install,post-upgrade"
    assert "serviceAccountName" not in migrate["spec"]["template"]["spec"], "it does not exist before the first install"
    assert [each for each in render(values("minimal")) if each["metadata"]["name"] == "bedplate-apply"] == []


@pytest.mark.parametrize("case", ["full", "engine"])
def test_what_the_chart_declares_is_what_apply_reads(case: str, tmp_path: Path) -> None:
    config = next(each for each in render(values(case)) if each["kind"] == "ConfigMap")
    folder = kubelet_volume(tmp_path / "declared", config["data"])
    resources = read_resources([folder])
    wanted = [(each["kind"], each["name"]) for each in values(case).get("declared", [])]
    if case == "engine":
        wanted = [("Provider", "chart-engine"), ("Model", "chat"), *wanted]
    assert [(str(each.__struct_config__.tag), each.name) for each in resources] == wanted


def test_secret_references_resolve_in_the_folder_as_a_kubelet_lays_it_out(tmp_path: Path) -> None:
    pod = dict(pods(render(values("engine"))))["Deployment/bedplate"]
    mount = next(each for each in pod["spec"]["containers"][0]["volumeMounts"] if each["name"] == "secrets")
    below = Path(environment(pod)["BEDPLATE_SECRETS_DIR"]).relative_to(mount["mountPath"])
    folder = kubelet_volume(tmp_path / "secrets", {"chart-engine": "the-key\n"})
    assert Secrets(folder / below).resolve("file:chart-engine") == "the-key"


def test_a_master_key_mounted_for_the_group_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ensure_master_key(tmp_path / "key")
    folder = kubelet_volume(tmp_path / "master", {"master.key": (tmp_path / "key").read_text()})
    (folder / "master.key").resolve().chmod(0o440)
    owner = (folder / "master.key").stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 10001)  # a kubelet's files belong to root, ours do not
    assert read_keyring(folder / "master.key").token_hash("x")


def kubelet_volume(folder: Path, files: Mapping[str, str]) -> Path:
    """`files` as a kubelet mounts a ConfigMap or Secret: each a link to a link to a dated folder."""
    dated = folder / "..2026_01_01_00_00_00.1"
    dated.mkdir(parents=True)
    for name, text in files.items():
        (dated / name).write_text(text)
        (folder / name).symlink_to(Path("..data") / name)
    (folder / "..data").symlink_to(dated.name)
    return folder


def selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    return selector.get("matchLabels", {}).items() <= labels.items()


def test_only_the_gateway_reaches_engines() -> None:
    manifests = render(values("engine"))
    labels = {name: pod["metadata"]["labels"] for name, pod in pods(manifests)}
    policies = [each["spec"] for each in manifests if each["kind"] == "NetworkPolicy"]
    own = labels["Deployment/bedplate-engine"]
    other = {"app.kubernetes.io/part-of": "bedplate", "app.kubernetes.io/component": "engine", "app": "someone-elses"}
    for engine in (own, other):
        ingress = [
            each for each in policies if "Ingress" in each["policyTypes"] and selects(each["podSelector"], engine)
        ]
        peers = [peer for policy in ingress for rule in policy["ingress"] for peer in rule["from"]]
        assert [set(peer) for peer in peers] == [{"podSelector"}]
        allowed = [name for name, each in labels.items() if any(selects(peer["podSelector"], each) for peer in peers)]
        assert allowed == ["Deployment/bedplate"]
    egress = [each for each in policies if "Egress" in each["policyTypes"] and selects(each["podSelector"], own)]
    assert [each["egress"] for each in egress] == [[]], "an engine has no way out"
    service = one(manifests, "Service", "bedplate-engine")
    assert service["spec"]["type"] == "ClusterIP"
    assert [each for each in manifests if each["kind"] == "Ingress"] == []


def test_the_gateway_and_the_jobs_reach_only_what_they_need() -> None:
    manifests = render(values("full"))
    policies = {each["metadata"]["name"]: each["spec"] for each in manifests if each["kind"] == "NetworkPolicy"}
    gateway, jobs = policies["models-gateway"], policies["models-jobs"]
    worker, shell = policies["models-worker"], policies["models-shell"]
    assert ports_of(gateway) == [[53, 53], [6432], [8000], [443]]
    assert [rule.get("to") for rule in gateway["egress"]][1] == [{"podSelector": {"matchLabels": {"app": "postgres"}}}]
    for policy in (jobs, worker, shell):
        assert ports_of(policy) == [[53, 53], [6432]]
        assert policy["policyTypes"] == ["Ingress", "Egress"]
        assert "ingress" not in policy
    labels = {name: pod["metadata"]["labels"] for name, pod in pods(manifests)}
    for name, each in labels.items():
        covered = [policy for policy in policies.values() if selects(policy["podSelector"], each)]
        assert covered, f"{name} is under no network policy"
        assert len([policy for policy in covered if "Egress" in policy["policyTypes"]]) == 1, name
    for name in ("Job/models-migrate", "Job/models-apply"):
        assert selects(jobs["podSelector"], labels[name])
    assert selects(worker["podSelector"], labels["Deployment/models-worker"])
    assert selects(shell["podSelector"], labels["CronJob/models-shell"])


def ports_of(policy: Mapping[str, Any]) -> list[list[int]]:
    """The ports of each rule of egress."""
    return [[port["port"] for port in rule["ports"]] for rule in policy["egress"]]


def test_only_what_opens_conversations_reaches_who_keeps_their_keys() -> None:
    manifests = render(values("keys"))
    policies = {each["metadata"]["name"]: each["spec"] for each in manifests if each["kind"] == "NetworkPolicy"}
    for name in ("worker", "shell"):
        policy = policies[f"bedplate-{name}"]
        assert ports_of(policy) == [[53, 53], [5432], [5433], [8200]]
        assert policy["egress"][2]["to"] == [{"podSelector": {"matchLabels": {"app": "key-postgres"}}}]
        assert policy["egress"][3]["to"] == [{"ipBlock": {"cidr": "198.51.100.0/24"}}]
    assert ports_of(policies["bedplate-gateway"]) == [[53, 53], [5432], [5433], [8200], [8000]]
    assert ports_of(policies["bedplate-jobs"]) == [[53, 53], [5432], [5433]]


def test_the_key_database_is_migrated_as_the_other_is() -> None:
    rendered = {name: environment(pod) for name, pod in pods(render(values("keys")))}
    urls = {name: env["BEDPLATE_DATABASE_URL"]["secretKeyRef"] for name, env in rendered.items()}
    assert urls.pop("Job/bedplate-migrate-keys") == {"name": "bedplate-key-database", "key": "url"}
    assert set(urls) == OPEN_SESSIONS | {"Job/bedplate-migrate"}
    assert all(url == {"name": "bedplate-database", "key": "url"} for url in urls.values())
    hooks = one(render(values("keys")), "Job", "bedplate-migrate-keys")["metadata"]["annotations"]
    assert hooks["helm.sh/hook"] == "pre-install,pre-upgrade"


def test_the_engine_asks_for_its_key_and_the_gateway_knows_it() -> None:
    manifests = render(values("engine"))
    engine = dict(pods(manifests))["Deployment/bedplate-engine"]
    assert environment(engine)["VLLM_API_KEY"] == {"secretKeyRef": {"name": "engine-key", "key": "api-key"}}
    command = engine["spec"]["containers"][0]["command"]
    assert not [word for word in command if "key" in word]
    gateway = dict(pods(manifests))["Deployment/bedplate"]
    secrets = next(each for each in gateway["spec"]["volumes"] if each["name"] == "secrets")
    items = [source["secret"] for source in secrets["projected"]["sources"]]
    assert items == [{"name": "engine-key", "items": [{"key": "api-key", "path": "chart-engine"}]}]


def test_what_the_service_and_the_budget_select_is_the_gateway() -> None:
    for case, name in (("minimal", "bedplate"), ("full", "models")):
        manifests = render(values(case))
        labels = {name: pod["metadata"]["labels"] for name, pod in pods(manifests)}
        for selector in (
            one(manifests, "Service", name)["spec"]["selector"],
            one(manifests, "PodDisruptionBudget", name)["spec"]["selector"]["matchLabels"],
            one(manifests, "Deployment", name)["spec"]["selector"]["matchLabels"],
        ):
            assert [each for each, has in labels.items() if selector.items() <= has.items()] == [f"Deployment/{name}"]


def test_the_autoscaler_alone_decides_how_many() -> None:
    full = render(values("full"))
    assert "replicas" not in one(full, "Deployment", "models")["spec"]
    assert one(full, "HorizontalPodAutoscaler", "models")["spec"]["scaleTargetRef"]["name"] == "models"
    assert one(render(values("minimal")), "Deployment", "bedplate")["spec"]["replicas"] == 2


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ({"replicaCount": 3}, "replicaCount"),
        ({"gateway": {"replica": 3}}, "replica"),
        ({"engine": {"enabled": True}}, "engine"),
        ({"ingress": {"enabled": True}}, "host"),
        ({"image": {"repository": ""}}, "repository"),
        ({"database": {"existingSecret": ""}}, "existingSecret"),
        ({"database": {"url": "postgresql://user:password@host/db"}}, "url"),
        ({"masterKey": {"value": "00"}}, "value"),
        ({"podSecurityContext": {"runAsUser": 0}}, "runAsUser"),
        ({"declared": [{"kind": "Secret", "name": "x"}]}, "kind"),
        ({"engine": {"args": ["--api-key=secret"]}}, "args"),
        ({"sessionKeys": {"provider": "vault"}}, "sessionKeys.vault.address"),
        ({"sessionKeys": {"provider": "file"}}, "sessionKeys.file.existingSecret"),
        ({"sessionKeys": {"alsoUnwrap": ["environment"]}}, "sessionKeys.environment.existingSecret"),
        ({"sessionKeys": {"provider": "kms"}}, "sessionKeys.kms.key"),
        ({"sessionKeys": {"alsoUnwrap": ["none"]}}, "alsoUnwrap"),
        ({"sessionKeys": {"vault": {"token": "s.x"}}}, "token"),
        ({"sessionKeys": {"vault": {"address": "http://vault:8200/transit/k"}}}, "address"),
        ({"keyDatabase": {"url": "postgresql://user:password@host/db"}}, "url"),
        ({"session": {"retentionSeconds": 1}}, "retentionSeconds"),
    ],
)
def test_a_value_that_cannot_be_meant_is_refused(override: dict[str, Any], named: str) -> None:
    with pytest.raises(helm.HelmError) as refused:
        render(merged(values("minimal"), override))
    assert named in str(refused.value)


@pytest.mark.parametrize("missing", ["image", "database", "masterKey"])
def test_what_is_required_is_required(missing: str) -> None:
    given = values("minimal")
    del given[missing]
    with pytest.raises(helm.HelmError):
        render(given)


def test_the_table_of_values_is_the_values() -> None:
    documented = re.findall(r"^\| `([\w.]+)` \|", (CHART / "README.md").read_text(), re.MULTILINE)
    assert len(documented) == len(set(documented))
    assert set(documented) == set(leaves(yaml.safe_load((CHART / "values.yaml").read_text())))


def leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in tree.items():
        if isinstance(value, dict) and value and name != "resources":
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def test_the_schema_has_every_value_with_its_default() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())
    assert set(schema["properties"]) - {"global"} == set(defaults)
    for name, value in defaults.items():
        described = schema["properties"][name]
        if "$ref" in described:
            described = schema["definitions"][described["$ref"].rpartition("/")[2]]
        if isinstance(value, dict):
            assert described["additionalProperties"] is False, name
            assert set(value) <= set(described["properties"]), name


def test_the_version_is_the_packages() -> None:
    from bedplate_gateway.version import VERSION

    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == VERSION
