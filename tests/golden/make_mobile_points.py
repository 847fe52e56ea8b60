"""Corners (y, x) of the squares that the golden arrays of `mobile-ffhq` keep at full density."""

CORNERS = ((100, 300), (480, 480), (700, 530), (976, 0))
