"""The HTTP client for addresses that somebody typed in: gateways, webhooks. Needs the package httpx2.

The headless core does not import it.
"""

from __future__ import annotations

import httpx2

from .network import addresses

TIMEOUT = 15.0
"""Seconds that connecting, sending or waiting for the next bytes may take."""


def client(*, allow_private: bool = False, timeout: float = TIMEOUT) -> httpx2.AsyncClient:
    """A client that connects to public addresses only, unless ``allow_private``.

    It follows no redirects and takes no proxy from the environment. Its requests raise
    :class:`~amity.network.AddressRefused`, and httpx2's errors.
    """
    return httpx2.AsyncClient(transport=_Guarded(allow_private), timeout=timeout, follow_redirects=False)


class _Guarded(httpx2.AsyncBaseTransport):
    """Connects to the address that was looked at, not to a name that could lead elsewhere the second time."""

    def __init__(self, allow_private: bool) -> None:
        self._allow_private = allow_private
        self._inner = httpx2.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        host = request.url.raw_host.decode("ascii")
        port = request.url.port or (443 if request.url.scheme == "https" else 80)
        try:
            found = await addresses(host, port, allow_private=self._allow_private)
        except OSError as error:
            raise httpx2.ConnectError(str(error), request=request) from error
        last: httpx2.ConnectError | None = None
        for address in found:
            try:
                return await self._inner.handle_async_request(_to(request, address))
            except httpx2.ConnectError as error:  # nothing was sent, so the next address may be tried
                last = error
        raise last or httpx2.ConnectError(f"{host} has no address", request=request)

    async def aclose(self) -> None:
        await self._inner.aclose()


def _to(request: httpx2.Request, address: str) -> httpx2.Request:
    """The same request, to an address. The header Host and the certificate's name stay those of the host."""
    return httpx2.Request(
        request.method,
        request.url.copy_with(host=address),
        headers=request.headers,
        stream=request.stream,
        extensions={**request.extensions, "sni_hostname": request.url.raw_host.decode("ascii")},
    )


__all__ = ["TIMEOUT", "client"]
