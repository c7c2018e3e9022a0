"""Every setting, read once from the environment (`DEMUR_<GROUP>__<NAME>`) or a `.env` file; nothing else reads it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal, Self

import platformdirs
from pydantic import (
    AfterValidator,
    AnyHttpUrl,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    SecretStr,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

BUNDLED = "bundled"
_BUNDLE = Path(__file__).parent / "bundled"

_STORE_SCHEMES = (
    "sqlite:///",
    "redis://",
    "rediss://",
    "unix://",
    "redis+sentinel://",
    "redis+cluster://",
)

Positive = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


def bundled_path(role: Literal["facts", "nli"]) -> Path:
    """Folder of a bundled model, a plain Hugging Face folder."""
    return _BUNDLE / role


def _existing_file(path: Path | None) -> Path | None:
    if path is not None and not path.is_file():
        raise ValueError(f"no such file: {path}")
    return path


def _existing_folder(path: Path | None) -> Path | None:
    if path is not None and not path.is_dir():
        raise ValueError(f"no such folder: {path}")
    return path


def _rate(text: str) -> str:
    if text != "off" and not re.fullmatch(r"[1-9]\d{0,8}/[1-9]\d{0,5}[smhd]", text):
        raise ValueError("write a rate as 60/60s (also m, h, d), or `off`")
    return text


def _split(urls: object) -> object:
    """Commas are kinder to type than JSON."""
    return tuple(part.strip() for part in urls.split(",") if part.strip()) if isinstance(urls, str) else urls


Rate = Annotated[str, AfterValidator(_rate)]


class _Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ServerSettings(_Group):
    """The HTTP server."""

    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    allow_open: bool = Field(False, description="Listen on a public address although there are no API keys.")
    root_path: str = Field("", description="Path prefix a proxy strips.")
    max_body_bytes: Positive = Field(1_048_576, description="Larger request bodies are refused (413).")
    body_timeout_s: Seconds = Field(30, description="A body that takes longer to arrive is refused (408).")
    max_connections: Positive = Field(1024, description="Connections open at once; more are turned away (503).")
    max_inflight: Positive = Field(64, description="Answers worked on at once.")
    max_queue: int = Field(256, ge=0, description="Answers waiting for a place; more are refused (503).")
    drain_timeout_s: Seconds = Field(30, description="How long accepted work may finish after SIGTERM.")
    cors_origins: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)] = Field(
        (), description="Origins whose pages may call the service from a browser; none by default."
    )
    playground: bool = Field(True, description="/playground: a page to ask questions on, open to all who reach it.")
    docs: Literal["auto", "open", "off"] = Field(
        "auto", description="/docs and /openapi.json; auto: open without API keys, for any key once there are some."
    )


class AuthSettings(_Group):
    """Who may call. Without keys everybody who reaches the port may."""

    api_keys: SecretStr | None = Field(
        None, description="Keys, one a line or separated by semicolons: `id:sha256-of-the-key:scope,scope`."
    )
    api_keys_file: Annotated[Path | None, AfterValidator(_existing_file)] = Field(
        None, description="A file of such lines; read again when it changes."
    )
    rate_limit: Rate = Field(
        "60/60s", description="Requests a key may send, per time; `off` for no limit. Without keys there is none."
    )
    rate_limit_samples: Rate = Field(
        "600/60s", description="Samples a key may have drawn, per time; `off` for no limit. Without keys there is none."
    )

    @property
    def needs_key(self) -> bool:
        """Whether callers must show a key: as soon as any are configured, however."""
        given = self.api_keys.get_secret_value() if self.api_keys else ""
        return bool(given.strip()) or self.api_keys_file is not None


class StoreSettings(_Group):
    """What is kept, and where."""

    url: SecretStr | None = Field(
        None,
        description="`sqlite:///path`, `redis://`, `rediss://`, `redis+sentinel://`, `redis+cluster://`; a SQLite file "
        "in the user's data folder when left out.",
    )
    prefix: str = Field("demur", min_length=1, max_length=32, description="First part of every Redis key.")
    timeout_s: Seconds = Field(0.25, description="How long to wait for Redis before doing without it.")
    durability: Literal["checked", "assumed"] = Field(
        "checked",
        description="checked: records are kept only where Redis says that what it acknowledges is durable; assumed: "
        "take it to be, where Redis does not tell.",
    )
    text: bool = Field(False, description="Keep the text of questions and answers with their records.")
    answer_ttl_s: Positive = Field(2_592_000, description="Age at which records are swept; 30 days.")
    cache_ttl_s: int = Field(
        3600, ge=0, le=86_400, description="How long an answer is used again; 0 switches that off."
    )
    cache_entries: Positive = Field(10_000, description="Answers remembered in this process, where there is no Redis.")
    cache_bytes: Positive = Field(67_108_864, description="Memory for them; 64 MiB.")
    pair_ttl_s: int = Field(
        86_400, ge=0, description="How long Redis remembers verdicts of the NLI model; 0 switches that off."
    )
    idempotency_ttl_s: int = Field(86_400, ge=0, description="How long a reply can be replayed; 0 switches that off.")
    lock_ttl_s: float = Field(
        30, ge=1, allow_inf_nan=False, description="A replica that died holds up others no longer than this."
    )

    @field_validator("url")
    @classmethod
    def _url_is_known(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None and not url.get_secret_value().startswith(_STORE_SCHEMES):
            raise ValueError("write " + ", ".join(f"{scheme}..." for scheme in _STORE_SCHEMES))
        return url

    @property
    def location(self) -> str:
        """`url`, or the SQLite file in the user's data folder."""
        if self.url is not None:
            return self.url.get_secret_value()
        return f"sqlite:///{platformdirs.user_data_path('demur')}/demur.sqlite3"


