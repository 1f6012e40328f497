"""A server that speaks OpenAI's API: how it is reached, which models it has, and what its failures mean.

Covered: a server that restarts or has too much to do is asked again after growing waits; its sentences quote neither a key nor a text.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from openai import APIError, APIStatusError, AsyncOpenAI, DefaultAsyncHttpxClient, DefaultHttpxClient, OpenAI

from preference.certificates import certificates
from preference.errors import ModelError
from preference.redaction import unquoted
from preference.setting_groups import OpenAISettings

MAX_RETRIES = 15  # openai waits 0.5, 1, 2, 4, 8, 8, ... s or Retry-After: 85 s in all, as long as a small model's restart
_NO_LIST = {403, 404, 405}  # a server without /models, or a key that may only write
REFUSALS = {400, 413, 422}  # about the prompt; any other status is about the server, the key or an address


@dataclass(frozen=True)
class OpenAIServer:
    """One server, and what its users call its model and its address."""

    settings: OpenAISettings
    model_name: str = "GENERATOR_MODEL"
    url_name: str = "OPENAI_BASE_URL"
    max_retries: int = MAX_RETRIES

    def __str__(self) -> str:
        """Its address, without a password."""
        address = urlsplit(self.settings.base_url)
        return f"{address.scheme}://{address.netloc.rpartition('@')[2]}{address.path}"

    def client(self) -> AsyncOpenAI:
        """What asks it; to be closed."""
        return AsyncOpenAI(
            **self._access, http_client=DefaultAsyncHttpxClient(verify=certificates()), max_retries=self.max_retries
        )

    def models(self) -> list[str]:
        """The names of its models; none if it has no list.

        Raises:
            ModelError: it cannot be reached, or does not accept the key.
        """
        try:
            http = DefaultHttpxClient(verify=certificates())
            with OpenAI(**self._access, http_client=http, max_retries=min(2, self.max_retries), timeout=10) as client:
                listed: Any = client.get("/models", cast_to=object)
            return [model["id"] for model in listed["data"]]
        except (APIError, ValueError, TypeError, KeyError) as error:
            if isinstance(error, APIStatusError) and error.status_code in _NO_LIST:
                return []
            raise self.failure(error) from error

    def failure(self, error: Exception, *, model: str = "", texts: Sequence[str] = ()) -> ModelError:
        """The sentence for an error of `client`. `texts`: what it was asked, which the sentence does not quote."""
        match getattr(error, "status_code", None):
            case 401 | 403 as status:
                return ModelError(f"{self} refused the key ({status}); set OPENAI_API_KEY to one that it accepts.")
            case 404:
                return ModelError(
                    f"{self} has no model {model!r} or no {self.settings.endpoint} endpoint (404); "
                    f"set {self.model_name}, OPENAI_ENDPOINT or {self.url_name}."
                )
            case int(status):
                return ModelError(f"{self} failed ({status}: {reason_of(error, texts)}); its own log may say why.")
        if isinstance(error, APIError | TimeoutError):
            why = str(error.__cause__ or "") or type(error).__name__
            return ModelError(f"{self} does not answer ({why}); start it, or set {self.url_name}.")
        return ModelError(f"{self} does not speak OpenAI's API; set {self.url_name}, up to and with its /v1.")

    @property
    def _access(self) -> dict[str, Any]:
        key = self.settings.api_key.get_secret_value()
        return {"base_url": self.settings.base_url, "api_key": key or "none"}  # openai insists on one


def wants_other_limit(error: APIStatusError) -> bool:
    """Whether a refusal says that a limit is called max_completion_tokens, as OpenAI's newer models have it."""
    # vLLM names both if the limit is too large, but does not call one unsupported.
    return all(word in error.message for word in ("max_completion_tokens", "support"))


def wants_own_temperature(error: APIStatusError) -> bool:
    """Whether a refusal says that a model takes no temperature but its own, as OpenAI's models that think."""
    return all(word in error.message for word in ("temperature", "support"))


def reason_of(error: Any, texts: Sequence[str]) -> str:
    """The server's own words, in one short line that does not quote these texts: it is kept in the task, and logged."""
    body = error.body
    if isinstance(body, dict):
        body = body.get("message") or body.get("detail")
    # FastAPI's list of what is wrong quotes the prompt.
    return unquoted(body, texts)[:200] if isinstance(body, str) and body else error.response.reason_phrase
