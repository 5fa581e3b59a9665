"""A shop's web site with a chat on it: one script tag, under a strict content security policy.

    python serve.py --widget http://localhost:8000/webchat/con_…/widget.js

Whoever opens ``/?user=ann@example.com`` is signed in, as the shop's own back end would say it: by an identity
that is signed with the connection's secret, in ``IDENTITY_SECRET``. ``/?lang=de`` is the page in German, as far as
the chat goes.
"""

from __future__ import annotations

import argparse
import base64
import hmac
import json
import os
import time
from functools import partial
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from string import Template
from urllib.parse import parse_qs, urlsplit

FOLDER = Path(__file__).parent


def identity(user: str, secret: str, now: float) -> str:
    """A JSON Web Token (HS256) that says who the visitor is, for one hour."""
    claims = {"sub": user, "email": user, "name": user.partition("@")[0].title(), "exp": int(now) + 3600}
    signed = ".".join(_encoded(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, claims))
    return f"{signed}.{_encoded(hmac.digest(secret.encode(), signed.encode(), 'sha256'))}"


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def policy(widget: str) -> str:
    """The content security policy of the page: from the CRM comes the script and the socket, nothing else."""
    parts = urlsplit(widget)
    socket = f"{'wss' if parts.scheme == 'https' else 'ws'}://{parts.netloc}"
    return (
        f"default-src 'none'; script-src {parts.scheme}://{parts.netloc}; connect-src {socket}; style-src 'self'; "
        "base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'"
    )


class Site(BaseHTTPRequestHandler):
    """Answers with the page, or its style."""

    def __init__(self, widget: str, secret: str | None, *args: object) -> None:
        self.widget = widget
        self.secret = secret
        super().__init__(*args)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if url.path == "/style.css":
            self._answer("text/css", (FOLDER / "style.css").read_bytes())
        elif url.path == "/":
            asked = {name: values[0] for name, values in parse_qs(url.query).items()}
            user = asked.get("user")
            token = identity(user, self.secret, time.time()) if user and self.secret else ""
            page = Template((FOLDER / "index.html").read_text(encoding="utf-8"))
            text = page.substitute(
                widget=escape(self.widget), identity=token, lang=escape(asked.get("lang", "en"))
            )
            self._answer("text/html; charset=utf-8", text.encode())
        else:
            self.send_error(404)

    def _answer(self, kind: str, body: bytes) -> None:
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.send_header("content-security-policy", policy(self.widget))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nobody reads it."""


def site(widget: str, secret: str | None = None, port: int = 8080) -> ThreadingHTTPServer:
    """A server of the page on this machine. Port 0 takes a free one."""
    return ThreadingHTTPServer(("127.0.0.1", port), partial(Site, widget, secret))


def main() -> None:
    parser = argparse.ArgumentParser(description="A shop's web site with a chat on it")
    parser.add_argument("--widget", required=True, help="the URL of the connection's widget.js")
    parser.add_argument("--port", type=int, default=8080)
    asked = parser.parse_args()
    server = site(asked.widget, os.environ.get("IDENTITY_SECRET"), asked.port)
    print(f"The shop is at http://localhost:{asked.port}")
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        print("Closed")


if __name__ == "__main__":
    main()
