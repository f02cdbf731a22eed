"""A subscriber's socket: small buffers, keys on both sides or on none, subscribed before it connects."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import zmq

from stream.publish import keys
from stream.publish.endpoint import EndpointError

RECEIVE_MARK = 16
RECEIVE_BUFFER_BYTES = 16 * 1024
# A subscriber sends nothing, so it would never learn that the publisher's machine lost its power: after 3 s of silence
# it asks once a second, and connects anew after four questions without an answer.
_KEEPALIVE = {zmq.TCP_KEEPALIVE: 1, zmq.TCP_KEEPALIVE_IDLE: 3, zmq.TCP_KEEPALIVE_INTVL: 1, zmq.TCP_KEEPALIVE_CNT: 4}
# The system would wait ever longer between its tries, and be late by as much once the machine is there again.
_CONNECT_TIMEOUT_MS = 2000


def connect(
    context: zmq.Context[zmq.Socket[bytes]],
    endpoint: str,
    topics: Sequence[bytes],
    key: Path | None = None,
    server_key: Path | None = None,
    newest: bool = False,
    mark: int = RECEIVE_MARK,
) -> zmq.Socket[bytes]:
    """Subscribe and connect; whether anybody publishes there shows later.

    Args:
        context: Of the caller, who closes the socket and ends it.
        endpoint: Checked.
        topics: Beginnings of topics.
        key: This subscriber's secret CURVE key file.
        server_key: The publisher's public key file, needed with `key`.
        newest: Keep only the newest message; one topic then.
        mark: Messages kept for a reader that is late.

    Raises:
        EndpointError: If the endpoint or a key cannot be used.
    """
    if (key is None) != (server_key is None):
        raise EndpointError(
            "an encrypted connection needs both keys", "give your own secret one and the publisher's public one"
        )
    made = context.socket(zmq.SUB)
    try:
        made.setsockopt(zmq.RCVHWM, mark)
        made.setsockopt(zmq.RCVBUF, RECEIVE_BUFFER_BYTES)
        made.setsockopt(zmq.LINGER, 0)
        made.setsockopt(zmq.CONFLATE, int(newest))
        made.setsockopt(zmq.RECONNECT_IVL_MAX, 1000)
        made.setsockopt(zmq.CONNECT_TIMEOUT, _CONNECT_TIMEOUT_MS)
        for option, value in _KEEPALIVE.items():
            made.setsockopt(option, value)
        made.setsockopt(zmq.IPV6, int("[" in endpoint))
        if key is not None and server_key is not None:
            pair = keys.load_pair(key)
            made.curve_publickey, made.curve_secretkey = pair.public, pair.secret
            made.curve_serverkey = keys.load_public(server_key)
        for topic in topics:
            made.subscribe(topic)
        made.connect(endpoint)
    except zmq.ZMQError as error:
        made.close(linger=0)
        raise EndpointError(f"cannot connect to {endpoint}: {error}") from error
    except BaseException:
        made.close(linger=0)
        raise
    return made
