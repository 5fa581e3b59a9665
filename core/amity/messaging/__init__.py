"""What happens to messages between a channel and the database, and what they are made of."""

from .connections import NotUsable, Opened, open_connections
from .receive import Delivered, deliver

__all__ = ["Delivered", "NotUsable", "Opened", "deliver", "open_connections"]
