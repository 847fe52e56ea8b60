"""What training needs of normalised style space: the centre with its file, and the distance to it (LSAP).

The arithmetic lives in `pipelines.models.generators.style_space` and the file in `pipelines.weights.style_centres`,
because inversion and `ganinv evaluate` use them too.
"""

from pipelines.models.generators.style_space import StyleCentre, aligned_distance, centre_digest, nscd, style_centre
from pipelines.weights.style_centres import cached_centre, load_centre, save_centre

__all__ = [
    "StyleCentre",
    "aligned_distance",
    "cached_centre",
    "centre_digest",
    "load_centre",
    "nscd",
    "save_centre",
    "style_centre",
]
