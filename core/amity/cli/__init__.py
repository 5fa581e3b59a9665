"""The ``amity`` command line."""

from .app import App
from .main import main

__all__ = ["App", "main"]
