"""How Kubeflow Pipelines is reached, as whom, and what is said when it isn't."""

import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from standins.kfp_api import KfpApi
from standins.kubernetes_api import KubernetesApi
from standins.server import Answer, Fault, Server

import maskline
from maskline.errors import ClusterError

Write = Callable[[], Path]
RUNS = "GET /apis/v2beta1/runs"
LOGIN = Answer("<html>log in</html>", kind="text/html")


def runs(write: Write) -> list[Any]:
    """The runs of the namespace, asked anew."""
    return maskline.Client(write()).runs()


def test_a_token_from_the_environment(cluster_file: Write, kfp: KfpApi) -> None:
    assert runs(cluster_file) == []
    assert kfp.asked[-1].headers["Authorization"] == "Bearer good"
    assert kfp.asked[-1].query["namespace"] == "team-a"


def test_the_cookie_of_a_session(cluster_file: Write, kfp: KfpApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MASKLINE_KFP_TOKEN")
    monkeypatch.setenv("MASKLINE_KFP_COOKIE", "session=abc")
    assert runs(cluster_file) == []
    assert kfp.asked[-1].headers["Authorization"] is None


def test_the_token_of_a_pod_is_read_anew(
    cluster_file: Write, kfp: KfpApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MASKLINE_KFP_TOKEN")
    (tmp_path / "token").write_text("good")
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(tmp_path / "token"))
    client = maskline.Client(cluster_file())
    assert client.runs() == []
    (tmp_path / "token").write_text("renewed")
    kfp.token = "renewed"
    assert client.runs() == []


def test_the_address_from_the_environment(
    described: Any, cluster_file: Write, kfp: KfpApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    del described["kubeflow"]["host"]
    monkeypatch.setenv("KF_PIPELINES_ENDPOINT", kfp.url)
    assert runs(cluster_file) == []


def test_through_kubeconfigs_api_server(
    described: Any,
    cluster_file: Write,
    kfp: KfpApi,
    kubernetes: KubernetesApi,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    del described["kubeflow"]["host"]
    monkeypatch.delenv("MASKLINE_KFP_TOKEN")
    kfp.token = None  # the API server says who asks
    assert runs(cluster_file) == []
    services = "/api/v1/namespaces/kubeflow/services"
    assert kubernetes.asked[-1].path == f"{services}/ml-pipeline:http/proxy/apis/v2beta1/runs"
    page = maskline.Client(cluster_file()).connection.page("4711")
    assert page == f"{kubernetes.url}{services}/ml-pipeline-ui:http/proxy/#/runs/details/4711"


@pytest.mark.parametrize(
    ("kubeflow", "page"),
    [
        ({"host": "https://kubeflow.example.com/pipeline"}, "https://kubeflow.example.com/pipeline"),
        ({"host": "https://api.example.com", "ui": "https://ui.example.com/"}, "https://ui.example.com"),
        (
            {"host": "http://ml-pipeline.kubeflow.svc.cluster.local:8888"},
            "http://ml-pipeline-ui.kubeflow.svc.cluster.local",
        ),
    ],
)
def test_the_page_of_a_run(kubeflow: Any, page: str, described: Any, cluster_file: Write) -> None:
    described["kubeflow"] |= kubeflow
    assert maskline.Client(cluster_file()).connection.page("4711") == f"{page}/#/runs/details/4711"


def test_nothing_is_left_in_the_users_home(cluster_file: Write, tmp_path: Path, capfd: Any) -> None:
    cluster = cluster_file()
    before = sorted(tmp_path.rglob("*"))
    maskline.Client(cluster).runs()
    assert sorted(tmp_path.rglob("*")) == before
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Fault(RUNS, LOGIN), "answers, and not as Kubeflow Pipelines does; correct kubeflow.host, or log in"),
        (Fault(RUNS, Answer("", 302, headers={"Location": "/login"})), "wants a login; set MASKLINE"),
        (Fault(RUNS, Answer({"message": "down"}, 500)), "answers 500, down; try again, and read the log"),
        (Fault(RUNS, Answer("<html>x</html>", 504, "text/html")), "answers 504, no reason; try again"),
        (Fault(RUNS, Answer({"message": "bad"}, 400)), "answers 400, bad; correct it"),
        (Fault(RUNS, Answer("null")), "answers, and not as Kubeflow Pipelines does"),
    ],
)  # fmt: skip
def test_answers_that_are_none(fault: Fault, said: str, cluster_file: Write, kfp: KfpApi) -> None:
    kfp.faults.append(fault)
    with pytest.raises(ClusterError) as caught:
        runs(cluster_file)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_passes_is_asked_again(cluster_file: Write, kfp: KfpApi) -> None:
    kfp.faults.append(Fault(RUNS, Answer("busy", 503), times=2))
    assert runs(cluster_file) == []
    assert len(kfp.asked) == 3


