"""Scores: the table of each scorer, the SQL that fills it, and running a scorer."""

from .run import ScoringFailed, compute_scores
from .sql import ScoreQuery
from .table import Output, outputs_of, score_entity, score_model

__all__ = [
    "Output",
    "ScoreQuery",
    "ScoringFailed",
    "compute_scores",
    "outputs_of",
    "score_entity",
    "score_model",
]
