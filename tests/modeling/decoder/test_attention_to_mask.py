"""`AttentionToMask` against softmax attention head by head, and the size of its largest tensor.

Shape shorthand: B images, K queries, N tokens, D width, d = D / heads.
"""

import copy

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from segvit.errors import ArgumentError
from segvit.modeling.decoder.attention_to_mask import AttentionToMask, project_for_all
from segvit.modeling.decoder.decoder_builder import build_decoder

B, K, N, D = 2, 16, 20, 24


def make_module(num_heads, dropout=0.0):
    torch.manual_seed(0)
    module = AttentionToMask(dim=D, num_heads=num_heads, dropout=dropout)
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return module.eval()


def make_inputs():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(B, K, D, generator=generator), torch.randn(B, N, D, generator=generator)


def attend(module, queries, tokens, *, return_masks=True):
    """The module's outputs for tokens."""
    return module(queries, *project_for_all([module], tokens), return_masks=return_masks)


def reference(module, queries, tokens):
    """The update and the masks by the paper's formulas, head by head in float64."""
    module = copy.deepcopy(module).double()
    q, k, v = module.q(queries.double()), module.k(tokens.double()), module.v(tokens.double())
    d = D // module.num_heads
    heads = [slice(start, start + d) for start in range(0, D, d)]
    similarities = [q[..., head] @ k[..., head].mT / d**0.5 for head in heads]
    updates = [similarity.softmax(dim=-1) @ v[..., head] for similarity, head in zip(similarities, heads, strict=True)]
    return module.proj(torch.cat(updates, dim=-1)), sum(similarities) / len(heads)


@pytest.mark.parametrize("num_heads", [1, 3, 8])
def test_equals_explicit_attention(num_heads):
    module = make_module(num_heads)
    inputs = make_inputs()
    update, masks = attend(module, *inputs)
    expected_update, expected_masks = reference(module, *inputs)
    assert masks.shape == (B, K, N) and update.shape == (B, K, D)
    torch.testing.assert_close(update.double(), expected_update, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(masks.double(), expected_masks, rtol=1e-5, atol=1e-5)


def test_several_modules_share_a_product():
    modules = [make_module(num_heads) for num_heads in (3, 8)]
    torch.nn.init.normal_(modules[1].v.weight)
    queries, tokens = make_inputs()
    for module, projected in zip(modules, project_for_all(modules, tokens), strict=True):
        torch.testing.assert_close(module(queries, projected, return_masks=True), attend(module, queries, tokens))


@pytest.mark.parametrize("num_heads", [1, 3])
def test_gradients_equal_explicit_attention(num_heads):
    module = make_module(num_heads)
    weights = torch.randn(B, K, D, generator=torch.Generator().manual_seed(2))
    gradients = []
    for compute in (lambda *x: attend(module, *x), lambda *x: reference(module, *x)):
        queries, tokens = (x.requires_grad_() for x in make_inputs())
        update, masks = compute(queries, tokens)
        ((update * weights).sum() + masks.square().sum()).backward()
        gradients.append((queries.grad, tokens.grad))
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-4, atol=1e-4)


def test_masks_are_optional():
    module, inputs = make_module(3), make_inputs()
    update, masks = attend(module, *inputs, return_masks=False)
    assert masks is None
    assert torch.equal(update, attend(module, *inputs)[0])


class SizeRecorder(TorchDispatchMode):
    """Records the number of elements of the largest operator output."""

    def __init__(self):
        super().__init__()
        self.largest = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        tree_map_only(torch.Tensor, self._record, out)
        return out

    def _record(self, tensor):
        self.largest = max(self.largest, tensor.numel())


@pytest.mark.parametrize(("backend", "fits"), [(SDPBackend.FLASH_ATTENTION, True), (SDPBackend.MATH, False)])
def test_no_tensor_of_heads_by_queries_by_tokens(backend, fits):
    """In forward and backward; the second case shows that the recorder detects such a tensor."""
    num_heads = 6
    module = make_module(num_heads)
    queries, tokens = (x.requires_grad_() for x in make_inputs())
    with sdpa_kernel(backend), SizeRecorder() as recorder:
        update, masks = attend(module, queries, tokens)
        (update.sum() + masks.sum()).backward()
    assert (recorder.largest < B * num_heads * K * N) == fits


@pytest.mark.parametrize("query_upsampling", ["none", "learned"])
def test_heads_must_divide_the_width(query_upsampling):
    options = {"num_classes": K, "hidden_dim": D, "num_layers": 1, "num_heads": 5}
    with pytest.raises(ArgumentError, match="num_heads 5 does not divide"):
        build_decoder(in_dims=[D], grid_size=(2, 2), query_upsampling=query_upsampling, upsampling_layers=1, **options)


def test_dropout_changes_the_update_only_and_in_training_only():
    module, inputs = make_module(3, dropout=0.5), make_inputs()
    expected_update, expected_masks = attend(make_module(3), *inputs)
    torch.testing.assert_close(attend(module, *inputs)[0], expected_update)
    first, masks = attend(module.train(), *inputs)
    second, _ = attend(module, *inputs)
    assert not torch.allclose(first, second)
    assert torch.equal(masks, expected_masks)
