#!/usr/bin/env bash
# label-studio 1.23.2: a request for the next task that names an empty selection is served by the table, not by uncertainty sampling.
#
# Guess, written down before the run: `selectedItems: {"all": false, "included": []}`, no filter and no order mean that nothing was
# selected, so that the project's sampling decides. The editor sends just this if somebody opens the address
# /projects/ID/data?labeling=1, which the browser shows after a click on Label All Tasks; so a bookmark of it serves as the click does.
# What happens: an object that is there counts as a selection, however empty it is. The tasks then come in the order of the table ("Data
# manager queue"), by id as a rule. Only without these fields, as the button sends it, does the project's sampling hold.
# Who is hurt: a team that sends its annotators a link to the label stream. They judge in the order of import, and whoever counts on the
# least certain tasks first, or on a random order, measures something else. Have them start with Label All Tasks.
#
# Seen on 2026-11-30, Python 3.11:
#   as the button asks   task 4 (score 0.6), Active learning or random queue
#   as the address asks  task 1 (score 0.9), Data manager queue
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
project = call("POST", "/api/projects/", {"title": "Order", "label_config": config})["id"]
result = [{"from_name": "c", "to_name": "text", "type": "choices", "value": {"choices": ["a"]}}]
scores = [0.9, 0.8, 0.7, 0.6]
tasks = [{"data": {"text": str(s)}, "predictions": [{"model_version": "v1", "score": s, "result": result}]} for s in scores]
ids = call("POST", f"/api/projects/{project}/import?return_task_ids=true", tasks)["task_ids"]
call("PATCH", f"/api/projects/{project}/", {"model_version": "v1", "sampling": "Uncertainty sampling"})

empty = {"ordering": [], "selectedItems": {"all": False, "included": []}, "filters": {"conjunction": "and", "items": []}}
for name, body, expected in (("as the button asks  ", {}, 3), ("as the address asks ", empty, 0)):
    task = call("POST", f"/api/dm/actions?id=next_task&project={project}", {**body, "project": str(project)})
    place = ids.index(task["id"])
    print(f"{name} task {place + 1} (score {scores[place]}), {task['queue']}")
    assert place == expected, "it changed"
PY
"$folder/venv/bin/python" "$folder/try.py" "http://127.0.0.1:$port" "$token"
