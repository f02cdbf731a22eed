"""Lets an index's torchvision, which is linked to CUDA, be imported beside a torch without it.

It looks two operators up on import; they are declared here and never called.
"""

from __future__ import annotations

import torch

if not torch.cuda.is_available():
    LIBRARY = torch.library.Library("torchvision", "DEF")
    LIBRARY.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    LIBRARY.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