def test_an_expired_token(cluster_file: Write, kfp: KfpApi) -> None:
    kfp.token = "another"
    with pytest.raises(
        ClusterError, match="takes no or an expired token .*; set MASKLINE_KFP_TOKEN to a new one"
    ):
        runs(cluster_file)


def test_a_namespace_without_rights(described: Any, cluster_file: Write) -> None:
    described["kubeflow"]["namespace"] = "team-b"
    with pytest.raises(
        ClusterError, match="you have no rights in namespace team-b .*; ask its owner for access"
    ):
        runs(cluster_file)


def test_nobody_there(described: Any, cluster_file: Write) -> None:
    gone = Server()
    gone.stop()
    described["kubeflow"]["host"] = gone.url
    with pytest.raises(ClusterError, match=f"at {gone.url} can't be reached .*is the address right"):
        runs(cluster_file)


def test_no_answer_in_time(cluster_file: Write, kfp: KfpApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("maskline.pipelines.cluster.connection.TIMEOUT", (1, 0.2))
    kfp.faults.append(Fault(RUNS, delay=1))
    with pytest.raises(ClusterError, match="doesn't answer within 0.2 seconds; try again"):
        runs(cluster_file)


def test_no_way_at_all(described: Any, cluster_file: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    del described["kubeflow"]["host"]
    monkeypatch.setenv("KUBECONFIG", "/nowhere")
    with pytest.raises(
        ClusterError, match=r"there is no way to Kubeflow Pipelines: no kubeflow.host, no KF_PIP"
    ):
        runs(cluster_file)


class TestCertificates:
    """They are always checked."""

    @pytest.fixture
    def secured(self, kfp: KfpApi, tmp_path: Path) -> Path:
        """Kubeflow Pipelines over TLS, and the authority's file."""
        files = ["-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "ca.pem")]
        subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *files, *subject]
        subprocess.run(command, check=True, capture_output=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tmp_path / "ca.pem", tmp_path / "key.pem")
        kfp._server.socket = context.wrap_socket(kfp._server.socket, server_side=True)
        kfp.url = kfp.url.replace("http://", "https://")
        return tmp_path / "ca.pem"

    def test_one_that_nobody_knows(
        self, secured: Path, described: Any, cluster_file: Write, kfp: KfpApi
    ) -> None:
        described["kubeflow"]["host"] = kfp.url
        with pytest.raises(
            ClusterError, match="a certificate that can't be verified; give the authority's file as"
        ):
            runs(cluster_file)

    def test_one_of_an_authority_that_is_given(
        self, secured: Path, described: Any, cluster_file: Write, kfp: KfpApi
    ) -> None:
        described["kubeflow"] |= {"host": kfp.url, "ca_certificate": str(secured)}
        assert runs(cluster_file) == []

    def test_a_file_that_is_not_there(self, described: Any, cluster_file: Write) -> None:
        described["kubeflow"]["ca_certificate"] = "/nowhere.pem"
        with pytest.raises(ClusterError, match="ca_certificate=/nowhere.pem is no file"):
            runs(cluster_file)
