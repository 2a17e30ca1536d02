"""A stand-in of Kubeflow Pipelines' v2beta1 REST API.

It keeps runs, experiments and recurring runs as KFP's own models (kfp_server_api) and answers in their JSON,
with paging, filters, several users, and errors in gRPC gateway's form. What the real server checks is checked
here.
"""

import base64
import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import kfp_server_api as api

from .server import Answer, Refusal, Request, Server

ROOT = "/apis/v2beta1"
STATUS = {3: 400, 5: 404, 6: 409, 7: 403, 13: 500, 16: 401}
"""gRPC codes and their HTTP status, as the gateway has them."""


def refusal(code: int, message: str) -> Refusal:
    """An error in the gateway's form."""
    details = [{"@type": "type.googleapis.com/google.rpc.Status", "code": code, "message": message}]
    return Refusal(
        Answer({"error": message, "code": code, "message": message, "details": details}, STATUS[code])
    )


class KfpApi(Server):
    """Kubeflow Pipelines.

    Args:
        multi_user: whether namespaces belong to users.
        namespaces: those that the user may use.
        token: bearer token that is taken; None to take everybody.
        cookie: of a session that is taken instead.
    """

    def __init__(
        self,
        multi_user: bool = True,
        namespaces: tuple[str, ...] = ("team-a",),
        token: str | None = "good",
        cookie: str = "session=abc",
    ) -> None:
        super().__init__()
        self.multi_user, self.namespaces, self.token, self.cookie = multi_user, namespaces, token, cookie
        self.version = "2.17.0"
        self.runs: dict[str, Any] = {}
        self.experiments: dict[str, Any] = {}
        self.schedules: dict[str, Any] = {}
        self._client = api.ApiClient()
        self._clock = datetime(2026, 11, 25, 12, tzinfo=UTC)
        self.guard = self._guard
        one = "([^/:]+)"
        self.routes = [
            (
                f"GET {ROOT}/healthz",
                lambda r: Answer({"multi_user": multi_user, "pipeline_store": "database"}),
            ),
            (
                r"GET /apis/v1beta1/healthz",
                lambda r: Answer({"tag_name": self.version, "multi_user": multi_user}),
            ),
            (f"GET {ROOT}/experiments", self._list_experiments),
            (f"POST {ROOT}/experiments", self._create_experiment),
            (f"DELETE {ROOT}/experiments/{one}", self._delete_experiment),
            (f"GET {ROOT}/runs", self._list_runs),
            (f"POST {ROOT}/runs", self._create_run),
            (f"GET {ROOT}/runs/{one}", self._get_run),
            (f"POST {ROOT}/runs/{one}:terminate", self._terminate),
            (f"POST {ROOT}/runs/{one}:retry", self._retry),
            (f"GET {ROOT}/recurringruns", self._list_schedules),
            (f"POST {ROOT}/recurringruns", self._create_schedule),
            (f"POST {ROOT}/recurringruns/{one}:(enable|disable)", self._switch),
            (f"DELETE {ROOT}/recurringruns/{one}", self._delete_schedule),
        ]

    def _guard(self, request: Request) -> None:
        if self.token is None or request.path == "/login":
            return
        bearer = request.headers.get("Authorization") == f"Bearer {self.token}"
        if not bearer and self.cookie not in (request.headers.get("Cookie") or ""):
            raise refusal(16, "Unauthenticated: Request header error: there is no user identity header.")

    def _namespace(self, wanted: str | None) -> str:
        """The namespace of a request; with one user, KFP's own whatever is asked."""
        if not self.multi_user:
            return "kubeflow"
        if not wanted:
            raise refusal(3, "Invalid input error: Namespace is empty")
        if wanted not in self.namespaces:
            raise refusal(
                7, f"PermissionDenied: User 'me' is not authorized with reason: (namespace: {wanted})"
            )
        return wanted

    def _now(self) -> datetime:
        self._clock += timedelta(seconds=1)
        return self._clock

    def json(self, model: Any, **more: Any) -> Answer:
        """A model as the server writes it; a newer server tells more than the client knows."""
        return Answer({**self._client.sanitize_for_serialization(model), **more})

    def _page(self, request: Request, field: str, found: list[Any]) -> Answer:
        token, size = request.query.get("page_token", ""), int(request.query.get("page_size") or 20)
        try:
            start = int(base64.b64decode(token)) if token else 0
        except ValueError:
            raise refusal(3, "Invalid input error: Invalid page token") from None
        if request.query.get("sort_by", "").endswith("desc"):
            found = sorted(found, key=lambda one: one.created_at, reverse=True)
        answer: dict[str, Any] = {"total_size": len(found)}
        if part := found[start : start + size]:  # an empty list is left out, as protojson does
            answer[field] = self._client.sanitize_for_serialization(part)
        if start + size < len(found):
            answer["next_page_token"] = base64.b64encode(str(start + size).encode()).decode()
        return Answer(answer)

    def _read(self, kind: Any, body: Any) -> Any:
        """A body as a model; what the model doesn't know is refused, as protojson does."""
        known = set(kind.attribute_map.values())
        if unknown := set(body or {}) - known:
            raise refusal(3, f'Invalid input error: unknown field "{min(unknown)}"')
        return self._client._ApiClient__deserialize(body or {}, kind)

    def _known(self, store: dict[str, Any], kind: str, key: str) -> Any:
        if key not in store:
            raise refusal(5, f"ResourceNotFoundError: {kind} {key} not found.")
        found = store[key]
        namespace = getattr(found, "namespace", None) or self.experiments[found.experiment_id].namespace
        self._namespace(namespace)
        return found

    def _list_experiments(self, request: Request) -> Answer:
        namespace = self._namespace(request.query.get("namespace"))
        found = [e for e in self.experiments.values() if e.namespace == namespace]
        if text := request.query.get("filter"):
            for predicate in json.loads(text)["predicates"]:
                if predicate.get("operation") not in ("EQUALS", 1) or "stringValue" not in predicate:
                    raise refusal(3, "Invalid input error: filter")
                found = [e for e in found if getattr(e, predicate["key"]) == predicate["stringValue"]]
        return self._page(request, "experiments", found)

    def _create_experiment(self, request: Request) -> Answer:
        made = self._read(api.V2beta1Experiment, request.body)
        made.namespace = self._namespace(made.namespace)
        if not made.display_name:
            raise refusal(
                3, "Invalid input error: Experiment name is empty. Please specify a valid experiment name"
            )
        if any(
            (e.display_name, e.namespace) == (made.display_name, made.namespace)
            for e in self.experiments.values()
        ):
            raise refusal(6, f"Already exist error: The name {made.display_name} already exists.")
        made.experiment_id, made.created_at = str(uuid.uuid4()), self._now()
        made.storage_state = "AVAILABLE"
        self.experiments[made.experiment_id] = made
        return self.json(made)

    def _delete_experiment(self, request: Request, key: str) -> Answer:
        self._known(self.experiments, "Experiment", key)
        del self.experiments[key]
        return Answer()

    def _list_runs(self, request: Request) -> Answer:
        namespace = self._namespace(request.query.get("namespace"))
        found = [r for r in self.runs.values() if self.experiments[r.experiment_id].namespace == namespace]
        return self._page(request, "runs", found)

    def _check_template(self, made: Any) -> None:
        """What every run and recurring run must have."""
        if made.experiment_id not in self.experiments:
            raise refusal(5, f"ResourceNotFoundError: Experiment {made.experiment_id} not found.")
        self._namespace(self.experiments[made.experiment_id].namespace)
        if not made.display_name:
            raise refusal(3, "Invalid input error: The run name is empty. Please specify a valid name")
        inner = (made.pipeline_spec or {}).get("pipeline_spec", made.pipeline_spec or {})
        if not inner.get("root") or not inner.get("pipelineInfo", {}).get("name"):
            raise refusal(3, "Invalid input error: invalid v2 pipeline spec: name is empty")
        legal = inner["root"].get("inputDefinitions", {}).get("parameters", {})
        for name in (made.runtime_config.parameters or {}) if made.runtime_config else {}:
            if name not in legal:
                raise refusal(3, f"Invalid input error: parameter {name} is not an input of the pipeline")

    def _create_run(self, request: Request) -> Answer:
        made = self._read(api.V2beta1Run, request.body)
        self._check_template(made)
        made.run_id, made.created_at, made.state = str(uuid.uuid4()), self._now(), "PENDING"
        made.finished_at = datetime(1970, 1, 1, tzinfo=UTC)  # as long as it goes on
        made.storage_state = "AVAILABLE"
        self.runs[made.run_id] = made
        return self.json(made, tasks=[{"task_id": "1"}])

    def _get_run(self, request: Request, key: str) -> Answer:
        return self.json(self._known(self.runs, "Run", key), tasks=[])

    def _terminate(self, request: Request, key: str) -> Answer:
        run = self._known(self.runs, "Run", key)
        if run.state not in ("PENDING", "RUNNING"):
            raise refusal(3, f"Invalid input error: Failed to terminate run {key}: it is {run.state}")
        run.state = "CANCELING"
        return Answer()

    def _retry(self, request: Request, key: str) -> Answer:
        run = self._known(self.runs, "Run", key)
        if run.state not in ("FAILED", "CANCELED"):
            raise refusal(
                3, f"Invalid input error: Workflow must be Failed/Error to retry, it is {run.state}"
            )
        run.state, run.error = "RUNNING", None
        return Answer()

    def _list_schedules(self, request: Request) -> Answer:
        namespace = self._namespace(request.query.get("namespace"))
        return self._page(
            request, "recurringRuns", [s for s in self.schedules.values() if s.namespace == namespace]
        )

    def _create_schedule(self, request: Request) -> Answer:
        made = self._read(api.V2beta1RecurringRun, request.body)
        self._check_template(made)
        cron = made.trigger.cron_schedule.cron if made.trigger and made.trigger.cron_schedule else ""
        if len(cron.split()) != 6:
            raise refusal(3, f"Invalid input error: Schedule cron is not a supported format: {cron}")
        if not 1 <= int(made.max_concurrency or 0) <= 10:
            raise refusal(3, "Invalid input error: The max concurrency must be between 1 and 10")
        if made.mode not in ("ENABLE", "DISABLE"):
            raise refusal(3, "Invalid input error: mode")
        made.recurring_run_id, made.created_at = str(uuid.uuid4()), self._now()
        made.status = f"{made.mode}D"
        made.namespace = self.experiments[made.experiment_id].namespace
        self.schedules[made.recurring_run_id] = made
        return self.json(made)

    def _switch(self, request: Request, key: str, verb: str) -> Answer:
        schedule = self._known(self.schedules, "RecurringRun", key)
        schedule.mode, schedule.status = verb.upper(), f"{verb.upper()}D"
        return Answer()

    def _delete_schedule(self, request: Request, key: str) -> Answer:
        self._known(self.schedules, "RecurringRun", key)
        del self.schedules[key]
        return Answer()
