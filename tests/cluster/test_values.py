"""A values file: what is refused, and in which words."""

from collections.abc import Callable
from pathlib import Path

import pytest

from components.core.errors import UserError
from pipelines.cli.catalog import COMPILED
from pipelines.cluster import values as values_module
from pipelines.cluster.package import Package
from pipelines.cluster.stage_values import STAGE_KEYS
from pipelines.cluster.values import read_values

STAGES = ("fine_tune", "prune")
EXAMPLE = Path(values_module.__file__).with_name("values.example.yaml")


@pytest.fixture
def refused(tmp_path: Path) -> Callable[[str], str]:
    """The message with which a values file is refused."""

    def read(text: str) -> str:
        path = tmp_path / "values.yaml"
        path.write_text(text)
        with pytest.raises(UserError) as error:
            read_values(path, STAGES)
        assert len(str(error.value).splitlines()) == 1
        return str(error.value)

    return read


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("default: {}", "did you mean 'defaults'?"),
        ("stages: {fine-tune: {}}", "stages.fine-tune: there is no such stage; did you mean 'fine_tune'?"),
        ("stages: {quantise: {}}", "(stages: fine_tune, prune)"),
        ("defaults: {node_selector: {}}", "defaults.node_selector: unknown key; did you mean 'nodeSelector'?"),
        ("defaults: {resources: {request: {}}}", "defaults.resources.request: unknown key; did you mean 'requests'?"),
        ("defaults: {resources: {limits: {ephemeral-storage: 1Gi}}}", "infra/README.md"),
        ("timeout: 3", "it is set per stage: write it under defaults"),
        ("stages: {prune: {serviceAccount: x}}", "KFP sets it for a whole run"),
        ("serviceAccount: Mine", "'Mine' is not a valid Kubernetes name"),
        (
            "stages: {prune: {resources: {requests: {cpu: 2x}}}}",
            "stages.prune.resources.requests.cpu: '2x' is not a CPU",
        ),
        ("defaults: {resources: {requests: {cpu: 0}}}", "not a CPU quantity"),
        ("defaults: {resources: {requests: {cpu: yes}}}", "not a CPU quantity"),
        ("defaults: {resources: {requests: {memory: 4GB}}}", "'4GB' is not a quantity of bytes; write 512Mi or 2G"),
        ("defaults: {resources: {requests: {memory: 4}}}", "4 is 4 bytes; write 512Mi or 4G"),
        ("defaults: {timeout: 6 hours}", "'6 hours' is not a duration"),
        ("defaults: {timeout: 0}", "is zero"),
        ("defaults: {retry: {backoff: 3s}}", "defaults.retry: 'limit' is missing"),
        ("defaults: {retry: {limit: -1}}", "integer of at least 0"),
        ("defaults: {retry: {limit: 1, factor: 0.5}}", "number of at least 1"),
        ("defaults: {accelerator: {type: gpu}}", "such as nvidia.com/gpu"),
        ("defaults: {accelerator: {type: nvidia.com/gpu, count: 0.5}}", "integer of at least 1"),
        ("defaults: {tolerations: {key: a}}", "must be a list"),
        ("defaults: {tolerations: [{effect: NoExecute}]}", "tolerations[0] has no key"),
        ("defaults: {tolerations: [{key: a, operator: Is}]}", "must be one of Equal, Exists"),
        ("defaults: {tolerations: [{key: a, operator: Exists, value: b}]}", "takes no value"),
        (
            "defaults: {tolerations: [{key: a, effect: NoSchedule, tolerationSeconds: 3}]}",
            "only applies with effect: NoExecute",
        ),
        ("defaults: {tolerations: [{key: a, value: true}]}", "must be text; got True (put it in quotes)"),
        ("defaults: {nodeSelector: {pool: 1}}", "must be text; got 1 (put it in quotes)"),
        ("defaults: {nodeSelector: {'a b': c}}", "not a valid label key"),
        ("defaults: {imagePullSecrets: registry}", "must be a list"),
        ("defaults: {imagePullPolicy: always}", "did you mean 'Always'?"),
        ("defaults: {ephemeralVolumes: [{name: a, mountPath: b, size: 1Gi}]}", "must be an absolute path"),
        ("defaults: {ephemeralVolumes: [{name: a, mountPath: /b/../c, size: 1Gi}]}", "must be an absolute path"),
        ("defaults: {ephemeralVolumes: [{name: a, mountPath: /b}]}", "'size' is missing"),
        ("defaults: {ephemeralVolumes: [{name: a, mountPath: /b, size: 1Gi, accessModes: [RW]}]}", "ReadWriteOnce"),
        ("defaults: {env: {'1A': b}}", "not a valid name of an environment variable"),
        ("defaults: {secretEnv: {store: {key: 'a b'}}}", "not a valid name of an environment variable"),
        ("defaults: {secretEnv: {Store: {key: A}}}", "not a valid Kubernetes name"),
        ("defaults: {secretVolumes: {signing: etc/signing}}", "secretVolumes.signing must be an absolute path"),
        ("defaults: {secretVolumes: {signing: /}}", "must be an absolute path"),
        ("defaults: {secretVolumes: {signing: ''}}", "must be an absolute path"),
        ("defaults: {secretVolumes: {signing: 0}}", "must be text; got 0 (put it in quotes)"),
        ("defaults: {secretVolumes: {Signing: /a}}", "not a valid Kubernetes name"),
        ("defaults: {secretVolumes: {one: /a, two: /a}}", "two secrets at one path"),
        ("defaults: {securityContext: {readOnlyRootFilesystem: true}}", "infra/README.md"),
        ("defaults: {securityContext: {runAsNonRoot: 1}}", "must be true or false"),
        ("defaults: []", "must be a mapping"),
        ("- a", "must be a mapping"),
        ("a: [", "not YAML"),
        ("{}\n---\n{}", "2 documents"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_place(refused: Callable[[str], str], text: str, message: str) -> None:
    assert message in refused(text)


@pytest.mark.parametrize(
    "key", ["terminationGracePeriodSeconds", "priorityClassName", "podAffinity", "initContainers", "runtimeClassName"]
)
def test_what_kfp_cannot_express_is_refused_with_a_pointer(refused: Callable[[str], str], key: str) -> None:
    for text in (f"{key}: 1", f"defaults: {{{key}: 1}}", f"stages: {{prune: {{{key}: 1}}}}"):
        message = refused(text)
        assert key in message
        assert "infra/README.md" in message


def test_a_file_that_is_not_there_or_no_text_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read: No such file"):
        read_values(tmp_path / "none.yaml", STAGES)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="it is not text"):
        read_values(tmp_path / "binary.yaml", STAGES)


