from __future__ import annotations

import asyncio
import threading

import pytest

from dask_em.execution import ClusterSettings, connect


def test_not_where_distributed_has_only_begun_to_ask(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asking, wait, stopped = threading.current_thread(), threading.Event.wait, threading.Event()

    def interrupted(event: threading.Event, timeout: float | None = None) -> bool:
        if threading.current_thread() is asking:
            raise KeyboardInterrupt
        return wait(event, timeout)

    with connect(ClusterSettings("local", workers=1)) as client:
        assert client is not None
        client.loop.add_callback(stopped.wait)  # it begins nothing until all of it has been asked
        with monkeypatch.context() as patch:
            patch.setattr(threading.Event, "wait", interrupted)
            with pytest.raises(KeyboardInterrupt):
                client.sync(asyncio.sleep, 0)
        stopped.set()
        client.sync(asyncio.sleep, 0.1)  # the loop has cancelled what it was told to
    assert [record for record in caplog.records if record.exc_info] == []
