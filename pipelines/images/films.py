"""Formats of animations; by itself, because the command line names them without loading what writes them."""

from __future__ import annotations

from typing import Literal

Film = Literal["webp", "mp4"]
