"""Chats on web sites: a widget by one script tag, answers over a socket."""

from .account import WebChatAccount
from .channel import WebChatChannel
from .plugin import Visitor, WebChat, WebChatSettings
from .tokens import Identity, TokenError, read_identity, sign_identity

__all__ = [
    "Identity",
    "TokenError",
    "Visitor",
    "WebChat",
    "WebChatAccount",
    "WebChatChannel",
    "WebChatSettings",
    "read_identity",
    "sign_identity",
]
