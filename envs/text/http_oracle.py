"""An oracle behind an OpenAI-compatible chat endpoint."""

from __future__ import annotations

import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from envs.text.lm_oracle import INSTRUCTION, read_reply
from envs.text.oracles import Answer, OracleError, Request


class HTTPOracle:
    """Asks a chat endpoint, several questions at a time.

    Args:
        url: Base address, such as ``http://localhost:8000/v1``; ``/chat/completions`` is added.
        model: Name of the model there.
        key_variable: Environment variable that holds the key, or None.
        timeout: Seconds to wait for one answer.
        retries: How often to try again after a lost connection, a time-out, or status 429 or 5xx.
        backoff: Seconds before the first of these, doubled each time.
        workers: Questions under way at a time.
        yes_no: Whether only "Yes." and "No." are answers; else the reply is passed on.
        instruction: Template of the system message; ``{hidden}`` is the word.

    Raises:
        ValueError: An argument is out of range, or the address is not http or https.
    """

    def __init__(
        self,
        url: str,
        model: str,
        key_variable: str | None = None,
        timeout: float = 30.0,
        retries: int = 3,
        backoff: float = 0.5,
        workers: int = 16,
        yes_no: bool = True,
        instruction: str = INSTRUCTION,
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise ValueError(f"http oracle: url must start with http:// or https://, got {url!r}")
        if timeout <= 0 or retries < 0 or workers < 1 or backoff < 0:
            raise ValueError(
                "http oracle: wanted timeout > 0, retries >= 0, backoff >= 0, workers >= 1; got "
                f"{timeout}, {retries}, {backoff}, {workers}"
            )
        self._url = url.rstrip("/") + "/chat/completions"
        self._model, self._key_variable = model, key_variable
        self._timeout, self._retries, self._backoff = timeout, retries, backoff
        self._workers, self._yes_no, self._instruction = workers, yes_no, instruction

    def answer(
        self, requests: Sequence[Request], rngs: Sequence[np.random.Generator]
    ) -> list[Answer]:
        """Return the endpoint's answers; one that could not be had is an error in its place."""
        with ThreadPoolExecutor(self._workers) as pool:
            return list(pool.map(self._one, requests))

    def _one(self, request: Request) -> Answer:
        system = self._instruction.format(hidden=request.hidden)
        body = {
            "model": self._model,
            "temperature": 0.0,
            "max_tokens": 8 if self._yes_no else 64,
            "messages": [
                {"role": "system", "content": system},
                {"role": "user", "content": request.question},
            ],
        }
        try:
            reply = self._post(json.dumps(body).encode())
            return read_reply(reply, self._yes_no)
        except OracleError as error:
            return error

    def _post(self, body: bytes) -> str:
        problem = ""
        for attempt in range(self._retries + 1):
            if attempt:
                time.sleep(self._backoff * 2 ** (attempt - 1))
            try:
                return self._reply(body)
            except urllib.error.HTTPError as error:
                problem = f"status {error.code}"
                if error.code != 429 and error.code < 500:
                    break
            except (OSError, TimeoutError) as error:
                problem = f"{type(error).__name__}: {error}"
            except (ValueError, KeyError, IndexError, TypeError) as error:
                raise OracleError(f"{self._url}: unreadable answer: {error!r}") from None
        raise OracleError(f"{self._url}: {problem}")

    def _reply(self, body: bytes) -> str:
        headers = {"Content-Type": "application/json"}
        if self._key_variable is not None:
            key = os.environ.get(self._key_variable)
            if not key:
                raise OracleError(f"environment variable {self._key_variable} is not set")
            headers["Authorization"] = f"Bearer {key}"
        request = urllib.request.Request(self._url, body, headers)  # noqa: S310 - checked above
        with urllib.request.urlopen(request, timeout=self._timeout) as answer:  # noqa: S310
            parsed: Any = json.loads(answer.read(1 << 20))
        return str(parsed["choices"][0]["message"]["content"])
