"""What is counted in a compiled program's text: products and collectives, as often as they run."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from planning import hlo

from xwinjax.sharding.mesh import make_mesh

LOOP = """
%window (at: s32[4,1], b: s32[4,1]) -> s32[4] {
  %x = bf16[16,2,8,1]{3,2,1,0} parameter(0)
  %w = bf16[4,32,2,8]{3,2,1,0} parameter(1)
  ROOT %product.1 = bf16[16,4,32,1]{3,2,1,0} convolution(%x, %w), WINDOW
}

%body (state: (u32[], bf16[16])) -> (u32[], bf16[16]) {
  %state = (u32[]{:T(128)}, bf16[16]{0}) parameter(0)
  %at = u32[]{:T(128)} get-tuple-element(%state), index=0
  %two = u32[]{:T(128)} constant(STEP)
  %next = u32[]{:T(128)} add(%at, %two)
  %moved = (bf16[32]{0}, bf16[32]{0}, u32[]{:S(2)}) collective-permute-start(%at), channel_id=3
  %done = bf16[32]{0} collective-permute-done(%moved)
  %made = bf16[16,4,32,1]{3,2,1,0} fusion(%at, %two), kind=kOutput, calls=%window
  ROOT %out = (u32[]{:T(128)}, bf16[16]{0}) tuple(%next, %made)
}

%condition (state.1: (u32[], bf16[16])) -> pred[] {
  %bound = u32[]{:T(128)} constant(8)
  %state.1 = (u32[]{:T(128)}, bf16[16]{0}) parameter(0)
  %at.1 = u32[]{:T(128)} get-tuple-element(%state.1), index=0
  ROOT %less = pred[]{:T(512)} compare(%at.1, %bound), direction=LT
}

ENTRY %main (p: bf16[16]) -> bf16[16] {
  %p = bf16[16]{0} parameter(0)
  %start = (u32[]{:T(128)}, bf16[16]{0}) tuple(%p, %p)
  %loop = (u32[]{:T(128)}, bf16[16]{0}) while(%start), condition=%condition, body=%body
  %sum = f32[10]{0} all-reduce(%p), channel_id=4, to_apply=%window
  ROOT %end = bf16[16]{0} get-tuple-element(%loop), index=1
}
"""

LOOP = LOOP.replace(
  "WINDOW", "window={size=4x2 pad=3_3x0_0 rhs_reversal=1x0}, dim_labels=b1f0_0o1i->b0f1"
)


@pytest.mark.parametrize(("step", "runs"), [(1, 8), (2, 4), (3, 3)])
def test_a_loop_counts_as_often_as_its_counter_says(step, runs):
  made = hlo.cost(LOOP.replace("STEP", str(step)))
  # 16 rows, 4 heads of 32 out, 2 × 8 in: the window's padding is no work.
  assert made.flops == runs * 2 * 16 * (4 * 32) * (2 * 8)
  assert dict(made.inside) == {"collective-permute": runs * 64}
  assert dict(made.outside) == {"all-reduce": 40}


def test_twin_padding_that_were_work_shows():
  assert hlo._meetings(1, 4, 4, 1, 3, 1, 1) == 4
  assert hlo._meetings(7, 4, 4, 1, 0, 1, 1) == 16


def test_products_of_a_program_that_is_compiled_here():
  def five(x, w):
    return jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x, w)[0]

  text = jax.jit(five).lower(jnp.ones((8, 16)), jnp.ones((5, 16, 16))).compile().as_text()
  assert hlo.cost(text).flops == 5 * 2 * 8 * 16 * 16


def test_weights_gathered_in_a_loop():
  mesh = make_mesh(1, 8, 1)

  def layers(x, w):
    whole = lambda w: jax.lax.with_sharding_constraint(w, NamedSharding(mesh, P()))
    return jax.lax.scan(lambda x, w: (jnp.tanh(x @ whole(w)), None), x, w)[0]

  rows, fsdp = (NamedSharding(mesh, spec) for spec in (P("fsdp"), P(None, "fsdp")))
  lowered = jax.jit(layers, in_shardings=(rows, fsdp), out_shardings=rows).lower(
    jnp.ones((8, 64)), jnp.ones((5, 64, 64))
  )
  made = hlo.cost(lowered.compile().as_text())
  assert made.inside["all-gather"] == 5 * 64 * 64 * 4
