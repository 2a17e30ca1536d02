"""Whether an image can be pulled, as far as this machine can know without a login."""

import re
from urllib.parse import urlencode

ACCEPT = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)
TIMEOUT = 5.0


def published(image: str) -> bool | None:
    """Whether a registry has an image.

    Args:
        image: `host/path:tag`; without a host it is Docker Hub's.

    Returns:
        None where that can't be known from here: no way to the registry, or it wants a login.
    """
    import json

    import urllib3

    name, _, tag = image.rpartition(":")
    host, _, path = name.partition("/")
    if not re.search(r"[.:]|^localhost$", host):
        host, path = "registry-1.docker.io", name
    pool = urllib3.PoolManager(retries=False, timeout=TIMEOUT)
    scheme = "http" if host.split(":")[0] in ("localhost", "127.0.0.1") else "https"
    url, headers = f"{scheme}://{host}/v2/{path}/manifests/{tag}", {"Accept": ACCEPT}
    try:
        answer = pool.request("HEAD", url, headers=headers)
        if answer.status == 401:
            wanted = dict(re.findall(r'(\w+)="([^"]*)"', answer.headers.get("WWW-Authenticate", "")))
            if "realm" not in wanted:
                return None
            asked = {key: wanted[key] for key in ("service", "scope") if key in wanted}
            token = pool.request("GET", f"{wanted['realm']}?{urlencode(asked)}")
            found = json.loads(token.data)
            headers["Authorization"] = f"Bearer {found.get('token') or found.get('access_token')}"
            answer = pool.request("HEAD", url, headers=headers)
    except (urllib3.exceptions.HTTPError, ValueError, OSError):
        return None
    return {200: True, 404: False}.get(answer.status)
