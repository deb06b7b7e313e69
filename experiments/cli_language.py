"""Commands on language models: ``generate``, ``chat``, ``serve``."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from experiments.storage_errors import check_writable, naming, reason_of
from rlcore.errors import CheckpointError, ConfigError

if TYPE_CHECKING:
    from experiments.generation import Prompt
    from rlcore.inference.generated import Generated
    from rlcore.inference.llm import LLM

KEY_VARIABLE = "RLCORE_API_KEY"
MAX_PROMPT, MAX_ANSWER = 32_768, 8192
"""Most tokens that are served unless told; the other commands have room for as many."""
DirArgument = Annotated[
    Path, typer.Argument(metavar="DIR", help="Model folder: config.json, weights, tokenizer.")
]
NewTokensOption = Annotated[int, typer.Option(help="Most tokens of an answer.", min=1)]
TemperatureOption = Annotated[float, typer.Option(help="0 takes the most probable token.", min=0)]
TopPOption = Annotated[float, typer.Option(help="Keep the most probable tokens up to this mass.")]
TopKOption = Annotated[int, typer.Option(help="Keep this many tokens; 0 keeps all.", min=0)]
SeedOption = Annotated[int, typer.Option(help="Decides every drawn token.")]
DtypeOption = Annotated[
    str | None, typer.Option(metavar="DTYPE", help="float32, bfloat16, ...; default: the files'.")
]
DeviceOption = Annotated[
    str | None, typer.Option(metavar="DEVICE", help="Default: CUDA if there is a device.")
]
BlocksOption = Annotated[
    int | None,
    typer.Option(metavar="N", help="Blocks of 16 tokens to remember; default: by memory."),
]
TemplateOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Chat template (Jinja) instead of the folder's.")
]


def add_commands(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (generate, chat, serve):
        app.command(command.__name__)(command)


def generate(
    folder: DirArgument,
    prompt: Annotated[
        str | None,
        typer.Argument(help="Text; - or nothing reads standard input.", show_default=False),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="JSON lines, each with prompt or messages; - is stdin."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write answers as JSON lines here.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print answers as JSON lines.")] = False,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a page: probabilities, forks, order.")
    ] = None,
    as_chat: Annotated[
        bool, typer.Option("--chat", help="The prompt is a message of a conversation.")
    ] = False,
    n: Annotated[int, typer.Option("-n", help="Answers to each prompt.", min=1)] = 1,
    max_new_tokens: NewTokensOption = 256,
    temperature: TemperatureOption = 1.0,
    top_p: TopPOption = 1.0,
    top_k: TopKOption = 0,
    seed: SeedOption = 0,
    stop: Annotated[
        list[str] | None, typer.Option(metavar="TEXT", help="End an answer before it; repeatable.")
    ] = None,
    decoding: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Settings of a masked-diffusion decoder (YAML)."),
    ] = None,
    dtype: DtypeOption = None,
    device: DeviceOption = None,
    blocks: BlocksOption = None,
    template: TemplateOption = None,
) -> None:
    """Answer prompts with a language model, causal or masked-diffusion."""
    if prompt is not None and file is not None:
        raise ConfigError("give a prompt or --file, not both")
    for path in (out, html):
        if path is not None:
            check_writable(path)
    from experiments.generation import decoding_settings
    from rlcore.inference.config import SamplingParams

    # All of it before a model is loaded, which may take minutes.
    SamplingParams(temperature=temperature, top_p=top_p, top_k=top_k, seed=seed)
    settings = decoding_settings(decoding)
    llm = _load(folder, dtype, device, blocks, template)
    prompts = _prompts(llm, prompt, file, as_chat)
    from experiments.generation import answer_record, prompt_ids, write_records

    answers = llm.generate(
        prompt_ids(prompts, llm),
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_p=top_p,
        top_k=top_k,
        seed=seed,
        n=n,
        stop=stop or (),
        decoding=settings,
    )
    records = [answer_record(prompts[answer.prompt_index], answer) for answer in answers]
    if out is not None:
        with naming(out), _writing(out) as file_out:
            write_records(file_out, records)
    if html is not None:
        _page(html, llm, answers, str(folder))
    if as_json:
        write_records(sys.stdout, records)
    elif out is None:
        _print_texts(answers)


def _load(
    folder: Path,
    dtype: str | None,
    device: str | None,
    blocks: int | None,
    template: Path | None,
    tokens: int = MAX_PROMPT + MAX_ANSWER,
) -> LLM:
    import torch

    from rlcore.inference.config import EngineConfig
    from rlcore.inference.llm import LLM

    kind = None if dtype is None else getattr(torch, dtype, None)
    if dtype is not None and not (isinstance(kind, torch.dtype) and kind.is_floating_point):
        raise ConfigError(f"--dtype {dtype!r:.40}; wanted float32, bfloat16, float16 or float64")
    _check_model_folder(folder)
    if device is not None:
        _check_device(device)
    # Branches list blocks enough for the longest prompt and answer.
    lists = -(-tokens // EngineConfig().block_size)
    engine = EngineConfig(num_blocks=blocks, max_row_blocks=lists)
    llm = LLM(folder, dtype=kind, device=device, engine=engine)
    if template is not None:
        _set_template(llm, template)
    return llm


def _check_model_folder(folder: Path) -> None:
    """Tell of another kind of folder, and what makes a model of it."""
    if (folder / "config.json").exists() or not folder.is_dir():
        return  # a folder that is missing is told of where it is read
    hint = ""
    if (folder / "config.resolved.yaml").is_file():
        hint = f"; it is a run: write its model with `rlcore export {folder} DIR`"
    elif (folder / "index.json").is_file():
        hint = "; it is a data set: train on it, then `rlcore export RUN DIR`"
    raise CheckpointError(f"{folder}: is no model folder, it has no config.json{hint}")


def _check_device(device: str) -> None:
    import torch

    try:
        kind = torch.device(device).type
    except RuntimeError:
        kind = ""
    if kind not in ("cpu", "cuda"):
        raise ConfigError(f"--device {device!r:.40}; wanted cpu, cuda or cuda:N")
    seen = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if kind == "cuda" and (torch.device(device).index or 0) >= seen:
        raise ConfigError(f"--device {device!r:.40}: torch sees {seen} CUDA devices; wanted cpu")


def _set_template(llm: LLM, template: Path) -> None:
    from rlcore.data.tokenizers import TokenizerError
    from rlcore.data.tokenizers.chat import encode_chat

    if llm.tokenizer is None:
        raise ConfigError("--template needs a tokenizer, and the folder has none")
    try:
        llm.tokenizer.chat_template = template.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{template}: cannot be read ({reason_of(error)})") from None
    # A template that fails is told of now, not after the first message.
    try:
        encode_chat(llm.tokenizer, [{"role": "user", "content": "hello"}])
    except TokenizerError as error:
        raise ConfigError(f"{template}: {error}") from None


def _prompts(llm: LLM, prompt: str | None, file: Path | None, as_chat: bool) -> list[Prompt]:
    from experiments.generation import Prompt, chat_ids, read_prompts

    if file is not None:
        if str(file) == "-":
            return read_prompts(sys.stdin, "standard input", llm.tokenizer)
        try:
            with open(file, encoding="utf-8") as lines:
                return read_prompts(lines, str(file), llm.tokenizer)
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{file}: cannot be read ({reason_of(error)})") from None
    if llm.tokenizer is None:
        raise ConfigError(
            "the model's folder has no tokenizer to read text with; give token ids: "
            '--file with lines such as {"prompt": [1, 2, 3]}'
        )
    if prompt is None and sys.stdin.isatty():
        typer.echo("type the prompt; Ctrl-D ends it", err=True)
    text = sys.stdin.read() if prompt in (None, "-") else str(prompt)
    if as_chat:
        return [
            Prompt(chat_ids(llm.tokenizer, [{"role": "user", "content": text}]), {"prompt": text})
        ]
    return [Prompt(text, {"prompt": text})]


def _writing(path: Path) -> TextIO:
    try:
        return open(path, "w", encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written ({error.strerror})") from None


def _page(path: Path, llm: LLM, answers: list[Generated], title: str) -> None:
    from experiments.generation import transcript_answer
    from experiments.transcript_html import write_transcript

    pages = [transcript_answer(llm, answer) for answer in answers]
    try:
        typer.echo(f"page: {write_transcript(path, pages, title)}", err=True)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written ({error.strerror})") from None


def _print_texts(answers: list[Generated]) -> None:
    from experiments.generation import terminal_text

    terminal = sys.stdout.isatty()
    for answer in answers:
        if len(answers) > 1:
            typer.echo(f"--- prompt {answer.prompt_index + 1}, answer {answer.sample + 1}")
        text = " ".join(map(str, answer.token_ids)) if answer.text is None else answer.text
        typer.echo(terminal_text(text) if terminal else text)


def chat(
    folder: DirArgument,
    system: Annotated[str | None, typer.Option(help="System message.")] = None,
    max_new_tokens: NewTokensOption = 512,
    temperature: TemperatureOption = 0.7,
    top_p: TopPOption = 1.0,
    top_k: TopKOption = 0,
    seed: SeedOption = 0,
    dtype: DtypeOption = None,
    device: DeviceOption = None,
    blocks: BlocksOption = None,
    template: TemplateOption = None,
) -> None:
    """Talk with a language model; /help lists the commands, Ctrl-C stops an answer."""
    from experiments.chat import Chat, converse
    from rlcore.inference.config import SamplingParams

    sampling = SamplingParams(temperature=temperature, top_p=top_p, top_k=top_k, seed=seed)
    llm = _load(folder, dtype, device, blocks, template)
    terminal = sys.stdout.isatty()

    def write(text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()

    conversation = Chat(llm, sampling, max_new_tokens, system, write, terminal)
    if terminal:
        typer.echo(f"{folder}: /help lists the commands", err=True)
    try:
        converse(conversation, _typed(), lambda text: typer.echo(text, err=True, nl=False))
    finally:
        conversation.close()


def _typed() -> Iterator[str]:
    """Yield the lines that a person types, or those of a file."""
    if not sys.stdin.isatty():
        yield from sys.stdin
        return
    import readline  # noqa: F401 - editing and history of lines

    while True:
        try:
            yield input("> ")
        except KeyboardInterrupt:
            typer.echo("", err=True)
        except EOFError:
            typer.echo("", err=True)
            return


def serve(
    folder: DirArgument,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 lets the system choose.", min=0)] = 8000,
    model_name: Annotated[
        str | None, typer.Option(help="What clients call the model; default: the folder's name.")
    ] = None,
    api_key_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help=f"Holds the key callers need; or set {KEY_VARIABLE}."),
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Listen beyond this machine without a key.")
    ] = False,
    max_new_tokens: NewTokensOption = MAX_ANSWER,
    max_prompt_tokens: Annotated[int, typer.Option(help="Tokens of a prompt.", min=1)] = MAX_PROMPT,
    max_running: Annotated[int, typer.Option(help="Requests that generate at once.", min=1)] = 64,
    max_queued: Annotated[int, typer.Option(help="Requests that wait; then 429.", min=0)] = 256,
    drain_timeout: Annotated[
        float, typer.Option(help="Seconds to let requests finish after SIGTERM.", min=0)
    ] = 30.0,
    dtype: DtypeOption = None,
    device: DeviceOption = None,
    blocks: BlocksOption = None,
    template: TemplateOption = None,
) -> None:
    """Answer OpenAI's protocol over HTTP: completions, chat completions, models."""
    from rlcore.inference.serving.config import ServeConfig

    config = ServeConfig(
        host=host,
        port=port,
        model_name=model_name or folder.resolve().name,
        api_key=_api_key(api_key_file),
        insecure=insecure,
        max_new_tokens=max_new_tokens,
        default_new_tokens=min(256, max_new_tokens),
        max_prompt_tokens=max_prompt_tokens,
        max_running=max_running,
        max_queued=max_queued,
        drain_timeout=drain_timeout,
    )
    tokens = max_prompt_tokens + max_new_tokens
    llm = _load(folder, dtype, device, blocks, template, tokens)
    if llm.tokenizer is None:
        raise ConfigError(f"{folder}: serving needs a tokenizer, and the folder has none")
    if not llm.model.config.causal:
        raise ConfigError(
            f"{folder}: holds a masked-diffusion model, wanted a causal model; rlcore generate "
            "answers with it"
        )
    _serve(llm, config)


def _api_key(path: Path | None) -> str | None:
    if path is None:
        return os.environ.get(KEY_VARIABLE)
    try:
        key = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({reason_of(error)})") from None
    if not key:
        raise ConfigError(f"{path}: holds no key")
    return key


def _serve(llm: LLM, config: Any) -> None:
    import asyncio
    import logging

    from rlcore.inference.service import EngineService
    from rlcore.inference.serving.app import Server
    from rlcore.inference.serving.run import run_server

    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.INFO, stream=sys.stderr)

    def ready(host: str, port: int) -> None:
        where = f"[{host}]" if ":" in host else host
        key = "with the API key" if config.api_key else "without a key"
        typer.echo(f"{config.model_name}: http://{where}:{port}/v1 {key}", err=True)

    service = EngineService(llm.engine)
    try:
        server = Server(service, llm.tokenizer, config, llm.stop_ids)
        asyncio.run(run_server(server, ready))
    except OSError as error:
        raise ConfigError(f"{config.host}:{config.port}: {error.strerror or error}") from None
    finally:
        service.close()
