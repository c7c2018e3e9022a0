"""The bundled NLI model in int8 and under other runtimes, for `benchmarks.precision --with torch,onnx,openvino`.

None of their packages is needed by the service. Each stands in for the sentence-transformers model behind the same
encoding and batches; `+ float32` judges close calls again in float32, as the service does with bfloat16.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from sentence_transformers import CrossEncoder

from demur.entailment.cross_encoder import CrossEncoderModel, Forward, forward_of
from demur.settings import bundled_path

PACKAGES = {
    "torch": ("torch",),
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "openvino": ("onnx", "onnxscript", "openvino"),
}
MAX_LENGTH = 512

Run = Callable[[dict[str, np.ndarray]], np.ndarray]


class _StandIn:
    """Looks like a CrossEncoder to our model, and has its logits from another runtime."""

    def __init__(self, encoder: CrossEncoder, run: Run) -> None:
        self.config, self.tokenizer, self.device, self._run = encoder.config, encoder.tokenizer, encoder.device, run

    def __call__(self, features: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {"scores": torch.from_numpy(self._run({name: ids.numpy() for name, ids in features.items()}))}


class _Logits(torch.nn.Module):
    """The exporter follows positional arguments and a tensor as the result."""

    def __init__(self, model: Any, names: Sequence[str]) -> None:
        super().__init__()
        self._model, self._names = model, names

    def forward(self, *ids: torch.Tensor) -> Any:
        return self._model(**dict(zip(self._names, ids, strict=True))).logits


def check(wanted: Sequence[str]) -> None:
    for name in wanted:
        if name not in PACKAGES:
            raise SystemExit(f"no runtime {name}: one of {', '.join(PACKAGES)}")
        if missing := [package for package in PACKAGES[name] if find_spec(package) is None]:
            raise SystemExit(f"--with {name} needs: pip install {' '.join(missing)}")


def models(wanted: Sequence[str]) -> dict[str, CrossEncoderModel]:
    """On one thread each; call `check` first."""
    encoder = CrossEncoder(
        str(bundled_path("nli")), device="cpu", local_files_only=True, model_kwargs={"dtype": "float32"}
    )
    with TemporaryDirectory() as folder:
        exported = Path(folder) / "model.onnx"
        if {"onnx", "openvino"} & set(wanted):
            _export(encoder, exported)
        found = {name: each for way in wanted for name, each in _MAKERS[way](encoder, exported)}
    cheap = {name: each for name, each in found.items() if not name.endswith("float32")}
    exact = forward_of(encoder)
    again = {f"{name} + float32": _model(encoder, exact, quick=_as_it_is(each)) for name, each in cheap.items()}
    return {name: _model(each, _as_it_is(each)) for name, each in found.items()} | again


def _model(encoder: Any, forward: Forward, quick: Forward | None = None) -> CrossEncoderModel:
    return CrossEncoderModel(encoder, forward, name="demur-nli", max_length=MAX_LENGTH, n_threads=1, quick=quick)


def _as_it_is(encoder: Any) -> Forward:
    return lambda features: encoder(dict(features))["scores"]


def _torch(encoder: CrossEncoder, _: Path) -> Iterator[tuple[str, Any]]:
    yield "torch int8", torch.ao.quantization.quantize_dynamic(deepcopy(encoder), {torch.nn.Linear}, torch.qint8)


def _onnx(encoder: CrossEncoder, exported: Path) -> Iterator[tuple[str, Any]]:
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.shape_inference import quant_pre_process

    yield "onnx float32", _StandIn(encoder, _onnx_session(exported))
    inferred, quantized = exported.with_name("inferred.onnx"), exported.with_name("int8.onnx")
    quant_pre_process(exported, inferred, skip_symbolic_shape=True)
    quantize_dynamic(inferred, quantized, weight_type=QuantType.QInt8, per_channel=True)
    yield "onnx int8", _StandIn(encoder, _onnx_session(quantized))


def _onnx_session(path: Path) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda features: np.asarray(session.run(None, features)[0])


def _openvino(encoder: CrossEncoder, exported: Path) -> Iterator[tuple[str, Any]]:
    import openvino

    core = openvino.Core()
    loaded = core.read_model(exported)
    for name, precision in {"float32": "f32", "bfloat16": "bf16"}.items():
        hints = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}
        compiled = core.compile_model(loaded, "CPU", hints)
        yield f"openvino {name}", _StandIn(encoder, _openvino_request(compiled))


def _openvino_request(compiled: Any) -> Run:
    return lambda features: np.array(compiled(features)[0], dtype=np.float32)


def _export(encoder: CrossEncoder, path: Path) -> None:
    names = list(encoder.tokenizer.model_input_names)
    shape = {0: torch.export.Dim("pairs", min=1, max=512), 1: torch.export.Dim("tokens", min=2, max=MAX_LENGTH)}
    example = tuple(torch.ones((4, 24), dtype=torch.long) for _ in names)
    torch.onnx.export(
        _Logits(encoder.model, names).eval(),
        example,
        path,
        input_names=names,
        output_names=["logits"],
        dynamo=True,
        dynamic_shapes=((shape,) * len(names),),
        external_data=False,
    )


_MAKERS = {"torch": _torch, "onnx": _onnx, "openvino": _openvino}
