"""What a job says of the cluster of Azure's that it was written for: resources, queue, identity.

Maskline's own cluster is described where a pipeline is compiled, so these are kept with the job and don't
change how it runs.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, JsonValue

from .errors import JobError
from .inputs import Input, Output
from .rules import Part, show
from .search_space import SearchSpace
from .settings import Count
from .words import Word, word

__all__ = [
    "AmlTokenConfiguration",
    "IdentityConfiguration",
    "Input",
    "JobResourceConfiguration",
    "ManagedIdentityConfiguration",
    "Output",
    "QueueSettings",
    "ResourceConfiguration",
    "SearchSpace",
    "UserIdentityConfiguration",
]


class JobTier(Word):
    """What a queue charges for."""

    NULL = "null"
    SPOT = "spot"
    BASIC = "basic"
    STANDARD = "standard"
    PREMIUM = "premium"


class Priority(Word):
    """Place in a queue."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class JobResourceConfiguration(Part):
    """The machines a job asks for."""

    instance_count: Count | None = None
    """Machines a trial."""
    instance_type: str | list[str] | None = None
    """Kind of machine."""
    max_instance_count: Count | None = None
    """Most machines."""
    locations: list[str] | None = None
    """Regions."""
    shm_size: str | None = None
    """Shared memory, e.g. `2g`."""
    docker_args: str | list[str] | None = None
    """Further arguments of Docker."""
    properties: dict[str, JsonValue] | None = None
    """Further properties."""


ResourceConfiguration = JobResourceConfiguration


class QueueSettings(Part):
    """Place in a queue."""

    job_tier: Annotated[JobTier, word(JobTier)] | None = None
    """What the queue charges for."""
    priority: Annotated[Priority, word(Priority)] | None = None
    """Place in the queue."""


class IdentityConfiguration(Part):
    """As whom a job reads its data."""

    type: str


class AmlTokenConfiguration(IdentityConfiguration):
    """With the workspace's token."""

    type: Literal["aml_token"] = "aml_token"


class UserIdentityConfiguration(IdentityConfiguration):
    """As the user."""

    type: Literal["user_identity"] = "user_identity"


class ManagedIdentityConfiguration(IdentityConfiguration):
    """As an identity that the cloud manages."""

    type: Literal["managed"] = "managed"
    client_id: str | None = None
    """Client id of the identity."""
    resource_id: str | None = None
    """Resource id of the identity."""
    object_id: str | None = None
    """Object id of the identity."""
    principal_id: str | None = None
    """Principal id of the identity."""


_IDENTITIES: dict[str, type[IdentityConfiguration]] = {
    "amltoken": AmlTokenConfiguration,
    "useridentity": UserIdentityConfiguration,
    "managed": ManagedIdentityConfiguration,
    "managedidentity": ManagedIdentityConfiguration,
}


def _identity(value: Any) -> Any:
    if isinstance(value, IdentityConfiguration):
        return value
    if not isinstance(value, Mapping):
        raise ValueError("is not an identity; give a mapping with its type")
    kind = value.get("type")
    name = str(kind).rsplit(".", 1)[-1].lower().replace("_", "")
    if name not in _IDENTITIES:
        raise JobError(f"type={show(kind)} is not legal; choose one of managed, user_identity, aml_token")
    return _IDENTITIES[name](**{str(k): v for k, v in value.items() if k != "type"})


Identity = Annotated[IdentityConfiguration, BeforeValidator(_identity)]
"""An identity; a mapping is read by its `type`."""
