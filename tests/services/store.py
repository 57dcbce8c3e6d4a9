"""An S3 of this process, on loopback, that can be told to be busy, slow, or strict about who asks."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from moto.backends import get_backend
from moto.core import DEFAULT_ACCOUNT_ID as ACCOUNT
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

__all__ = ["BUCKET", "KEY", "SECRET", "Store"]

BUCKET, KEY, SECRET = "measurements", "AKIAHUSHHUSHHUSH0001", "hush/Sie5Quai8hush+Phoh3ooh8ShuhHush0002"

_ERROR = (
    "<?xml version='1.0' encoding='UTF-8'?><Error><Code>{}</Code><Message>{}</Message><RequestId>1</RequestId></Error>"
)


class _Silent(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"  # connections are kept

    def log(self, *_: Any) -> None:
        """Say nothing: the tests read what the program says."""


class Store:
    """moto's application behind a door at which things can go wrong."""

    def __init__(self) -> None:
        self._application = DomainDispatcherApplication(create_backend_app)
        self._random, self._lock = random.Random(0), threading.Lock()
        self.busy = 0.0  # the share of requests that are answered 503 SlowDown
        self.delay = 0.0  # seconds before each answer
        self.refused = 0  # requests answered so
        self.answered = 0
        self.lost: Callable[[str, str], bool] = lambda method, path: False  # done, but the answer is a 503
        self._server = make_server("127.0.0.1", 0, self, threaded=True, request_handler=_Silent)
        self._server.daemon_threads = True  # type: ignore[attr-defined]  # of socketserver
        self.url = f"http://127.0.0.1:{self._server.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def calm(self) -> None:
        """Answer all requests, at once."""
        self.busy, self.delay, self.refused, self.answered = 0.0, 0.0, 0, 0
        self.lost = lambda method, path: False

    def empty(self) -> None:
        """Forget all buckets."""
        get_backend("s3")[ACCOUNT]["aws"].reset()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join(10)
        self._server.server_close()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        time.sleep(self.delay)
        with self._lock:
            busy = self._random.random() < self.busy
            self.refused, self.answered = self.refused + busy, self.answered + (not busy)
        signed = environ.get("HTTP_AUTHORIZATION", "")
        if f"Credential={KEY}/" not in signed:
            return _refuse(environ, start_response, "403 Forbidden", "InvalidAccessKeyId", "The key is not known.")
        if busy:
            return _refuse(environ, start_response, "503 Slow Down", "SlowDown", "Please reduce your request rate.")
        if self.lost(environ["REQUEST_METHOD"], environ["PATH_INFO"]):
            list(self._application(environ, lambda *_: None))
            environ["CONTENT_LENGTH"] = 0  # it is read
            return _refuse(environ, start_response, "503 Slow Down", "SlowDown", "Please reduce your request rate.")
        return self._application(environ, start_response)  # type: ignore[no-any-return]


def _refuse(
    environ: dict[str, Any], start_response: Callable[..., Any], status: str, code: str, message: str
) -> list[bytes]:
    environ["wsgi.input"].read(
        int(environ.get("CONTENT_LENGTH") or 0)
    )  # else what follows on the connection is read wrong
    text = _ERROR.format(code, message).encode()
    start_response(status, [("Content-Type", "application/xml"), ("Content-Length", str(len(text)))])
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [text]
