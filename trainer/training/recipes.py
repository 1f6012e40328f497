"""Ways to train a challenger: each is a value, one line in RECIPES."""

from dataclasses import dataclass
from typing import Literal

LEAST_TO_SET_ASIDE = 40  # `sequence`: with fewer training pairs, none is set aside from training


@dataclass(frozen=True)
class Recipe:
    """How a challenger is trained, whatever the base model and however many pairs there are."""

    name: str
    kind: Literal["frozen", "sequence"]
    max_tokens: int  # prompt and answer together
    layer_shares: tuple[float, ...] = ()  # `frozen`: which layers are read, as shares of the base's depth
    style_share: float = 0.0  # `frozen`: how far style may move a reward, beside 1 for what the backbone sees
    concept_share: float = 0.0  # `frozen`: the same for kinds of answers (concepts.py)
    priors: tuple[float, ...] = ()  # `frozen`: growing weights of half the squared norm; the head is the mean of one with each
    learning_rate: float = 0.0  # `sequence`
    epochs: float = 0  # `sequence`: passes over the pairs
    batch_pairs: int = 8  # `sequence`: pairs a step
    lora_rank: int = 0  # `sequence`: 0 trains every weight
    pad_to: int = 0  # `sequence`: every answer is padded to a multiple of this; 0 pads each batch to its longest
    warm_start: bool = True  # `sequence`: also trains from the champion, and keeps what is better
    center_coefficient: float = 0.01  # keeps rewards near 0 (Eisenstein et al. 2023, arXiv 2312.09244)


# A linear head on means of three middle layers and on style: seconds on a CPU, best below some thousand pairs.
#
# Chosen on human pairs (Anthropic hh-rlhf harmless, 300 and 900 pairs to train on, and PandaLM, 250), held-out accuracy over
# 12 splits by prompt: these layers (8, 12 and 16 of 30) .632, .673 and .712; 10, 14 and 18 .631, .672 and .705; 6, 10 and 14
# .629, .661 and .699. On other splits, one layer loses .00 to .02 to three, a mean that is not multiplied by the logarithm of
# the length .00 to .02, style with less weight .01 to .02 on PandaLM. All 30 layers, the last token, maxima, deviations, MLP
# neurons, whitening, RBF and prompt-aware kernels, words (TF-IDF) and the model's own verdict ("was that a good answer?")
# gave no more on both.
# Concepts (concepts.py) and the mean over priors, each on splits that were not used before: 24 concepts with a chosen prior made
# .640 of .625 with 300 pairs (16 splits), .669 of .662 with 900, .682 of PandaLM's .686; the mean of four priors in place of the
# chosen one .645 of .643, .677 of .673 and .684 of .671 (16 to 24 splits); 48 concepts .647 of .645, .676 of .675 and .682 of .684
# (24 splits). Twice or half their share, one direction a layer, whitening them, less or more style gave no more on all three.
FROZEN = Recipe(
    "frozen", "frozen", max_tokens=512, layer_shares=(4 / 15, 2 / 5, 8 / 15), style_share=1.0,
    concept_share=1.0, priors=(1.0, 2.0, 4.0, 8.0),
)  # fmt: skip

# Low-rank adapters and a new score head; rank 16, lr 1e-4 (TRL's RewardTrainer defaults for adapters).
LORA = Recipe("lora", "sequence", max_tokens=1024, learning_rate=1e-4, epochs=1, lora_rank=16)

# Every weight, one epoch at 1e-5 (Llama 2, arXiv 2307.09288, section 3.2.2); wants a GPU and many pairs.
FULL = Recipe("full", "sequence", max_tokens=1024, learning_rate=1e-5, epochs=1)

# Label Studio's published tutorial (heartexlabs/RLHF, after CarperAI/trlx's summarize_rlhf), to measure others against.
#
# Every weight, every answer padded to 550 tokens, one epoch at 1e-5, four pairs a step, always from the base.
TUTORIAL = Recipe(
    "tutorial", "sequence", max_tokens=550, learning_rate=1e-5, epochs=1, batch_pairs=4, pad_to=550,
    center_coefficient=0, warm_start=False,
)  # fmt: skip

RECIPES = {recipe.name: recipe for recipe in (FROZEN, LORA, FULL, TUTORIAL)}
