"""A small server that speaks OpenAI's API over HTTP, for what a real one does only on a bad day."""

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal, Self

KEY = "sk-a-key-that-nobody-may-see"
Fields = dict[str, Any]


class OpenAIDouble:
    """Answers `PROMPT/SEED+K` for the K-th choice. What it holds may be set before and between requests."""

    def __init__(self) -> None:
        self.models = ["tiny"]
        self.n: Literal["served", "ignored", "refused"] = "served"
        self.wants_key = False
        self.failures: list[int] = []  # statuses of the next answers; 0 drops the connection
        self.limit = "max_tokens"
        self.write: Callable[[str, int], str | None] = lambda prompt, seed: f"{prompt}/{seed}"
        self.finish_reason: str | Callable[[Fields], str] = "stop"
        self.message: Fields = {}  # what a message holds beside role and content
        self.takes_temperature = True
        self.refusals: dict[str, tuple[int, Any]] = {}  # prompt: status and body
        self.page: str | None = None  # what it sends with 200 instead
        self.adapters: dict[str, str] | None = None  # loaded while it runs: name: path; None is a server that loads none
        self.usage: Fields | None = {"prompt_tokens": 1, "completion_tokens": 10, "total_tokens": 11}
        self.gate = threading.Event()  # while it is clear, requests wait
        self.gate.set()
        self.requests: list[Fields] = []  # bodies, with their path, in order
        self.num_under_way = self.most_under_way = 0
        self._changing = threading.Lock()
        double = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # else each answer waits 40 ms for the client's delayed ACK

            def do_GET(self) -> None:
                double._answer(self, None)

            def do_POST(self) -> None:
                double._answer(self, json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

            def log_message(self, *_: Any) -> None: ...

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

            def handle_error(self, *_: Any) -> None: ...  # the client has ended

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.gate.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def prompts(self) -> list[str]:
        """What was asked, in order."""
        return [_prompt(request) for request in self.requests if "lora_name" not in request]

    def _answer(self, handler: BaseHTTPRequestHandler, body: Fields | None) -> None:
        with self._changing:
            if body is not None:
                self.requests.append({"path": handler.path, **body})
                self.num_under_way += 1
                self.most_under_way = max(self.most_under_way, self.num_under_way)
            failure = self.failures.pop(0) if self.failures else None
        if body is not None:
            self.gate.wait(60)
        key = handler.headers.get("Authorization", "")
        if failure == 0:
            handler.close_connection = True
        status, answer = (failure, _error("busy")) if failure else self._route(handler.path, body, key)
        with self._changing:
            self.num_under_way -= body is not None
        if failure == 0:
            return
        content = (self.page if self.page is not None and status == 200 else json.dumps(answer)).encode()
        handler.send_response(status)
        handler.send_header("Content-Type", "text/html" if self.page is not None else "application/json")
        handler.send_header("Content-Length", str(len(content)))
        if failure:
            handler.send_header("Retry-After", "0.02")
        handler.end_headers()
        handler.wfile.write(content)

    def _route(self, path: str, body: Fields | None, key: str) -> tuple[int, Any]:
        if self.wants_key and key != f"Bearer {KEY}":
            return 401, _error(f"Incorrect API key provided: {key}")
        if path == "/v1/models":
            return 200, {
                "object": "list",
                "data": [{"id": model, "object": "model"} for model in [*self.models, *(self.adapters or {})]],
            }
        if path == "/v1/load_lora_adapter" and body is not None and self.adapters is not None:
            return self._load(body["lora_name"], body["lora_path"])
        if (
            body is None
            or path not in ("/v1/chat/completions", "/v1/completions")
            or body["model"] not in [*self.models, *(self.adapters or {})]
        ):
            return 404, {"detail": "Not Found"}
        return self._refusal(body) or (200, self._completion(body))

    def _load(self, name: str, path: str) -> tuple[int, Any]:
        assert self.adapters is not None
        if name in self.adapters:
            return 400, _error(f"The lora adapter '{name}' has already been loaded.")
        if not (Path(path) / "adapter_config.json").is_file():
            return 404, _error(f"Loading lora {name} failed: No adapter found for {path}")
        self.adapters[name] = path
        return 200, f"Success: LoRA adapter '{name}' added successfully."

    def _refusal(self, body: Fields) -> tuple[int, Any] | None:
        for name in {"max_tokens", "max_completion_tokens"} - {self.limit}:
            if name in body:
                text = f"Unsupported parameter: '{name}' is not supported with this model. Use '{self.limit}' instead."
                return 400, _error(text, param=name, code="unsupported_parameter")
        if not self.takes_temperature and "temperature" in body:
            text = "Unsupported value: 'temperature' does not support 0 with this model. Only the default (1) value is supported."
            return 400, _error(text, param="temperature", code="unsupported_value")
        if self.n == "refused" and "n" in body:
            return 422, {"detail": [{"loc": ["body", "n"], "msg": "Extra inputs are not permitted", "input": body}]}
        return self.refusals.get(_prompt(body))

    def _completion(self, body: Fields) -> Fields:
        choices: list[Fields] = []
        for k in range(body.get("n", 1) if self.n == "served" else 1):
            text = self.write(_prompt(body), body["seed"] + k)
            message = {"role": "assistant", "content": text, **self.message}
            written = {"message": message} if "messages" in body else {"text": text}
            reason = self.finish_reason if isinstance(self.finish_reason, str) else self.finish_reason(body)
            choices.append({"index": k, "finish_reason": reason, **written})
        return {"id": "1", "object": "completion", "created": 1, "model": body["model"], "choices": choices, "usage": self.usage}


def _prompt(body: Fields) -> str:
    return str(body["messages"][-1]["content"] if "messages" in body else body["prompt"])


def _error(message: str, **more: Any) -> Fields:
    return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None, **more}}
