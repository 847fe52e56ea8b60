"""Where hands are in a picture: MediaPipe's palm detector and hand landmarks (Google, Apache-2.0) as a soft mask.

Zhang et al., MediaPipe Hands (arXiv 2006.10214): palms are found as boxes with seven points at 192 px; from such a box a
turned square is cut, in which a second network finds 21 points at 224 px.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipelines.models.tflite import Graph, GraphNetwork

HANDS = 2  # of a picture, the surest
GRIDS = ((24, 2), (12, 6))  # cells a side of the detector's maps, boxes a cell
LARGER, FORWARD = 2.6, 0.5  # the cut square's side over a palm's; how far it goes from the palm to the fingers, palms
SURE = (0.4, 0.6)  # scores: below the first none, above the second one
SIDE = 64  # the mask is drawn at
THICK, EDGE = 0.55, 0.35  # a finger's radius over the distance between knuckles, and of its soft edge
WRIST, MIDDLE = 0, 2  # of a palm's points
KNUCKLES = (5, 9, 13, 17)
BONES = (
    (0, 1), (1, 2), (2, 3), (3, 4), (0, 5), (5, 6), (6, 7), (7, 8), (5, 9), (9, 10), (10, 11), (11, 12),
    (9, 13), (13, 14), (14, 15), (15, 16), (13, 17), (17, 18), (18, 19), (19, 20), (0, 17), (0, 9), (0, 13),
)  # fmt: skip


class HandFinder(nn.Module):
    """A soft mask of hands.

    Args:
        palms, points: graphs of ``palm_detection_full.tflite`` and ``hand_landmark_lite.tflite``
            (`pipelines.weights.formats.tflite.read_tflite`).
    """

    anchors: Tensor

    def __init__(self, palms: Graph, points: Graph) -> None:
        super().__init__()
        self._palms, self._points = GraphNetwork(palms), GraphNetwork(points)
        self.register_buffer("anchors", _anchors())

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """n x 3 x S x S in [-1, 1] -> n x 1 x S x S in [0, 1]: 1 where a hand is."""
        mask = images.new_zeros(len(images), 1, SIDE, SIDE)
        scores, boxes = self._found(images)
        for _ in range(HANDS):
            best = scores.argmax(dim=1)
            sure, box = _picked(scores, best), _picked(boxes, best)
            if images.device.type == "cpu" and not (sure > SURE[0]).any():  # elsewhere asking would stall
                break
            points, seen = self._landmarks(images, box)
            share = _ramp(sure, *SURE) * _ramp(seen, *SURE)
            mask = torch.maximum(mask, _drawn(points) * share.view(-1, 1, 1, 1))
            near = (boxes[:, :, :2] - box[:, None, :2]).norm(dim=2) < box[:, None, 2] / 2
            scores = scores.masked_fill(near, 0.0)
        return functional.interpolate(mask, images.shape[2:], mode="bilinear", align_corners=False)

    def _found(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Scores n x k and boxes n x k x 18 in shares of the picture: middle, size, seven points."""
        side = self._palms.size
        raw, scores = self._palms(_shrunk(images, side))
        offset = torch.cat((self.anchors, torch.zeros_like(self.anchors), self.anchors.repeat(1, 7)), dim=1)
        return scores[..., 0].sigmoid(), raw / side + offset

    def _landmarks(self, images: Tensor, box: Tensor) -> tuple[Tensor, Tensor]:
        """Points n x 21 x 2 in shares of the picture, and whether there is a hand, n, for one box of each picture."""
        side = self._points.size
        middle, size = box[:, :2], box[:, 2:4]
        along = box[:, 4 + 2 * MIDDLE : 6 + 2 * MIDDLE] - box[:, 4 + 2 * WRIST : 6 + 2 * WRIST]
        up = along / along.norm(dim=1, keepdim=True).clamp_min(1e-6)  # the square's axis from wrist to fingers
        middle = middle + up * FORWARD * size[:, 1:]
        # Columns: where one step to the right and one downwards in the square lead in the picture.
        axes = torch.stack((torch.stack((-up[:, 1], up[:, 0]), dim=1), -up), dim=2)
        axes = axes * (LARGER * size.amax(dim=1)).view(-1, 1, 1)
        cut = _cut(images, middle, axes, side)
        found = self._points((cut.clamp(-1, 1) + 1) / 2)
        places = found[0].view(-1, 21, 3)[:, :, :2] / side - 0.5
        return places @ axes.transpose(1, 2) + middle[:, None], found[1][:, 0]


def _anchors() -> Tensor:
    """k x 2: middles of the detector's boxes, (x, y) in shares."""
    rows = []
    for side, boxes in GRIDS:
        line = (torch.arange(side) + 0.5) / side
        ys, xs = torch.meshgrid(line, line, indexing="ij")
        rows.append(torch.stack((xs, ys), dim=2).view(-1, 1, 2).expand(-1, boxes, -1).reshape(-1, 2))
    return torch.cat(rows)


def _picked(values: Tensor, index: Tensor) -> Tensor:
    """values n x k (x m), one of each row."""
    return values[torch.arange(len(values), device=values.device), index]


def _ramp(x: Tensor, low: float, high: float) -> Tensor:
    return ((x - low) / (high - low)).clamp(0, 1)


def _shrunk(images: Tensor, side: int) -> Tensor:
    """n x 3 x side x side in [0, 1]."""
    small = functional.interpolate(images, (side, side), mode="bilinear", antialias=True, align_corners=False)
    return (small.clamp(-1, 1) + 1) / 2


def _cut(images: Tensor, middle: Tensor, axes: Tensor, side: int) -> Tensor:
    """The parallelogram around `middle` that `axes` n x 2 x 2 span, n x 3 x side x side; black outside the picture."""
    line = (torch.arange(side, device=images.device, dtype=images.dtype) + 0.5) / side - 0.5
    ys, xs = torch.meshgrid(line, line, indexing="ij")
    places = torch.stack((xs, ys), dim=2).view(1, -1, 2) @ axes.transpose(1, 2) + middle[:, None]
    grid = (places * 2 - 1).view(len(images), side, side, 2)
    return functional.grid_sample(images + 1, grid, padding_mode="zeros", align_corners=False) - 1


def _drawn(points: Tensor) -> Tensor:
    """Fingers of a hand's 21 points n x 21 x 2 and the palm between them: n x 1 x SIDE x SIDE."""
    line = (torch.arange(SIDE, device=points.device, dtype=points.dtype) + 0.5) / SIDE
    ys, xs = torch.meshgrid(line, line, indexing="ij")
    place = torch.stack((xs, ys))[None, None]  # 1 x 1 x 2 x S x S
    start, end = (points[:, [bone[side] for bone in BONES], :, None, None] for side in (0, 1))
    edge, gap = end - start, place - start
    share = ((gap * edge).sum(2) / edge.square().sum(2).clamp_min(1e-9)).clamp(0, 1)
    distance = (gap - share.unsqueeze(2) * edge).norm(dim=2).amin(dim=1, keepdim=True)
    knuckles = points[:, list(KNUCKLES)]
    apart = (knuckles[:, 1:] - knuckles[:, :-1]).norm(dim=2).mean(dim=1)
    palm = (points[:, 9] - points[:, 0]).norm(dim=1)  # seen from the side, knuckles lie on each other
    radius = (THICK * torch.maximum(apart, palm / 5)).view(-1, 1, 1, 1)
    covered: Tensor = ((1 + EDGE - distance / radius) / EDGE).clamp(0, 1)
    return covered
