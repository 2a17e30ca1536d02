"""How Kubeflow Pipelines and Kubernetes are reached, and what their refusals mean in words.

What `kfp.Client` is made of, KFP's generated API, is used directly: the client itself knows no retry of a
run and no time limit, prints, and keeps a namespace in the user's home.

Kubeflow Pipelines is looked for at the cluster file's `kubeflow.host`, else at $KF_PIPELINES_ENDPOINT, else,
in a pod, at its service, else through kubeconfig's API server, as a port-forward would. Who asks is told by
$MASKLINE_KFP_TOKEN (a bearer token), $MASKLINE_KFP_COOKIE (the cookie of a session in a browser), or the
token that Kubernetes gives a pod. Certificates are always checked.
"""

import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from maskline.errors import ClusterError, UnansweredError

from ..cluster_file import Cluster

TOKEN_VARIABLE = "MASKLINE_KFP_TOKEN"  # noqa: S105  the name of a variable
COOKIE_VARIABLE = "MASKLINE_KFP_COOKIE"
HOST_VARIABLE = "KF_PIPELINES_ENDPOINT"
"""As `kfp.Client` has it."""
TIMEOUT = (5, 30)
"""Seconds for the connection, and for each answer."""
PAGE = 100
"""Objects that are asked for at a time."""


