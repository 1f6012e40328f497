#!/usr/bin/env bash
# label-studio 1.23.2: "Retrieved 3 predictions" is the number of tasks that were selected, not of predictions that came.
#
# Guess, written down before the run: the Data Manager's action Retrieve Predictions reports how many predictions it got and stored.
# What happens: it reports how many tasks were selected. A model that answers for one of three tasks, or for none, or holds predictions
# of its version already, brings the same sentence, in the answer and on the page.
# Who is hurt: whoever takes the sentence for a test of his model, or waits for scores that will not come. Look at the tasks' column
# "Prediction results", or ask for them.
#
# Seen on 2026-11-30, Python 3.11:
#   the model answers for 0 of 3 tasks: 0 stored, "Retrieved 3 predictions"
#   the model answers for 1 of 3 tasks: 1 stored, "Retrieved 3 predictions"
set -euo pipefail
folder=$(mktemp -d)
trap 'kill "${server:-}" 2>/dev/null || true; wait "${server:-}" 2>/dev/null || true; rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet label-studio==1.23.2
export COLLECT_ANALYTICS=false LATEST_VERSION_CHECK=false SENTRY_DSN= FRONTEND_SENTRY_DSN=
export SSRF_PROTECTION_ENABLED=false ML_BLOCK_LOCAL_IP=false  # else it takes no model on this machine
token=0123456789abcdef0123456789abcdef01234567
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
"$folder/venv/bin/label-studio" start --no-browser --data-dir "$folder/data" --port "$port" --internal-host 127.0.0.1 \
  --username a@example.com --password not-a-secret --user-token "$token" --enable-legacy-api-token > "$folder/log" 2>&1 &
server=$!
cat > "$folder/try.py" <<'PY'
import json, sys, threading, time, urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

url, token = sys.argv[1:]


def call(method, path, body):
    headers = {"Authorization": f"Token {token}", "Content-Type": "application/json"}
    request = urllib.request.Request(url + path, None if body is None else json.dumps(body).encode(), headers, method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


for _ in range(600):  # the first start makes the database
    try:
        urllib.request.urlopen(f"{url}/health", timeout=2)
        break
    except OSError:
        time.sleep(1)


class Model(BaseHTTPRequestHandler):
    num_answered = 0

    def do_GET(self):
        self.answer({"status": "UP", "model_class": "Model"})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
        if self.path.endswith("/predict"):
            answered = [{"result": RESULT, "score": 0.5, "model_version": "v1"}] * self.num_answered
            self.answer({"results": (answered + [[]] * len(body["tasks"]))[: len(body["tasks"])]})
        else:
            self.answer({"model_version": "v1"})

    def answer(self, value):
        text = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *args):
        pass


RESULT = [{"from_name": "c", "to_name": "text", "type": "choices", "value": {"choices": ["a"]}}]
model = ThreadingHTTPServer(("127.0.0.1", 0), Model)
threading.Thread(target=model.serve_forever, daemon=True).start()
config = '<View><Text name="text" value="$text"/><Choices name="c" toName="text"><Choice value="a"/><Choice value="b"/></Choices></View>'
for num_answered in (0, 1):
    Model.num_answered = num_answered
    project = call("POST", "/api/projects/", {"title": "Predictions", "label_config": config})["id"]
    call("POST", "/api/ml/", {"project": project, "url": f"http://127.0.0.1:{model.server_port}", "title": "model"})
    ids = call("POST", f"/api/projects/{project}/import?return_task_ids=true", [{"text": str(i)} for i in range(3)])["task_ids"]
    selected = {"selectedItems": {"all": False, "included": ids}, "project": str(project)}
    said = call("POST", f"/api/dm/actions?id=retrieve_tasks_predictions&project={project}", selected)["detail"]
    stored = len(call("GET", f"/api/predictions/?task__project={project}", None))  # to read a task would ask the model once more
    print(f'the model answers for {num_answered} of 3 tasks: {stored} stored, "{said}"')
    assert (stored, said) == (num_answered, "Retrieved 3 predictions"), "it changed"
PY
"$folder/venv/bin/python" "$folder/try.py" "http://127.0.0.1:$port" "$token"