class AuditSettings(_Group):
    """Answers drawn at random for labelling; their text is kept. Only such labels can carry a guarantee."""

    rate: float = Field(0.0, ge=0, le=1, description="Share of requests to draw.")


class SamplerSettings(_Group):
    """Where answers come from."""

    backend: Literal["local", "vllm", "openai"] = Field(
        "local",
        description="`local`: transformers in this process; `vllm`: vLLM in this process; `openai`: any "
        "OpenAI-compatible server.",
    )
    model: str = Field(BUNDLED, description="`bundled`, a Hugging Face name, a folder, or the server's name for it.")
    revision: str | None = Field(None, description="Revision of a Hugging Face model.")
    threads: Positive | None = Field(None, description="CPU threads of the language model (default: all cores).")
    base_urls: Annotated[tuple[AnyHttpUrl, ...], NoDecode, BeforeValidator(_split)] = Field(
        (), description="`openai`: servers of the same model, each with its /v1 path; separated by commas."
    )
    api_key: SecretStr | None = Field(None, description="`openai`: key of those servers, if they ask for one.")
    api: Literal["auto", "chat", "completions"] = Field(
        "auto", description="`openai`: chat completions, or plain ones; auto: chat where the server has it."
    )
    timeout_s: Seconds = Field(60, description="`openai`: time of a call, its retries included.")
    retries: int = Field(2, ge=0, le=10, description="`openai`: how often a failed call is repeated.")
    concurrency: Positive = Field(32, description="`openai`: calls under way at once.")
    use_n: Literal["auto", "yes", "no"] = Field(
        "auto", description="`openai`: all samples in one call; auto: where the server honours `n`."
    )
    logprobs: Literal["auto", "raw", "processed", "off"] = Field(
        "auto", description="`openai`: what the server's logprobs are (auto: measure it); off: do not ask for them."
    )

    cache_salt_secret: SecretStr | None = Field(
        None,
        description="Keeps the prefix caches of callers with different API keys apart on vLLM (default: made up at "
        "every start); replicas before one server share it.",
    )

    @model_validator(mode="after")
    def _server_is_named(self) -> Self:
        if self.backend == "openai" and (not self.base_urls or self.model == BUNDLED):
            raise ValueError("the backend openai needs DEMUR_SAMPLER__BASE_URLS and DEMUR_SAMPLER__MODEL")
        return self


class JudgeSettings(SamplerSettings):
    """The language model that judges answers for `demur evaluate --grader llm`; settings as for the sampler."""


class VLLMSettings(_Group):
    """vLLM in this process."""

    args: dict[str, JsonValue] = Field(
        default_factory=dict,
        description="Fields of vLLM's AsyncEngineArgs as JSON, such as "
        '`{"gpu_memory_utilization": 0.8, "tensor_parallel_size": 2}`.',
    )
    max_model_len: Positive = Field(4096, description="Tokens of prompt and answer; less where the model reads less.")


class NLISettings(_Group):
    """What judges whether two answers mean the same."""

    backend: Literal["cross_encoder", "tei", "exact"] = Field(
        "cross_encoder",
        description="`cross_encoder`: an NLI model in this process; `tei`: one on a text-embeddings-inference server; "
        "`exact`: normalised exact match, no model.",
    )
    url: AnyHttpUrl | None = Field(None, description="Address of the text-embeddings-inference server.")
    api_key: SecretStr | None = Field(None, description="Key of that server, if it asks for one.")
    model: str = Field(BUNDLED, description="`bundled`, a Hugging Face name, or a folder.")
    revision: str | None = Field(None, description="Revision of a Hugging Face model.")
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        "auto",
        description="auto: the checkpoint's own on a GPU; on a CPU float32, and where the CPU computes in bfloat16 "
        "that first, with close calls judged again in float32 (it holds the model twice).",
    )
    max_length: int = Field(512, ge=32, description="Tokens of a pair; longer questions are cut, never the answer.")
    max_batch_tokens: int = Field(
        1024,
        ge=64,
        description="Padded tokens of one batch: 1024 for a CPU, where more only adds latency; raise it on a GPU.",
    )
    max_queue_pairs: Positive = Field(20_000, description="Pairs waiting for a batch; more are refused (503).")
    batch_timeout_s: Seconds = Field(30, description="A batch that takes longer counts as failed.")
    pair_memo: Positive = Field(50_000, description="Verdicts remembered in this process.")
    threads: Positive | None = Field(None, description="CPU threads of the NLI model (default: all cores).")
    overlap: Literal["auto", "on", "off"] = Field(
        "auto",
        description="Judge pairs of the samples that are there while others are drawn; auto: unless the language model "
        "needs the same processor.",
    )

    @model_validator(mode="after")
    def _server_is_named(self) -> Self:
        if self.backend == "tei" and self.url is None:
            raise ValueError("the backend tei needs DEMUR_NLI__URL, the address of a text-embeddings-inference server")
        return self


