"""ChatGLM3's tokenizer.model (SentencePiece BPE) as a fast tokenizer that gives the original's ids.

Names differ in one place: ChatGLM3 calls two control tokens `sop` and `eop`; registered under these names they would be
found inside words ("people" -> p|eop|le), so here they are `<sop>` and `<eop>` with the same ids.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from ..errors import ModelError
from ..files import write_json
from .template import load_template

CONTROL = (
    "[MASK]",
    "[gMASK]",
    "[sMASK]",
    "<sop>",
    "<eop>",
    "<|system|>",
    "<|user|>",
    "<|assistant|>",
    "<|observation|>",
)
"""Control tokens in the order of their ids, which follow the pieces."""
SPACE = "\u2581"


@lru_cache(maxsize=2)
def _pieces(model_file: Path) -> Any:
    import sentencepiece

    processor = sentencepiece.SentencePieceProcessor()
    try:
        processor.Load(str(model_file))
    except (OSError, RuntimeError) as err:
        raise ModelError(
            f"expected ChatGLM3's SentencePiece tokenizer.model, found {str(err).splitlines()[0][:120]}",
            where=str(model_file),
            hint="GLM-4 has another tokenizer: take its `-hf` repository, which needs no conversion",
        ) from None
    return processor


def control_tokens(model_file: Path) -> dict[str, int]:
    """Control token -> id, the pieces' own (`<unk>`, `<s>`, `</s>`) included."""
    processor = _pieces(model_file)
    own = {
        processor.id_to_piece(i): i
        for i in range(processor.vocab_size())
        if processor.is_control(i) or processor.is_unknown(i)
    }
    return own | {t: processor.vocab_size() + n for n, t in enumerate(CONTROL)}


def build_tokenizer(model_file: Path, folder: Path, max_length: int) -> None:
    """Write tokenizer.json, tokenizer_config.json and the chat template into `folder`.

    Args:
        max_length: the model's context in tokens.

    Raises:
        ModelError: not a SentencePiece model.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors

    processor = _pieces(model_file)
    control = control_tokens(model_file)
    vocab = {processor.id_to_piece(i): i for i in range(processor.vocab_size())}
    raw = Tokenizer(
        models.BPE(vocab, merges_of(processor, vocab), unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    )
    # SentencePiece's dummy prefix and escaped blanks; blanks are not squeezed (remove_extra_whitespaces is off).
    raw.normalizer = normalizers.Sequence([normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)])
    raw.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    raw.add_special_tokens(
        [AddedToken(t, normalized=False, special=True) for t in sorted(control, key=control.__getitem__)]
    )
    raw.post_processor = processors.TemplateProcessing(
        single="[gMASK] <sop> $A",
        pair="[gMASK] <sop> $A $B",
        special_tokens=[(t, control[t]) for t in ("[gMASK]", "<sop>")],
    )
    wrong = {t: raw.token_to_id(t) for t, i in control.items() if raw.token_to_id(t) != i}
    if wrong:
        raise ModelError(f"control tokens did not get their ids: {wrong}", where=str(model_file))
    raw.save(str(folder / "tokenizer.json"))
    write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "unk_token": "<unk>",
            "pad_token": "<unk>",
            "eos_token": "</s>",
            "additional_special_tokens": list(CONTROL),
            "padding_side": "left",
            "model_max_length": max_length,
            "clean_up_tokenization_spaces": False,
            "chat_template": load_template("chatglm3").jinja,
        },
    )


def merges_of(processor: Any, vocab: dict[str, int]) -> list[tuple[str, str]]:
    """Every way to put a normal piece together from two others, best score first: what SentencePiece's BPE does."""
    ranked = []
    for piece, i in vocab.items():
        if processor.is_byte(i) or processor.is_control(i) or processor.is_unknown(i) or len(piece) < 2:
            continue
        for cut in range(1, len(piece)):
            left, right = vocab.get(piece[:cut]), vocab.get(piece[cut:])
            if left is not None and right is not None:
                ranked.append((-processor.get_score(i), left, right, piece[:cut], piece[cut:]))
    ranked.sort(key=lambda r: r[:3])
    return [(left, right) for *_, left, right in ranked]
