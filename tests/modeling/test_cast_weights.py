"""`CastWeights`: outputs and gradients of autocast, with few kernels; unused and frozen weights have no gradient."""

import copy

import torch
from torch import nn
from torch._dynamo.testing import CompileCounter
from torch.utils._python_dispatch import TorchDispatchMode

from segvit.modeling import cast_weights
from segvit.modeling.cast_weights import CastWeights
from segvit.modeling.decoder.atm_decoder import ATMDecoder


class Casts(TorchDispatchMode):
    """Counts conversions between types: of single tensors, and of lists of tensors."""

    def __init__(self):
        super().__init__()
        self.single = self.lists = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.single += func is torch.ops.aten._to_copy.default
        self.lists += func is torch.ops.aten._foreach_copy_.default
        return func(*args, **(kwargs or {}))


def make_decoder():
    torch.manual_seed(0)
    decoder = ATMDecoder(num_classes=4, in_dims=[12, 12], hidden_dim=16, num_layers=2, num_heads=2, init_std=0.2)
    decoder.unused = nn.Linear(2, 2)
    decoder.stages[0].input_proj.requires_grad_(False)
    return decoder.train()


def gradients_and_casts(decoder, call):
    generator = torch.Generator().manual_seed(0)
    maps = [torch.randn(2, 12, 3, 4, generator=generator) for _ in range(2)]
    with Casts() as casts:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            outputs = call(maps)
        (outputs["pred_masks"].float().square().mean() + outputs["pred_logits"].float().square().mean()).backward()
    return outputs, {name: parameter.grad for name, parameter in decoder.named_parameters()}, casts


def test_equals_autocast_with_fewer_casts():
    plain, own = make_decoder(), copy.deepcopy(make_decoder())
    expected, expected_gradients, expected_casts = gradients_and_casts(plain, plain)
    cast = CastWeights(own)
    outputs, gradients, casts = gradients_and_casts(own, cast)
    for name in ("pred_masks", "pred_logits"):
        assert torch.equal(outputs[name], expected[name])
    for name, gradient in gradients.items():
        assert (gradient is None) == (expected_gradients[name] is None), name
        if gradient is not None:
            assert gradient.dtype == torch.float32
            torch.testing.assert_close(gradient, expected_gradients[name], rtol=0, atol=0, msg=name)
    assert gradients["unused.weight"] is None and gradients["stages.0.input_proj.weight"] is None
    assert casts.single <= expected_casts.single - 80 and casts.lists <= 8
    # The weights themselves are back in their places.
    assert all(isinstance(parameter, nn.Parameter) for parameter in own.stages[1].input_proj._parameters.values())


def test_groups_are_as_large_as_one_kernel_takes(monkeypatch):
    monkeypatch.setattr(cast_weights, "MOST_TENSORS", 4)
    monkeypatch.setattr(cast_weights, "MOST_ELEMENTS", 50)
    layers = nn.Sequential(*(nn.Linear(size, size) for size in (2, 2, 2, 6, 8, 2)))
    layers[1].requires_grad_(False)
    assert CastWeights(layers)._groups == [
        ["0.weight", "0.bias", "2.weight", "2.bias"],
        ["3.weight", "3.bias"],
        ["4.weight"],
        ["4.bias", "5.weight", "5.bias"],
        ["1.weight", "1.bias"],
    ]


def test_a_compiled_module_is_compiled_once():
    torch._dynamo.reset()
    decoder, counter = make_decoder(), CompileCounter()
    decoder.compile(backend=counter)
    cast = CastWeights(decoder)
    for _ in range(3):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            cast([torch.ones(2, 12, 3, 4)] * 2)["pred_masks"].float().sum().backward()
    assert counter.frame_count == 1
    assert decoder.class_queries.weight.grad is not None and decoder.stages[1].input_proj.weight.grad is not None
    torch._dynamo.reset()


def test_copies_of_a_model_cast_their_own_weights():
    module = nn.ModuleDict({"layer": nn.Linear(2, 2)})
    holder = nn.Module()
    holder.module, holder.cast = module, CastWeights(module["layer"])
    other = copy.deepcopy(holder)
    with torch.no_grad():
        other.module["layer"].weight.zero_()
        other.module["layer"].bias.zero_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not other.cast(torch.ones(1, 2)).any() and holder.cast(torch.ones(1, 2)).any()


def test_a_parameter_that_takes_the_place_of_another_is_cast():
    layer = nn.Linear(2, 2)
    cast = CastWeights(layer)
    layer.weight, layer.bias = (nn.Parameter(torch.zeros_like(parameter)) for parameter in (layer.weight, layer.bias))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not cast(torch.ones(1, 2)).any()
