"""What other programs send for rewards: the bodies that each one's own client makes, read off its source at the version that is named."""

from typing import Any

PROMPT, ANSWER = "Why?", "Because the moon looked at the cat."
# What a tokenizer gives back of the tokens that a ChatML model read and wrote: with its marks, for clients decode with them.
OPENED = f"<|im_start|>user\n{PROMPT}<|im_end|>\n<|im_start|>assistant\n"
MARKED = f"{OPENED}{ANSWER}<|im_end|>"

# OpenRLHF 0.11.0, openrlhf/utils/agent.py, `_fetch_rewards_via_http`: one request a sample, as `aiohttp` sends JSON.
OPENRLHF: dict[str, Any] = {"query": [MARKED], "prompts": [OPENED], "labels": [""]}
# LLaMA-Factory 0.9.6.dev0, src/llamafactory/train/ppo/ppo_utils.py, `get_rewards_from_server`: a batch; the model has always that name.
LLAMA_FACTORY: dict[str, Any] = {"model": "model", "messages": [f"{MARKED}\n", f"{OPENED}Because."]}
# verl 0.8.0.dev, verl/experimental/reward_loop/reward_loop.py, `compute_score_disrm`: the reward model's own template, without eos.
VERL: dict[str, Any] = {"model": "/models/projects/10/versions/v1-20261121-062026", "input": f"{MARKED}\n", "activation": False}
# vLLM, examples/pooling/classify/classification_online.py and examples/pooling/reward/sequence_reward_online.py.
VLLM_CLASSIFY: dict[str, Any] = {"model": "pairloop", "input": [MARKED, f"{OPENED}Because."]}
VLLM_POOLING: dict[str, Any] = {
    "model": "pairloop",
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": PROMPT}]},
        {"role": "assistant", "content": [{"type": "text", "text": ANSWER}]},
    ],
}
SCORE: dict[str, Any] = {"project": 10, "prompt": PROMPT, "answers": ["Because.", ANSWER]}

REWARD_CALLS: dict[str, list[dict[str, Any]]] = {
    "/score": [SCORE],
    "/projects/10/get_reward": [OPENRLHF, LLAMA_FACTORY],
    "/projects/10/classify": [VERL, VLLM_CLASSIFY],
    "/projects/10/pooling": [VLLM_POOLING],
}
