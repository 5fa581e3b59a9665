"""Text messages by way of an HTTP gateway."""

from .account import SmsAccount
from .channel import SmsChannel
from .keywords import keyword
from .plugin import Sms
from .segments import Segments, segments
from .signatures import hmac_signature, twilio_signature

__all__ = [
    "Segments",
    "Sms",
    "SmsAccount",
    "SmsChannel",
    "hmac_signature",
    "keyword",
    "segments",
    "twilio_signature",
]
