"""A prompt and its answer as other programs have them: texts, or lists of messages, as written by a model.

Covered: a message whose content is a list of parts, if all of them are texts; thoughts, which are no part of an answer; half an emoji.
Not covered: pictures, and calls of tools.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from preference.labelling.conversations import MessageKeys, NoPrompt, read_messages, role_of
from preference.labelling.prompts import Prompt
from preference.labelling.task_data import readable
from preference.models.thoughts import split_thought

Messages = Sequence[Mapping[str, Any]]
_KEYS = MessageKeys()


def prompt_of(given: str | Messages) -> Prompt:
    """The prompt, a text or a conversation.

    Raises:
        NoPrompt: it is empty, or a message is none; the reason quotes no text.
    """
    if isinstance(given, str):
        text = readable(given)
        if text is None:
            raise NoPrompt("a prompt is empty")
        return text
    return read_messages([{**message, _KEYS.text: _text_in(message)} for message in given], _KEYS)


def answer_of(given: str | Messages) -> str:
    """The answer that is compared and scored: what a model wrote, without its thought. It may be empty.

    Raises:
        NoPrompt: it is not a text, nor one message of the assistant's.
    """
    if not isinstance(given, str):
        if len(given) != 1:
            raise NoPrompt("an answer is a list of messages, and not of one")
        return _said(given[0])
    return readable(split_thought(given, is_begun=None)[1]) or ""


def exchange_of(messages: Messages) -> tuple[Prompt, str]:
    """(the prompt, the answer) of a conversation that ends with the answer.

    Raises:
        NoPrompt: it does not, or there is nothing before it.
    """
    if not messages:
        raise NoPrompt("conversation empty")
    answer = _said(messages[-1])
    return prompt_of(messages[:-1]), answer


def _said(message: Mapping[str, Any]) -> str:
    if role_of(str(message.get(_KEYS.role))) != "assistant":
        raise NoPrompt("the last message is not the assistant's, and that is what is scored")
    text = _text_in(message)
    return answer_of(text if isinstance(text, str) else "")


def _text_in(message: Mapping[str, Any]) -> Any:
    content = message.get(_KEYS.text)
    if isinstance(content, list):
        texts = [part.get("text") if isinstance(part, Mapping) else None for part in content]
        known = [text for text in texts if isinstance(text, str)]
        return "".join(known) if len(known) == len(texts) else 0  # a number is no text, and refused as that
    return content
