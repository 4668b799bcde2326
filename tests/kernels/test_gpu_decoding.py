"""On a GPU: the kernels of decoding compute what their plain forms do."""

import pytest
import torch
from torch.nn.functional import linear

from medvl.kernels.fused_ops import rotate
from medvl.kernels.lora_linear import Projection

pytestmark = pytest.mark.gpu
SHAPES = {  # in, outs; those of Qwen2.5-VL 7B, and one narrower than a program's columns
    "qkv": (3584, [3584, 512, 512]),
    "down": (18944, [3584]),
    "narrow": (192, [64, 128]),
}


def projections(width, outs, *, kind="nf4", nested=True, adapters=True):
    """Return 4-bit layers, of which all but the second have an adapter, and the values that they stand for."""
    import bitsandbytes

    made, decoded = [], []
    for at, out in enumerate(outs):
        base = bitsandbytes.nn.Linear4bit(
            width, out, bias=at != 1, compute_dtype=torch.bfloat16, compress_statistics=nested, quant_type=kind
        )
        base = base.to(torch.bfloat16).cuda().requires_grad_(False)
        state = base.weight.quant_state
        decoded.append(bitsandbytes.functional.dequantize_4bit(base.weight.data, state).float())
        rank = 8 * (at + 1)
        a, b = torch.randn(rank, width, device="cuda") / 60, torch.randn(out, rank, device="cuda") / 60
        made.append(Projection(base=base, a=a, b=b, scale=2.0) if adapters and at != 1 else Projection(base=base))
    return made, decoded


def exact(row, made, decoded):
    """Return the products in fp32."""
    outs = []
    for one, weight in zip(made, decoded, strict=True):
        out = linear(row.float(), weight, None if one.base.bias is None else one.base.bias.float())
        if one.a is not None:
            out += one.scale * linear(linear(row.float(), one.a.bfloat16().float()), one.b.bfloat16().float())
        outs.append(out)
    return torch.cat(outs, 1)


def error(found, right):
    return float((found.float() - right).norm() / right.norm())


@pytest.mark.parametrize("nested", [True, False], ids=["nested", "flat"])
@pytest.mark.parametrize("kind", ["nf4", "fp4"])
@pytest.mark.parametrize("shape", SHAPES)
def test_one_row_is_nearer_to_the_exact_product_than_that_of_bitsandbytes(shape, kind, nested):
    from bitsandbytes.functional import gemv_4bit

    from medvl.generation.projections import Group, _flat

    torch.manual_seed(0)
    width, outs = SHAPES[shape]
    made, decoded = projections(width, outs, kind=kind, nested=nested, adapters=False)
    row = torch.randn(1, width, device="cuda", dtype=torch.bfloat16)
    group = Group([one.base for one in made], torch.bfloat16, held=False, autocast=None)
    assert group.row is not None
    ours = torch.cat(group(row), 1)
    theirs = []
    for one in made:
        values, state = _flat(one)
        out = gemv_4bit(row, values, state=state)
        theirs.append(out if one.base.bias is None else out + one.base.bias)
    right = exact(row, made, decoded)
    assert error(ours, right) <= error(torch.cat(theirs, 1), right)
    assert error(ours, right) < 0.004  # rounding of the codes and of the sum to bf16


@pytest.mark.parametrize("shape", SHAPES)
def test_one_row_with_adapters_of_several_ranks(shape):
    from medvl.kernels.four_bit_row import FourBitRow, obstacle
    from medvl.kernels.lora_linear import group_projections

    torch.manual_seed(0)
    width, outs = SHAPES[shape]
    made, decoded = projections(width, outs)
    assert not obstacle(made, torch.bfloat16)
    (shared,) = group_projections([made], torch.bfloat16)
    raised = torch.zeros(sum(outs), max(shared.ranks), dtype=torch.bfloat16, device="cuda")
    pieces = iter(shared.raised)
    for at, one in enumerate(made):
        if one.a is not None:
            piece, start = next(pieces), sum(outs[:at])
            raised[start : start + outs[at], : piece.shape[1]] = piece
    product = FourBitRow(made, [one.bias(torch.bfloat16) for one in made], shared.low, raised)
    row = torch.randn(1, width, device="cuda", dtype=torch.bfloat16)
    assert error(product(row), exact(row, made, decoded)) < 0.004


def test_what_the_product_cannot_do_is_said():
    from medvl.kernels.four_bit_row import obstacle

    made, _ = projections(192, [64])
    assert obstacle(made, torch.float16) == "it computes in bf16, not in float16"
    assert "do not divide" in obstacle(projections(192, [60])[0], torch.bfloat16)
    assert obstacle([Projection(base=torch.nn.Linear(64, 64))], torch.bfloat16) == "the weights are not in 4 bits"


@pytest.mark.parametrize("heads", [(28, 4, 128), (6, 2, 32)], ids=["7b", "odd"])
def test_rotation_and_slots_in_one_pass(heads):
    from medvl.kernels.rotate_and_keep import rotate_and_keep

    torch.manual_seed(0)
    count, key_heads, head_dim = 37, heads[1], heads[2]
    stacked = torch.randn(count, (heads[0] + 2 * key_heads) * head_dim + 8, device="cuda", dtype=torch.bfloat16)
    parts = stacked[:, :-8].split([heads[0] * head_dim, key_heads * head_dim, key_heads * head_dim], dim=1)
    query, key, value = (part.unflatten(-1, (-1, head_dim)) for part in parts)
    half = torch.randn(count, head_dim // 2, device="cuda")
    cos, sin = (torch.cat([turn(half)] * 2, dim=-1).bfloat16() for turn in (torch.cos, torch.sin))
    row, at = torch.arange(count, device="cuda") % 5, torch.arange(count, device="cuda") * 3
    keys, values = torch.zeros(2, 5, 128, key_heads, head_dim, device="cuda", dtype=torch.bfloat16)
    found = rotate_and_keep(query, key, value, cos, sin, row, at, keys, values)
    for one, right in zip(found, rotate(query, key, cos, sin), strict=True):
        torch.testing.assert_close(one, right, atol=0.02, rtol=0.01)  # one rounding of bf16 at 2
    assert torch.equal(keys[row, at], found[1]) and torch.equal(values[row, at], value)
    assert int(keys.ne(0).any(-1).any(-1).sum()) == count  # nothing else was written
