"""Kinds of output that `evaluate` tells apart, as manifests name them."""

FACE = "face"  # a crop of `align`
INVERSION = "inversion"
LATENTS = "latents"
MASKS = "masks/"  # + the edit's name: where its picture is not the photo
PHOTOS = "photos/"  # + the edit's name: the photo with its edited faces