class Connection:
    """Kubeflow Pipelines and Kubernetes, as one user reaches them.

    Args:
        cluster: the cluster file.

    Raises:
        ClusterError: there is no way to Kubeflow Pipelines.
    """

    def __init__(self, cluster: Cluster) -> None:
        import kfp_server_api as api

        self.cluster = cluster
        self.namespace = cluster.kubeflow.namespace
        client = api.ApiClient(_configuration(cluster), cookie=os.environ.get(COOKIE_VARIABLE))
        self.host: str = client.configuration.host
        self.runs = api.RunServiceApi(client)
        self.recurring = api.RecurringRunServiceApi(client)
        self.experiments = api.ExperimentServiceApi(client)
        self.health = api.HealthzServiceApi(client)
        self._client = client
        self._core: Any = None

    def ask(self, what: str, method: Callable[..., Any], **arguments: Any) -> Any:
        """Call Kubeflow Pipelines.

        Args:
            what: is asked, for errors: `run 4711`.
            method: of one of the services.
            **arguments: of the method.

        Raises:
            ClusterError: it can't be reached, or refuses.
            UnansweredError: it doesn't answer in time.
        """
        import kfp_server_api as api
        import urllib3

        try:
            answer = method(**arguments, _request_timeout=TIMEOUT)
        except api.ApiException as error:
            raise ClusterError(self._refusal(what, error.status, error.body or error.reason)) from None
        except (urllib3.exceptions.HTTPError, OSError) as error:
            kind = UnansweredError if _sent(error) else ClusterError
            raise kind(f"Kubeflow Pipelines at {self.host} {_unreachable(error)}") from None
        # KFP's client makes an empty object of what isn't one, such as a page for logging in.
        if not str(self._client.last_response.data).lstrip().startswith("{"):
            raise ClusterError(
                f"{self.host} answers, and not as Kubeflow Pipelines does; correct kubeflow.host, or log in "
                f"and set {COOKIE_VARIABLE} or {TOKEN_VARIABLE}"
            )
        return answer

    def create(self, what: str, method: Callable[..., Any], **arguments: Any) -> Any:
        """The same for what must not be created twice: without an answer it may be there."""
        try:
            return self.ask(what, method, **arguments)
        except UnansweredError as error:
            said = str(error).partition(";")[0]
            raise UnansweredError(
                f"{said}; {what} may have been created all the same: look (`maskline status`, `maskline "
                "schedule list`) before you try again"
            ) from None

    def all(self, what: str, method: Callable[..., Any], field: str, **arguments: Any) -> Iterator[Any]:
        """Every object of a list, page by page.

        Args:
            what: is asked, for errors.
            method: that lists.
            field: of the answer with the objects.
            **arguments: of the method.
        """
        token = ""
        while True:
            answer = self.ask(what, method, page_size=PAGE, page_token=token, **arguments)
            yield from getattr(answer, field) or ()
            if not (token := answer.next_page_token or ""):
                return

    def plain(self, path: str) -> dict[str, Any]:
        """A JSON answer below the API's host that KFP's client has no model for; empty if there is none."""
        import kfp_server_api as api
        import urllib3

        client = self._client
        headers: dict[str, str] = {"Cookie": client.cookie} if client.cookie else {}
        client.update_params_for_auth(headers, [], ["Bearer"])
        try:
            answer = client.rest_client.GET(self.host + path, headers=headers, _request_timeout=TIMEOUT)
            found = json.loads(answer.data)
        except (api.ApiException, urllib3.exceptions.HTTPError, OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def page(self, run_id: str) -> str:
        """Address of a run in Kubeflow's pages, which a service of their own serves in the cluster."""
        pages = re.sub(r"/ml-pipeline(?=[.:])", "/ml-pipeline-ui", self.host).removesuffix(":8888")
        host = self.cluster.kubeflow.ui or pages
        return f"{host.rstrip('/')}/#/runs/details/{run_id}"

    @property
    def core(self) -> Any:
        """Kubernetes' core API.

        Raises:
            ClusterError: there is neither a pod's account nor a kubeconfig.
        """
        if self._core is None:
            self._core = _core(self.cluster)
        return self._core

    def look(self, what: str, method: Callable[..., Any], **arguments: Any) -> Any:
        """Call Kubernetes.

        Args:
            what: is asked, for errors: `pods in namespace team-a`.
            method: of one of its APIs.
            **arguments: of the method.

        Raises:
            ClusterError: it can't be reached, or refuses.
        """
        import urllib3
        from kubernetes.client import ApiException

        host = self.core.api_client.configuration.host
        try:
            return method(**arguments, _request_timeout=TIMEOUT)
        except ApiException as error:
            reason = _message(error.body or error.reason)
            if error.status == 401:
                remedy = "log in again: the credentials of kubeconfig have expired"
            elif error.status == 403:
                remedy = "ask for the role maskline-user there (manifests/base/access.yaml)"
            else:
                remedy = "`maskline doctor` tells more"
            raise ClusterError(f"{what}: Kubernetes answers {error.status}, {reason}; {remedy}") from None
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise ClusterError(f"Kubernetes at {host} {_unreachable(error)}") from None

    def _refusal(self, what: str, status: int, body: Any) -> str:
        reason = _message(body)
        if status in (301, 302, 303, 307, 308):
            return (
                f"{self.host} wants a login; set {COOKIE_VARIABLE} to a session's cookie, or {TOKEN_VARIABLE}"
            )
        if status == 401:
            return (
                f"Kubeflow Pipelines at {self.host} takes no or an expired token ({reason}); set "
                f"{TOKEN_VARIABLE} to a new one, or {COOKIE_VARIABLE} to the cookie of a new session"
            )
        if status == 403:
            return (
                f"{what}: you have no rights in namespace {self.namespace} ({reason}); ask its owner for "
                "access, or correct kubeflow.namespace"
            )
        if status == 404:
            command = "maskline schedule list" if what.startswith("schedule") else "maskline status"
            return f"{what} is not there ({reason}); `{command}` lists what is"
        remedy = (
            "try again, and read the log of ml-pipeline if it stays so" if status >= 500 else "correct it"
        )
        return f"{what}: Kubeflow Pipelines answers {status}, {reason}; {remedy}"


def _configuration(cluster: Cluster) -> Any:
    """KFP's client's settings: host, credentials, certificates, repetitions."""
    import kfp_server_api as api
    import urllib3
    from kfp.client import KF_PIPELINES_SA_TOKEN_ENV, KF_PIPELINES_SA_TOKEN_PATH
    from kfp.client.set_volume_credentials import ServiceAccountTokenVolumeCredentials

    found = api.Configuration()
    # What is only read may be asked again; a run must not be created twice.
    found.retries = urllib3.Retry(
        2, redirect=0, backoff_factor=0.3, status_forcelist=(502, 503, 504), raise_on_redirect=False,
        raise_on_status=False, allowed_methods=("GET",),
    )  # fmt: skip
    kubeflow = cluster.kubeflow
    if kubeflow.ca_certificate:
        if not Path(kubeflow.ca_certificate).expanduser().is_file():
            raise ClusterError(
                f"kubeflow.ca_certificate={kubeflow.ca_certificate} is no file; correct the path"
            )
        found.ssl_ca_cert = str(Path(kubeflow.ca_certificate).expanduser())
    host = kubeflow.host or os.environ.get(HOST_VARIABLE)
    in_pod = bool(os.environ.get("KUBERNETES_SERVICE_HOST"))
    if host:
        found.host = host.rstrip("/") if "://" in host else f"https://{host.rstrip('/')}"
    elif in_pod:
        found.host = f"http://ml-pipeline.{kubeflow.system_namespace}.svc.cluster.local:8888"
    else:
        return _through_kubeconfig(found, cluster)
    projected = os.environ.get(KF_PIPELINES_SA_TOKEN_ENV) or KF_PIPELINES_SA_TOKEN_PATH
    if token := os.environ.get(TOKEN_VARIABLE):
        found.api_key["authorization"] = token.strip()
        found.api_key_prefix["authorization"] = "Bearer"
    elif Path(projected).is_file():
        found.api_key_prefix["authorization"] = "Bearer"
        found.refresh_api_key_hook = ServiceAccountTokenVolumeCredentials(projected).refresh_api_key_hook
        found.refresh_api_key_hook(found)
    return found


def _through_kubeconfig(found: Any, cluster: Cluster) -> Any:
    """Kubeflow Pipelines' service by way of the API server, with kubeconfig's credentials."""
    from kubernetes import config

    try:
        config.load_kube_config(_kubeconfig(), cluster.kubeflow.context, client_configuration=found)
    except (config.ConfigException, OSError) as error:
        raise ClusterError(
            f"there is no way to Kubeflow Pipelines: no kubeflow.host, no {HOST_VARIABLE}, and "
            f"kubeconfig can't be used ({error}); give one of them"
        ) from None
    service = f"api/v1/namespaces/{cluster.kubeflow.system_namespace}/services/ml-pipeline:http/proxy"
    host, renew = f"{found.host}/{service}", found.refresh_api_key_hook
    found.host = host

    def renew_and_stay(configuration: Any) -> None:
        """Renewing the token, kubernetes' client also sets the host back to the API server's."""
        renew(configuration)
        configuration.host = host

    found.refresh_api_key_hook = renew_and_stay if renew else None
    return found


def _kubeconfig() -> str | None:
    """As kubectl has it; kubernetes' client looks at the variable only once, when it is imported."""
    return os.environ.get("KUBECONFIG")


def _core(cluster: Cluster) -> Any:
    from kubernetes import client, config

    settings = client.Configuration()
    settings.retries = 1
    try:
        if os.environ.get("KUBERNETES_SERVICE_HOST"):
            config.load_incluster_config(client_configuration=settings)
        else:
            config.load_kube_config(_kubeconfig(), cluster.kubeflow.context, client_configuration=settings)
    except (config.ConfigException, OSError) as error:
        raise ClusterError(
            f"Kubernetes can't be asked: {error}; set KUBECONFIG, or correct kubeflow.context"
        ) from None
    return client.CoreV1Api(client.ApiClient(settings))


def _message(body: Any) -> str:
    """The reason in an answer, in one line."""
    text = body.decode(errors="replace") if isinstance(body, bytes) else str(body)
    try:
        found = json.loads(text)
        text = found.get("message") or found.get("error_message") or found.get("error") or text
    except (ValueError, AttributeError):
        text = "no reason" if "<html" in text.lower() else text
    line = " ".join(str(text).split())
    return line if len(line) <= 300 else f"{line[:297]}..."


def _sent(error: Exception) -> bool:
    """Whether a request may have reached the other side."""
    import urllib3

    cause = getattr(error, "reason", None) or error
    return isinstance(cause, urllib3.exceptions.ReadTimeoutError | urllib3.exceptions.ProtocolError)


def _unreachable(error: Exception) -> str:
    """Why nobody answers, with the remedy."""
    import urllib3

    cause = getattr(error, "reason", None) or error
    text = " ".join(str(cause).split())
    if isinstance(cause, urllib3.exceptions.SSLError) or "CERTIFICATE_VERIFY" in text:
        return (
            "has a certificate that can't be verified; give the authority's file as kubeflow.ca_certificate"
            f" ({text[:120]})"
        )
    if isinstance(cause, urllib3.exceptions.ReadTimeoutError):
        return f"doesn't answer within {TIMEOUT[1]} seconds; try again, or look at its pod"
    refused = isinstance(cause, urllib3.exceptions.NewConnectionError)
    if isinstance(cause, urllib3.exceptions.ConnectTimeoutError) and not refused:
        return f"can't be reached within {TIMEOUT[0]} seconds; is the address right, and the network open?"
    return (
        f"can't be reached ({text.rsplit(': ', 1)[-1][:120]}); is the address right, and the port-forward up?"
    )