class ClusteringSettings(_Group):
    """When two answers are the same."""

    rule: Literal["strict", "relaxed"] = Field(
        "strict", description="strict: each entails the other; relaxed: no contradiction and not both neutral."
    )
    include_prompt: bool = Field(True, description="Show the question to the NLI model before each answer.")


class CalibrationSettings(_Group):
    """What was learnt from labelled answers."""

    profiles: Annotated[Path | None, AfterValidator(_existing_folder)] = Field(
        None,
        description="Folder of calibration profiles (*.json, made by `demur calibrate`), read at start; the bundled "
        "model's own when left out.",
    )

    @property
    def folder(self) -> Path:
        """`profiles`, or what comes with the bundled models, which speaks for no others."""
        return self.profiles or _BUNDLE / "profiles"


class DefaultsSettings(_Group):
    """What a request may leave out, and how far it may go."""

    quality: Literal["fast", "balanced", "thorough"] = Field("balanced", description="5, 10 or 20 samples.")
    temperature: float = Field(1.0, gt=0, le=2, description="Sampling temperature.")
    max_samples: int = Field(32, ge=2, le=256, description="Upper bound of `sampling.n`.")
    max_prompt_chars: Positive = Field(32_000, description="Upper bound of the prompt.")
    max_tokens: Positive = Field(1024, description="Upper bound of `sampling.max_tokens`.")
    max_timeout_s: Seconds = Field(300, description="Upper bound of `timeout_s`.")
    abstain_text: str = Field("I don't know.", description="The answer where `on_abstain` is `replace`.")
    prompt_template_file: Annotated[Path | None, AfterValidator(_existing_file)] = Field(
        None, description="How passages and question become a prompt: text with `$passages` and `$question`."
    )


class ObservabilitySettings(_Group):
    """Logs, metrics and traces. Prompts and answers are never logged."""

    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least severe level shown.")
    log_format: Literal["json", "console"] = Field("json", description="One JSON object a line, or for people.")
    log_prompts: bool = Field(False, description="Put questions and answers into the spans of traces.")
    metrics_port: int | None = Field(
        None, ge=1, le=65535, description="Serve /metrics on a port of its own as well, open to all who reach it."
    )


class TracingVariables(BaseSettings):
    """Those of the standard OTEL_* variables that say whether spans are sent; OpenTelemetry itself reads the others."""

    model_config = SettingsConfigDict(env_prefix="OTEL_", frozen=True, extra="ignore")

    sdk_disabled: str = ""
    traces_exporter: str = "otlp"
    exporter_otlp_endpoint: str = ""
    exporter_otlp_traces_endpoint: str = ""
    exporter_otlp_protocol: str = "http/protobuf"
    exporter_otlp_traces_protocol: str = ""

    @property
    def wants_spans(self) -> bool:
        has_collector = bool(self.exporter_otlp_traces_endpoint or self.exporter_otlp_endpoint)
        return has_collector and self.traces_exporter == "otlp" and self.sdk_disabled.lower() != "true"

    @property
    def protocol(self) -> str:
        return self.exporter_otlp_traces_protocol or self.exporter_otlp_protocol


class Settings(BaseSettings):
    """All groups. Construct with keyword arguments in tests; `Settings()` reads the environment."""

    model_config = SettingsConfigDict(
        env_prefix="DEMUR_", env_nested_delimiter="__", env_file=".env", extra="ignore", frozen=True
    )

    server: ServerSettings = ServerSettings()
    auth: AuthSettings = AuthSettings()
    store: StoreSettings = StoreSettings()
    audit: AuditSettings = AuditSettings()
    sampler: SamplerSettings = SamplerSettings()
    judge: JudgeSettings = JudgeSettings()
    vllm: VLLMSettings = VLLMSettings()
    nli: NLISettings = NLISettings()
    clustering: ClusteringSettings = ClusteringSettings()
    calibration: CalibrationSettings = CalibrationSettings()
    defaults: DefaultsSettings = DefaultsSettings()
    observability: ObservabilitySettings = ObservabilitySettings()

    @property
    def overlaps(self) -> bool:
        """Whether entailment runs while samples are drawn (docs/design/0008)."""
        shares_processor = self.sampler.backend == "local" and self.nli.backend == "cross_encoder"
        return self.nli.overlap == "on" or (self.nli.overlap == "auto" and not shares_processor)
