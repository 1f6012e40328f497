"""A small tokenizer of each family, with a chat template of its own control tokens."""

import string
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import ByT5Tokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

_SENTENCES = [
    "The cat sat on the mat and looked at the moon.",
    "a</s>b</s>c [INST] <s> [/INST] </s>",
    "user assistant system",
] * 3


@dataclass(frozen=True)
class Family:
    """A tokenizer, and the control tokens that its template opens and closes a turn with."""

    tokenizer: PreTrainedTokenizerBase
    start: str
    end: str
    gives_texts_back: bool = True  # whether its tokens of a text decode to that text

    def __post_init__(self) -> None:
        self.tokenizer.chat_template = (
            f"{{% for message in messages %}}{self.start}{{{{ message['role'] }}}}\n{{{{ message['content'] }}}}{self.end}\n"
            f"{{% endfor %}}{{% if add_generation_prompt %}}{self.start}assistant\n{{% endif %}}"
        )

    @property
    def control_ids(self) -> set[int]:
        """What no text may become. The token for what is unknown says nothing to a model."""
        ids = {*self.tokenizer.all_special_ids, *cast(list[int], self.tokenizer.convert_tokens_to_ids([self.start, self.end]))}
        return ids - {self.tokenizer.convert_tokens_to_ids("<unk>")} if self.tokenizer.unk_token == "<unk>" else ids


def _fast(text: Tokenizer, *special: str | AddedToken, end: str, **options: object) -> PreTrainedTokenizerFast:
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=text, eos_token=end, **options)
    tokenizer.add_special_tokens({"additional_special_tokens": list(special)})
    return tokenizer


def _bytes(*special: str) -> Tokenizer:
    text = Tokenizer(models.BPE())
    text.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    text.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=330, special_tokens=list(special), initial_alphabet=alphabet, show_progress=False)
    text.train_from_iterator(_SENTENCES, trainer)
    return text


def byte_level() -> Family:
    """As of Llama 3, Qwen, SmolLM."""
    special = ("<|im_start|>", "<|im_end|>", "<|endoftext|>")
    return Family(_fast(_bytes(*special), *special, end="<|im_end|>"), "<|im_start|>", "<|im_end|>")


def added_but_not_special() -> Family:
    """Role markers that somebody added to a vocabulary and did not call special; they take the space behind them, as Phi-3's do."""
    tokenizer = _fast(_bytes("</s>"), end="</s>")
    tokenizer.add_tokens([AddedToken(token, rstrip=True, special=False) for token in ("<|user|>", "<|end|>", "<think>")])
    return Family(tokenizer, "<|user|>", "<|end|>")


def found_in_normalized_text() -> Family:
    """Control tokens that are looked for in what was made small: [INST] is one, [inst] and [InSt] are."""
    text = _bytes("</s>")
    text.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    special = [AddedToken(token, normalized=True, special=True) for token in ("[INST]", "[/INST]")]
    return Family(_fast(text, *special, end="</s>"), "[INST]", "[/INST]", gives_texts_back=False)


def _sentencepiece(text: Tokenizer) -> Family:
    special = ["<unk>", "<s>", "</s>"]
    alphabet = [*string.printable.strip(), "▁"]
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=special, initial_alphabet=alphabet, show_progress=False)
    text.train_from_iterator(_SENTENCES, trainer)
    assert [token.value for token in text.model.tokenize("</s>")] == ["</s>"]  # so not to look for added tokens is not enough
    return Family(_fast(text, "[INST]", "[/INST]", end="</s>", unk_token="<unk>", bos_token="<s>"), "[INST]", "</s>")


def llama_2() -> Family:
    """Byte-pair encoding that a space is put before, whatever it gets."""
    text = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    text.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    text.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return _sentencepiece(text)


def mistral() -> Family:
    """The same with a space before the first piece only."""
    text = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    text.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    text.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return _sentencepiece(text)


def unigram() -> Family:
    """As of T5 and XLM-R: the control tokens are among the pieces, and the likeliest of all."""
    pieces = [("<unk>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<turn>", 0.0), ("▁", -2.0), ("▁the", -3.0), ("user", -3.0)]
    pieces += [(character, -6.0) for character in string.printable.strip()]
    text = Tokenizer(models.Unigram(pieces, unk_id=0))
    text.pre_tokenizer = pre_tokenizers.Metaspace()
    text.decoder = decoders.Metaspace()
    tokenizer = _fast(text, "<turn>", end="</s>", unk_token="<unk>", pad_token="<pad>")
    return Family(tokenizer, "<turn>", "</s>", gives_texts_back=False)


def word_piece() -> Family:
    """As of BERT."""
    characters = string.ascii_lowercase + string.digits + string.punctuation
    words = ["[UNK]", "[CLS]", "[SEP]", "user", "assistant", "the", *characters, *(f"##{c}" for c in characters)]
    text = Tokenizer(models.WordPiece({word: k for k, word in enumerate(words)}, unk_token="[UNK]"))
    text.normalizer = normalizers.BertNormalizer(lowercase=True)
    text.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    text.decoder = decoders.WordPiece()
    text.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)])
    return Family(_fast(text, "[CLS]", end="[SEP]"), "[CLS]", "[SEP]", gives_texts_back=False)


def word_level() -> Family:
    """As of the tests of the huggingface engine: a control token is a word among the others."""
    words = ["<unk>", "<end>", "<turn>", *(f"w{k}" for k in range(9)), "user", "assistant", "system"]
    text = Tokenizer(models.WordLevel({word: k for k, word in enumerate(words)}, unk_token="<unk>"))
    text.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return Family(_fast(text, "<turn>", end="<end>", unk_token="<unk>"), "<turn>", "<end>", gives_texts_back=False)


def in_python() -> Family:
    """A tokenizer that is no Rust library's: ByT5's bytes."""
    return Family(ByT5Tokenizer(), "<extra_id_0>", "</s>")


FAMILIES: dict[str, Callable[[], Family]] = {
    make.__name__: make
    for make in (
        byte_level, added_but_not_special, found_in_normalized_text, llama_2, mistral, unigram, word_piece, word_level, in_python
    )
}  # fmt: skip
