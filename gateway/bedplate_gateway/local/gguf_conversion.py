"""Turn a SmolLM2 GGUF file into a Hugging Face model folder: `python gguf_conversion.py FILE.gguf FOLDER`.

A script for the engine environment's Python, which has `numpy` and `gguf`; the gateway never imports it. vLLM
cannot serve the GGUF itself, and the route through transformers keeps the weights packed and loses the
tokenizer's splitting of digits. Weights are unpacked to float32 and stored as bfloat16, the type the model
was trained in.
"""

# pyright: reportMissingImports=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownParameterType=false, reportUnknownArgumentType=false, reportMissingTypeArgument=false
# The gateway's own environment has neither numpy nor gguf, so their types are unknown to the checker.

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGUFReader
from gguf.quants import dequantize

Fields = Mapping[str, Any]  # a GGUF file's metadata is whatever its writer put in

WHOLE_MODEL = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
OF_A_LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
RMS_NORM_EPSILON = 1e-5
CONTROL_TOKEN = 3  # llama.cpp's LLAMA_TOKEN_TYPE_CONTROL


def tensor_name(gguf_name: str) -> str:
    """The Hugging Face name: `blk.3.attn_q.weight` is `model.layers.3.self_attn.q_proj.weight`."""
    if gguf_name in WHOLE_MODEL:
        return WHOLE_MODEL[gguf_name]
    _, layer, part, kind = gguf_name.split(".")
    return f"model.layers.{layer}.{OF_A_LAYER[part]}.{kind}"


def rows_in_hf_order(weight: np.ndarray, heads: int) -> np.ndarray:
    """Undo how llama.cpp interleaves the rows of a query or key projection for its rotary embedding."""
    half = weight.shape[0] // heads // 2
    return weight.reshape(heads, half, 2, -1).transpose(0, 2, 1, 3).reshape(weight.shape)