def test_a_stages_key_replaces_the_defaults_as_a_whole_and_null_takes_it_away(tmp_path: Path) -> None:
    path = tmp_path / "values.yaml"
    path.write_text("""
defaults:
  nodeSelector: {pool: cpu}
  timeout: 1h
  resources: {requests: {cpu: 1}, limits: {cpu: 2}}
stages:
  fine_tune: {nodeSelector: {zone: a}, timeout: null, resources: {requests: {cpu: 4}}}
  prune:
""")
    values = read_values(path, STAGES)
    tuned = values.of("fine_tune")
    assert (tuned.node_selector, tuned.timeout_seconds) == ({"zone": "a"}, 0)
    assert (tuned.cpu_request, tuned.cpu_limit) == ("4", "")
    for other in ("prune", "evaluate"):
        assert values.of(other).node_selector == {"pool": "cpu"}
        assert (values.of(other).timeout_seconds, values.of(other).cpu_limit) == (3600, "2")


def test_the_example_shows_every_key_and_fits_the_pipeline(package_with: Callable[..., Package]) -> None:
    text = EXAMPLE.read_text()
    for key in STAGE_KEYS:
        assert f" {key}:" in text, key
    package = package_with(text, COMPILED / "optimize.yaml")
    assert package.service_account == "trimtab-run"
