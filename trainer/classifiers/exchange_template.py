"""A chat template under which other programs read an answer as the reward model does.

A reward is read at the last token: here the end-of-sequence token, behind the answer. Most templates put a line break behind that, and
some put nothing that ends a text at all; a classifier that is read there says something else than what it learnt.

Covered: a base without a chat template, which gets one; a template that writes more before an assistant's earlier turns than before the
next one; what the template says of prompts alone stays as it is.
Not covered: role markers in a text, which other programs read as control tokens; a thought before an answer, which they read with it;
tokenizers that read an answer differently behind its prompt than alone, as SentencePiece's do with its first word.
"""

from transformers import PreTrainedTokenizerBase

from preference.models.encoding import encode_answer

# In Jinja: a conversation that ends with an answer is its prompt, and the answer. `{{ '' }}` keeps a template's own first line break.
_BEFORE = (
    "{% if messages | length > 1 and messages[-1]['role'] == 'assistant' and messages[-1]['content'] is string"
    " and not add_generation_prompt %}"
    "{% set answer_to_score = messages[-1]['content'] %}{% set messages = messages[:-1] %}{% set add_generation_prompt = true %}"
    "{% endif %}{{ '' }}"
)
_BEHIND = "{% if answer_to_score is defined %}{{ answer_to_score.strip() + eos_token }}{% endif %}"
# What preference/models/encoding.py makes of a prompt without a template.
_PLAIN = (
    "{% set roles = messages | map(attribute='role') | list %}{% set is_plain = roles in [['user'], ['system', 'user']] %}"
    "{% for message in messages %}"
    "{% set text = message['content'].strip() if message['role'] == 'system' else message['content'].rstrip() %}"
    "{{ (text if is_plain else (message['role'] | capitalize) + ': ' + text) + '\\n\\n' }}"
    "{% endfor %}{% if not is_plain %}{{ 'Assistant:\\n\\n' }}{% endif %}"
)


def exchange_template(tokenizer: PreTrainedTokenizerBase) -> str:
    """The tokenizer's chat template, or a plain one, that ends a conversation behind its answer with the end-of-sequence token alone."""
    if tokenizer.chat_template:
        return _BEFORE + str(tokenizer.get_chat_template()) + _BEHIND
    first, *_ = encode_answer(tokenizer, "x", "", max_tokens=16).input_ids
    opening = "{{ bos_token }}" if first == tokenizer.bos_token_id else ""
    return _BEFORE + opening + _PLAIN + _BEHIND
