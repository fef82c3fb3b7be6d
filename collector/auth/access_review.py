"""SubjectAccessReview: the API server says what a user may do (authorization.k8s.io/v1)."""

from collections.abc import Mapping
from typing import Any

from gputally.collector.auth.token_review import Api, User

PATH = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
# Whoever may change is whom RBAC gives this verb on this path; nothing is served there.
_ADMIN = {"nonResourceAttributes": {"path": "/gputally/admin", "verb": "update"}}


class AccessReviews:
    """What users may see and do here, in terms of what RBAC says of the cluster. Raises Undecided throughout."""

    def __init__(self, api: Api) -> None:
        self._api = api

    async def may_list_pods(self, user: User, namespace: str) -> bool:
        """Whether one sees who runs what in a namespace, and so who holds its GPUs; empty: in all of them."""
        attributes = {"verb": "list", "version": "v1", "resource": "pods"}
        if namespace:
            attributes["namespace"] = namespace
        return await self._allowed(user, {"resourceAttributes": attributes})

    async def may_change(self, user: User) -> bool:
        """Whether one may `update` the path /gputally/admin."""
        return await self._allowed(user, _ADMIN)

    async def _allowed(self, user: User, attributes: Mapping[str, object]) -> bool:
        status = await self._api.review(PATH, request(user, attributes))
        # A denial that is explicit wins over whatever else allows it.
        return status.get("allowed") is True and status.get("denied") is not True


def request(user: User, attributes: Mapping[str, Any]) -> dict[str, object]:
    """The document that asks whether a user may do something."""
    extra = {key: list(values) for key, values in user.extra}
    return {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": user.username, "uid": user.uid, "groups": list(user.groups), "extra": extra, **attributes},
    }
