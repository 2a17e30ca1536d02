"""Ranking by logits keeps what torchvision's ranking by probabilities keeps."""

import copy

import torch
from torchvision.models.detection.rpn import RegionProposalNetwork

from maskline.models import build_model
from maskline.models.proposals import LogitRankedProposals
from maskline.settings import complete


def test_the_same_proposals_as_torchvisions() -> None:
    torch.manual_seed(3)
    model = build_model(
        complete({"model_name": "maskrcnn_resnet18_fpn_light", "min_size": 128, "max_size": 128}), 2
    ).eval()
    assert type(model.rpn) is LogitRankedProposals
    with torch.no_grad():
        model.rpn.head.cls_logits.weight.normal_(0, 0.5)  # spread the scores: ties have no order
    theirs = copy.copy(model.rpn)
    theirs.__class__ = RegionProposalNetwork
    images, _ = model.transform([torch.rand(3, 128, 96), torch.rand(3, 100, 128)])
    with torch.inference_mode():
        features = model.backbone(images.tensors)
        ours, expected = model.rpn(images, features)[0], theirs(images, features)[0]
    assert [len(boxes) for boxes in ours] == [250, 250]
    for one, other in zip(ours, expected, strict=True):
        assert torch.equal(one, other)
