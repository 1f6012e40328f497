#!/usr/bin/env bash
# label-studio 1.23.2: a label config that renames a control which annotations used is refused, except for a <Pairwise>.
#
# Guess, written down before the run: Label Studio refuses every change of the label config that would orphan an annotation, whatever
# the kind of its control ("Created annotations are incompatible with provided labeling schema").
# What happens: it keeps count of the controls that annotations used, and passes over results of the type "pairwise". So the <Choices>
# of a task keeps its name, and the <Pairwise> of the same task can be renamed or removed; its judgements stay in the database under a
# name that no config has.
# Who is hurt: whoever trains on comparisons and reads results by the name in the present config. All judgements seem gone after a
# harmless-looking rename, and nobody was warned. Compare the names in the results with the config, and count what does not fit.
#
# Seen on 2026-11-29, Python 3.11:
#   rename the <Choices>   400 Created annotations are incompatible with provided labeling schema
#   rename the <Pairwise>  200
#   the judgement is stored under: comparison; the config has: compared
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
import json, sys, time, urllib.error, urllib.request

url, token = sys.argv[1:]
config = """<View><Text name="prompt" value="$prompt"/><Text name="answer1" value="$answer1"/><Text name="answer2" value="$answer2"/>
<Pairwise name="comparison" toName="answer1,answer2"/>
<Choices name="verdict" toName="prompt"><Choice value="sure"/><Choice value="unsure"/></Choices></View>"""


def call(method, path, body=None):
    headers = {"Authorization": f"Token {token}", "Content-Type": "application/json"}
    request = urllib.request.Request(url + path, json.dumps(body).encode(), headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


for _ in range(600):  # the first start makes the database
    try:
        urllib.request.urlopen(f"{url}/health", timeout=2)
        break
    except OSError:
        time.sleep(1)
_, project = call("POST", "/api/projects/", {"title": "Pairs", "label_config": config})
path = f"/api/projects/{project['id']}/"
texts = {"prompt": "Why?", "answer1": "So.", "answer2": "Because."}
(task,) = call("POST", f"{path}import?return_task_ids=true", [texts])[1]["task_ids"]
pairwise = {"from_name": "comparison", "to_name": "comparison", "type": "pairwise", "value": {"selected": "left"}}
choice = {"from_name": "verdict", "to_name": "prompt", "type": "choices", "value": {"choices": ["sure"]}}
call("POST", f"/api/tasks/{task}/annotations/", {"result": [pairwise, choice]})

status, answer = call("PATCH", path, {"label_config": config.replace('"verdict"', '"opinion"')})
said = "Created annotations are incompatible with provided labeling schema"
print("rename the <Choices>  ", status, said if said in json.dumps(answer) else answer)
assert status == 400 and said in json.dumps(answer), "it changed"
status, _ = call("PATCH", path, {"label_config": config.replace('"comparison"', '"compared"')})
print("rename the <Pairwise> ", status)
assert status == 200, "it changed"
(kept,) = call("GET", f"/api/tasks/{task}/annotations/")[1]
names = {result["from_name"] for result in kept["result"] if result["type"] == "pairwise"}
print("the judgement is stored under: " + ", ".join(names) + "; the config has: compared")
assert names == {"comparison"}, "it changed"
PY
"$folder/venv/bin/python" "$folder/try.py" "http://127.0.0.1:$port" "$token"
