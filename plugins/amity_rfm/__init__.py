"""Recency, frequency and monetary value of customers, as quintiles and named segments."""

from .plugin import Rfm, RfmOutput, RfmSettings
from .segments import SEGMENTS, segment_of

__all__ = ["SEGMENTS", "Rfm", "RfmOutput", "RfmSettings", "segment_of"]
