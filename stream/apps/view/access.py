"""Who may look: the names this page is asked for under, the pages that may ask, and the token beyond this machine."""

from __future__ import annotations

import hmac
import ipaddress
import secrets
from dataclasses import dataclass, field

COOKIE = "dfer_view"


@dataclass(frozen=True)
class Access:
    """Decides about one request; pure.

    A web page elsewhere can make a browser ask this server (and, by DNS rebinding, under a name of its own). So the
    ``Host`` must be an address or a name given here, and the ``Origin``, where a browser sends one, this page itself.

    Attributes:
        bind: Address the server is bound to.
        names: Further host names it is reached by.
        token: What a viewer beyond this machine must know; None on loopback.
    """

    bind: str
    names: tuple[str, ...] = ()
    token: str | None = field(default=None, repr=False)

    @classmethod
    def to(cls, bind: str, names: tuple[str, ...] = ()) -> Access:
        """Access to a server bound to `bind`: with a new token unless only this machine can reach it."""
        return cls(bind, names, None if _loopback(bind) else secrets.token_urlsafe(24))

    def host(self, header: str | None) -> bool:
        """Whether a ``Host`` header names this server.

        An address cannot be rebound to another one; of names only ``localhost`` and those given are known.
        """
        name = _host_of(header or "")
        if name in ("localhost", self.bind, *self.names):
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return address.is_loopback or self.token is not None

    def origin(self, header: str | None, host: str | None) -> bool:
        """Whether an ``Origin`` header is this page's own; a program that is no browser sends none."""
        return header is None or (host is not None and header in (f"http://{host}", f"https://{host}"))

    def knows(self, given: str | None) -> bool:
        """Whether a token given in a cookie or the first address is the right one, or none is needed."""
        return self.token is None or hmac.compare_digest((given or "").encode(), self.token.encode())


def _host_of(header: str) -> str:
    """``localhost:8080`` → ``localhost``, ``[::1]:8080`` → ``::1``."""
    if header.startswith("["):
        return header[1:].partition("]")[0].lower()
    return header.partition(":")[0].lower()


def _loopback(bind: str) -> bool:
    if bind == "localhost":
        return True
    try:
        return ipaddress.ip_address(bind).is_loopback
    except ValueError:
        return False
