"""Somebody who judges in a real Label Studio."""

import re
from typing import Any

import httpx

from demo.stack import Stack
from tests.support.loop_stack import call


class Person:
    """Somebody with a browser of their own."""

    def __init__(self, stack: Stack, name: str, project_id: int) -> None:
        self._project_id, self._web = project_id, httpx.Client(base_url=stack.url, timeout=60, follow_redirects=True)
        invited = call(stack, "GET", "/api/invite")["invite_url"]
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', self._web.get(invited).text)
        assert token is not None
        made = {"email": f"{name}@example.com", "password": "not-a-secret", "csrfmiddlewaretoken": token[1]}
        self._web.post(invited, data=made).raise_for_status()  # which logs in as well

    def close(self) -> None:
        self._web.close()

    def next_task(self) -> dict[str, Any]:
        return self._ask("POST", f"/api/dm/actions?id=next_task&project={self._project_id}", {})

    def judge(self, task: dict[str, Any], side: str) -> None:
        """`side`: left, right, or new_answers."""
        region = {"from_name": "verdict", "to_name": "answer1", "type": "choices", "value": {"choices": [side]}}
        parent = task["predictions"][0]["id"] if task["predictions"] else None
        body = {"result": [region], "parent_prediction": parent, "lead_time": 5}
        self._ask("POST", f"/api/tasks/{task['id']}/annotations/", body)

    def _ask(self, method: str, path: str, body: Any) -> dict[str, Any]:
        headers = {"X-CSRFToken": self._web.cookies.get("csrftoken") or ""}
        answer = self._web.request(method, path, json=body, headers=headers)
        assert answer.status_code < 300, answer.text
        answered: dict[str, Any] = answer.json()
        return answered
