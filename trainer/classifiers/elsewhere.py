"""A reward model as other programs read it: a classifier that is given whatever tokens the chat template's text becomes."""

from collections.abc import Sequence

import torch
from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from preference.labelling.prompts import Prompt, messages, turns_of
from preference.reward_model.model import SequenceRewardModel


class ReadElsewhere(SequenceRewardModel):
    """What TRL, RewardBench and their like get from a classifier: the network's own output.

    Texts that are longer than its `max_tokens` lose their beginning.
    """

    @torch.inference_mode()
    def score(self, prompts: Sequence[Prompt], answers: Sequence[str]) -> torch.Tensor:
        """(num_answers,) float32 outputs on the CPU, in order."""
        return self.score_tokens([self.tokens(prompt, answer) for prompt, answer in zip(prompts, answers, strict=True)])

    def tokens(self, prompt: Prompt, answer: str) -> list[int]:
        """What it is given of a prompt and its answer."""
        return tokens_elsewhere(self.tokenizer, prompt, answer)[-self.description.max_tokens :]


def tokens_elsewhere(tokenizer: PreTrainedTokenizerBase, prompt: Prompt, answer: str) -> list[int]:
    """The tokens of the text that the chat template makes of a prompt and its answer.

    If it refuses them, as some do with a system's turn, their transcript is read: what others do then is their own affair.
    """
    turns = [*messages(turns_of(prompt)), {"role": "assistant", "content": answer}]
    try:
        text = str(tokenizer.apply_chat_template(turns, tokenize=False))
    except TemplateError:
        text = "\n\n".join(turn["content"] for turn in turns)
    ids: list[int] = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    return ids