def bfloat16_bits(weight: np.ndarray) -> np.ndarray:
    """The upper halves of finite float32 values, rounded to nearest, ties to even, as uint16."""
    bits = np.ascontiguousarray(weight, dtype=np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")


def tensors(reader: GGUFReader, fields: Fields) -> Iterator[tuple[str, np.ndarray]]:
    """Every tensor under its Hugging Face name, in float32, outermost dimension first."""
    heads = {
        "attn_q": fields["llama.attention.head_count"],
        "attn_k": fields["llama.attention.head_count_kv"],
    }
    for tensor in reader.tensors:
        weight = dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        weight = weight.reshape([int(size) for size in reversed(tensor.shape)])
        for part, count in heads.items():
            if f".{part}." in tensor.name:
                weight = rows_in_hf_order(weight, int(count))
        yield tensor_name(tensor.name), weight


def write_safetensors(path: Path, named: Mapping[str, np.ndarray]) -> None:
    """Write bfloat16 bits under their names, in the safetensors format (its documentation, "Format")."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in sorted(named):
        begin, end = end, end + named[name].nbytes
        header[name] = {"dtype": "BF16", "shape": list(named[name].shape), "data_offsets": [begin, end]}
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)
    with path.open("wb") as file:
        file.write(len(encoded).to_bytes(8, "little"))
        file.write(encoded)
        for name in sorted(named):
            file.write(named[name].tobytes())


def model_config(fields: Fields, *, ties_embeddings: bool) -> dict[str, object]:
    """config.json for LlamaForCausalLM. Raises `ValueError` for a file this script was not written for."""
    if fields["general.architecture"] != "llama":
        raise ValueError(f"the model's architecture is {fields['general.architecture']}, not llama")
    if abs(fields["llama.attention.layer_norm_rms_epsilon"] - RMS_NORM_EPSILON) > 1e-9:
        raise ValueError("the model's layer norm has an unexpected epsilon")
    heads, width = fields["llama.attention.head_count"], fields["llama.embedding_length"]
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "hidden_size": width,
        "intermediate_size": fields["llama.feed_forward_length"],
        "num_hidden_layers": fields["llama.block_count"],
        "num_attention_heads": heads,
        "num_key_value_heads": fields["llama.attention.head_count_kv"],
        "head_dim": width // heads,
        "max_position_embeddings": fields["llama.context_length"],
        "rope_theta": fields["llama.rope.freq_base"],
        "rope_scaling": None,
        "rms_norm_eps": RMS_NORM_EPSILON,
        "vocab_size": fields["llama.vocab_size"],
        "tie_word_embeddings": ties_embeddings,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "mlp_bias": False,
        "torch_dtype": "bfloat16",
        "use_cache": True,
        **special_token_ids(fields),
    }


def special_token_ids(fields: Fields) -> dict[str, int]:
    return {
        f"{name}_token_id": int(fields[f"tokenizer.ggml.{long_name}_token_id"])
        for name, long_name in (("bos", "bos"), ("eos", "eos"), ("pad", "padding"))
    }


def control_tokens(fields: Fields) -> dict[int, dict[str, object]]:
    texts, types = fields["tokenizer.ggml.tokens"], fields["tokenizer.ggml.token_type"]
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {number: {"content": texts[number], **flags} for number, kind in enumerate(types) if kind == CONTROL_TOKEN}


def tokenizer(fields: Fields) -> dict[str, object]:
    """tokenizer.json: byte-level BPE after a split into single digits, which llama.cpp calls `smollm`."""
    if fields["tokenizer.ggml.pre"] != "smollm":
        raise ValueError(f"the tokenizer splits text as {fields['tokenizer.ggml.pre']}, not as smollm")
    byte_level = {"type": "ByteLevel", "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": number, **token} for number, token in control_tokens(fields).items()],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Digits", "individual_digits": True},
                {**byte_level, "add_prefix_space": False},
            ],
        },
        "post_processor": None,
        "decoder": {**byte_level, "add_prefix_space": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "vocab": {text: number for number, text in enumerate(fields["tokenizer.ggml.tokens"])},
            "merges": fields["tokenizer.ggml.merges"],
        },
    }


def special_token_texts(fields: Fields) -> dict[str, object]:
    texts = fields["tokenizer.ggml.tokens"]
    bos, eos, pad = special_token_ids(fields).values()
    return {
        "bos_token": texts[bos],
        "eos_token": texts[eos],
        "pad_token": texts[pad],
        "unk_token": texts[fields["tokenizer.ggml.unknown_token_id"]],
        "additional_special_tokens": [texts[bos], texts[eos]],
    }


def tokenizer_config(fields: Fields) -> dict[str, object]:
    return {
        "tokenizer_class": "GPT2TokenizerFast",
        "add_prefix_space": False,
        "added_tokens_decoder": control_tokens(fields),
        "clean_up_tokenization_spaces": False,
        "model_max_length": fields["llama.context_length"],
        "chat_template": fields["tokenizer.chat_template"],
        **special_token_texts(fields),
    }


def convert(source: Path, folder: Path) -> None:
    """Write the model in the GGUF file `source` to `folder`, which is made. Takes about 10 s on one core."""
    reader = GGUFReader(source)
    fields: Fields = {name: field.contents() for name, field in reader.fields.items()}
    folder.mkdir(parents=True, exist_ok=True)
    packed = {name: bfloat16_bits(weight) for name, weight in tensors(reader, fields)}
    files = {
        "config.json": model_config(fields, ties_embeddings="lm_head.weight" not in packed),
        "generation_config.json": special_token_ids(fields),
        "tokenizer.json": tokenizer(fields),
        "tokenizer_config.json": tokenizer_config(fields),
        "special_tokens_map.json": special_token_texts(fields),
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content, indent=2, ensure_ascii=False), encoding="utf-8")
    write_safetensors(folder / "model.safetensors", packed)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    convert(arguments.source, arguments.folder)


if __name__ == "__main__":
    main()
