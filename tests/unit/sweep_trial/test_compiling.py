"""torch.compile: the same losses, nothing left of the rehearsal, and training goes on where it fails."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._inductor import config as inductor

from maskline.components.sweep_trial import compiling
from maskline.components.sweep_trial.compiling import compile_backbone
from maskline.components.sweep_trial.precision import Precision
from maskline.models import build_model
from maskline.settings import TrainingSettings, complete

IN_FP32 = Precision(torch.float32, torch.device("cpu"))
SETTINGS = complete(
    {
        "model_name": "maskrcnn_resnet18_fpn_light",
        "min_size": 64,
        "max_size": 96,
        "advanced_settings": {"pretrained_weights": "none", "torch_compile": True},
    }
)


class Small(nn.Module):
    """A backbone that is compiled in seconds, and a loss."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())

    def forward(self, pictures: list[Tensor], targets: list[dict[str, Any]]) -> dict[str, Tensor]:
        return {"loss": self.backbone(torch.stack(pictures) / 255).square().mean()}


@pytest.fixture
def worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    torch._dynamo.reset()
    monkeypatch.setattr(compiling, "WORTH_IT", ("cpu",))


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    compile_it = torch.compile
    return lambda backend: monkeypatch.setattr(
        torch, "compile", lambda function, **named: compile_it(function, backend=backend, **named)
    )


def learnt(model: nn.Module, side: int = 40) -> list[Tensor]:
    """The loss of a pass, the gradients it leaves, and the statistics after it."""
    model.zero_grad()
    generator = torch.Generator().manual_seed(1)
    pictures = [torch.randint(256, (3, side, side + 8), generator=generator).float() for _ in range(3)]
    loss = model.train()(pictures, [])["loss"]
    loss.backward()
    return [loss.detach(), *(p.grad for p in model.parameters()), *model.buffers()]  # type: ignore[misc]


def test_a_cpu_trains_without_it_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    model = Small()
    compile_backbone(model, SETTINGS, IN_FP32)
    assert "forward" not in vars(model.backbone)
    assert capsys.readouterr().out.startswith("torch_compile=true: a cpu gains nothing by it")


def test_only_what_is_learnt_from_is_compiled(
    worth_it: None, backend: Callable[[Any], None], capsys: pytest.CaptureFixture[str]
) -> None:
    graphs = []

    def noted(graph: Any, examples: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    backend(noted)
    model, plain = Small(), Small()
    names = list(model.state_dict())
    compile_backbone(model, SETTINGS, IN_FP32)
    assert "the backbone was compiled in" in capsys.readouterr().out
    assert all(torch.equal(a, b) for a, b in zip(model.buffers(), plain.buffers(), strict=True))
    assert all(p.grad is None for p in model.parameters())
    assert list(model.state_dict()) == names
    for side in (40, 48, 64):  # sizes are left open
        for ours, theirs in zip(learnt(model, side), learnt(plain, side), strict=True):
            torch.testing.assert_close(ours, theirs)
    with torch.no_grad():
        model.eval()([torch.ones(3, 30, 30)], [])
    assert len(graphs) == 1


@pytest.mark.parametrize("where", ["no compiler", "forward", "backward"])
def test_training_goes_on_where_compiling_fails(
    where: str,
    worth_it: None,
    backend: Callable[[Any], None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fails(graph: Any, examples: Any) -> Any:
        raise ValueError("made up")

    def fails_later(graph: Any, examples: Any) -> Any:
        return lambda *given: [Late.apply(one) for one in graph.forward(*given)]

    class Late(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, given: Tensor) -> Tensor:
            return given.clone()

        @staticmethod
        def backward(ctx: Any, *_: Any) -> Any:
            raise ValueError("made up")

    if where == "no compiler":
        monkeypatch.setattr(inductor.cpp, "cxx", ("/no/compiler",))
        monkeypatch.setattr(inductor, "force_disable_caches", True)
        monkeypatch.setattr(inductor, "compile_threads", 1)
    else:
        backend(fails if where == "forward" else fails_later)
    model = Small()
    compile_backbone(model, SETTINGS, IN_FP32)
    (said,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("torch_compile")]
    assert said.startswith("torch_compile=true: it failed (")
    assert said.endswith("); training without it")
    assert "forward" not in vars(model.backbone)
    assert all(torch.equal(a, b) for a, b in zip(learnt(model), learnt(Small()), strict=True))


def detector(settings: TrainingSettings) -> nn.Module:
    torch.manual_seed(0)
    return build_model(settings, 2).train()


@pytest.mark.slow
def test_a_compiled_mask_rcnn_has_the_losses_of_the_plain_one(
    worth_it: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """Minutes: a C++ compiler makes some 60 kernels."""
    ours, theirs = detector(SETTINGS), detector(SETTINGS)
    compile_backbone(ours, SETTINGS, IN_FP32)
    assert "the backbone was compiled in" in capsys.readouterr().out
    generator = torch.Generator().manual_seed(1)
    for width in (64, 96):
        pictures = [torch.randint(256, (3, 64, width), generator=generator).byte() for _ in range(2)]
        masks = torch.zeros(1, 64, width, dtype=torch.uint8)
        masks[:, 10:40, 10:50] = 1
        target = {
            "boxes": torch.tensor([[10.0, 10, 50, 40]]),
            "labels": torch.tensor([1]),
            "masks": masks,
            "crowds": masks[:0],
        }
        losses = []
        for model in (ours, theirs):
            torch.manual_seed(2)
            losses.append(model(pictures, [target, target]))
        assert losses[0].keys() == losses[1].keys()
        for name, loss in losses[0].items():
            torch.testing.assert_close(loss, losses[1][name], rtol=1e-4, atol=1e-5, msg=name)
            assert loss.grad_fn is not None
