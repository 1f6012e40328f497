#!/usr/bin/env bash
# label-studio 1.23.2: with two annotations a task, uncertainty sampling begins with tasks that somebody else has judged, whatever their scores.
#
# Guess, written down before the run: with "Uncertainty sampling" the second annotator, too, gets the least certain task first.
# What happens: with `maximum_annotations` above 1, tasks that others have begun come first, at random among those with most
# annotations. Only when there are none left do the scores count. So the second annotator gets what the first one happened to judge.
# Who is hurt: whoever raises `maximum_annotations` in the middle of a project, to measure agreement on the uncertain tasks: first
# everything that was judged before is judged again. A project of its own for a sample serves better.
#
# Seen on 2026-11-30, Python 3.11 (two of six tasks judged by somebody else, those with the highest scores):
#   maximum_annotations 1: first a task of score 0.1, which nobody has judged
#   maximum_annotations 2: first a task of score 0.9, which somebody else has judged (Breadth first queue)
set -euo pipefail
folder=$(mktemp -d)
trap 'kill "${server:-}" 2>/dev/null || true; wait "${server:-}" 2>/dev/null || true; rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet label-studio==1.23.2
export COLLECT_ANALYTICS=false LATEST_VERSION_CHECK=false SENTRY_DSN= FRONTEND_SENTRY_DSN=
token=0123456789abcdef0123456789abcdef01234567
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
"$folder/venv/bin/label-studio" start --no-browser --data-dir "$folder/data" --port "$port" --internal-host 127.0.0.1 \
  --username a@example.com --password not-a-secret --user-token "$token" --enable-legacy-api-token > "$folder/log" 2>&1 &
server=$!
cat > "$folder/try.py" <<'PY'
import json, sys, time, urllib.request

url, token = sys.argv[1:]


def call(method, path, body):
    headers = {"Authorization": f"Token {token}", "Content-Type": "application/json"}
    request = urllib.request.Request(url + path, json.dumps(body).encode(), headers, method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


for _ in range(600):  # the first start makes the database
    try:
        urllib.request.urlopen(f"{url}/health", timeout=2)
        break
    except OSError:
        time.sleep(1)
config = '<View><Text name="text" value="$text"/><Choices name="c" toName="text"><Choice value="a"/><Choice value="b"/></Choices></View>'
other = call("POST", "/api/users/", {"email": "other@example.com", "username": "other", "password": "not-a-secret"})["id"]
result = [{"from_name": "c", "to_name": "text", "type": "choices", "value": {"choices": ["a"]}}]
scores = [0.9, 0.9, 0.4, 0.3, 0.2, 0.1]
for most in (1, 2):
    project = call("POST", "/api/projects/", {"title": "Order", "label_config": config, "maximum_annotations": most})["id"]
    tasks = [{"data": {"text": str(s)}, "predictions": [{"model_version": "v1", "score": s, "result": result}]} for s in scores]
    for task in tasks[:2]:
        task["annotations"] = [{"result": result, "completed_by": other}]
    ids = call("POST", f"/api/projects/{project}/import?return_task_ids=true", tasks)["task_ids"]
    call("PATCH", f"/api/projects/{project}/", {"model_version": "v1", "sampling": "Uncertainty sampling"})
    task = call("POST", f"/api/dm/actions?id=next_task&project={project}", {"project": str(project)})
    score = scores[ids.index(task["id"])]
    print(f"maximum_annotations {most}: first a task of score {score}, {task['queue']}")
    assert score == {1: 0.1, 2: 0.9}[most], "it changed"
PY
"$folder/venv/bin/python" "$folder/try.py" "http://127.0.0.1:$port" "$token"
