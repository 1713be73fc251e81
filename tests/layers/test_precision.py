"""The faster route is used only when it is exact, and leaves the setting as it was."""

import pytest
import torch

from fundusion.core.registry import models
from fundusion.layers import precision
from fundusion.layers.precision import (
    TOLERANCE,
    MatmulCheck,
    bfloat16_is_emulated,
    check_fast_matmul,
    fast_matmul,
    plain_attention,
    usable_precision,
)


def test_the_check_measures_and_products_stay_exact():
    check = check_fast_matmul()
    assert check.default_error is not None
    assert check.default_error < TOLERANCE
    assert check.is_exact == (check.error <= TOLERANCE)
    a, b = torch.randn(64, 256), torch.randn(256, 64)
    before = torch.backends.mkldnn.matmul.fp32_precision
    with fast_matmul() as used:
        assert used == check.is_exact
        product = a @ b
    assert torch.backends.mkldnn.matmul.fp32_precision == before
    exact = a.double() @ b.double()
    assert float((product - exact).abs().max() / exact.abs().max()) < TOLERANCE


@pytest.mark.parametrize("error", [3e-3, float("nan")])
def test_a_machine_that_rounds_keeps_the_default(monkeypatch, error):
    monkeypatch.setattr(
        precision,
        "check_fast_matmul",
        lambda: MatmulCheck(is_exact=error <= TOLERANCE, error=error, default_error=1e-7),
    )
    before = torch.backends.mkldnn.matmul.fp32_precision
    with fast_matmul() as used:
        assert not used
        assert torch.backends.mkldnn.matmul.fp32_precision == before


def test_an_exact_machine_uses_it_and_an_error_inside_restores_the_setting(monkeypatch):
    monkeypatch.setattr(
        precision, "check_fast_matmul", lambda: MatmulCheck(is_exact=True, error=1e-7, default_error=1e-7)
    )
    before = torch.backends.mkldnn.matmul.fp32_precision
    with pytest.raises(RuntimeError, match="inside"), fast_matmul() as used:  # noqa: PT012
        assert used
        assert torch.backends.mkldnn.matmul.fp32_precision == "bf16"
        raise RuntimeError("inside")
    assert torch.backends.mkldnn.matmul.fp32_precision == before


def test_a_check_finds_rounding(monkeypatch):
    real = torch.nn.functional.linear

    def rounded(x, w):
        return real(x.bfloat16(), w.bfloat16()).float()

    monkeypatch.setattr(torch.nn.functional, "linear", rounded)
    check = check_fast_matmul.__wrapped__()
    assert not check.is_exact
    assert check.error > 1e-4


def test_attention_written_out_gives_the_same_answer():
    body = models.create("vit.test").body
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        fused = body.forward_features(images)
        # Some installations start without the fused route.
        had = sum(bool(getattr(layer, "fused_attn", False)) for layer in body.modules())
        assert plain_attention(body) == had
        assert plain_attention(body) == 0
        torch.testing.assert_close(body.forward_features(images), fused, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("factor", "emulated"), [(1.0, False), (9.0, True)])
def test_bfloat16_is_left_out_where_it_is_computed_in_software(monkeypatch, factor, emulated):
    clock = [0.0]

    def conv2d(x, *_, **__):
        clock[0] += factor if x.dtype == torch.bfloat16 else 1.0

    monkeypatch.setattr(torch.nn.functional, "conv2d", conv2d)
    monkeypatch.setattr(precision.time, "perf_counter", lambda: clock[0])
    bfloat16_is_emulated.cache_clear()
    try:
        assert bfloat16_is_emulated() is emulated
        assert usable_precision("bf16", "cpu") == ("fp32" if emulated else "bf16")
        assert usable_precision("fp32", "cpu") == "fp32"
        assert usable_precision("bf16", "cuda:0") == "bf16"
    finally:
        bfloat16_is_emulated.cache_clear()
