# ruff: noqa: E501 (lines of a program)
"""The signs of waste that `experiments/accelerators` looks for, in a program written by hand."""

import pytest

PROGRAM = """HloModule jit_draw, is_scheduled=true

%body (p: (s32[], f32[64,128], bf16[128,128], f32[64,128])) -> (s32[], f32[64,128], bf16[128,128], f32[64,128]) {
  %p = (s32[], f32[64,128]{1,0:T(8,128)}, bf16[128,128]{1,0:T(8,128)(2,1)}, f32[64,128]{1,0:T(8,128)}) parameter(0)
  %i = s32[] get-tuple-element(%p), index=0
  %part = f32[64,128]{1,0:T(8,128)} get-tuple-element(%p), index=1
  %cache = bf16[128,128]{1,0:T(8,128)(2,1)} get-tuple-element(%p), index=2
  %state = f32[64,128]{1,0:T(8,128)} get-tuple-element(%p), index=3
  %kernel = f32[128,128]{1,0:T(8,128)} all-gather(%part), channel_id=1, dimensions={0}
  %turned = f32[128,128]{0,1:T(8,128)} copy(%kernel)
  %near = f32[64,128]{1,0:T(8,128)S(1)} copy(%part)
  %copied = bf16[128,128]{1,0:T(8,128)(2,1)} copy(%cache)
  %next = f32[64,128]{1,0:T(8,128)} convolution(%state, %turned), dim_labels=bf_io->bf, backend_config={"window_config":{"estimated_cycles":"30"}}
  %product = bf16[128,128]{1,0:T(8,128)(2,1)} convolution(%copied, %copied), dim_labels=bf_io->bf, backend_config={"window_config":{"estimated_cycles":"60"}}
  %thin = f32[2,3]{1,0:T(8,128)} reduce(%next), backend_config={"window_config":{"estimated_cycles":"10"}}
  ROOT %tuple = (s32[], f32[64,128], bf16[128,128], f32[64,128]) tuple(%i, %part, %product, %next)
}

%condition (p.1: (s32[], f32[64,128], bf16[128,128], f32[64,128])) -> pred[] {
  %p.1 = (s32[], f32[64,128]{1,0}, bf16[128,128]{1,0}, f32[64,128]{1,0}) parameter(0)
  %limit = s32[] constant(10)
  %i.1 = s32[] get-tuple-element(%p.1), index=0
  ROOT %less = pred[] compare(%i.1, %limit), direction=LT
}

ENTRY %main (x: (s32[], f32[64,128], bf16[128,128], f32[64,128])) -> (s32[], f32[64,128], bf16[128,128], f32[64,128]) {
  %x = (s32[], f32[64,128]{1,0}, bf16[128,128]{1,0}, f32[64,128]{1,0}) parameter(0)
  ROOT %loop = (s32[], f32[64,128], bf16[128,128], f32[64,128]) while(%x), condition=%condition, body=%body
}
"""


def test_signs_of_waste(load_script):
    """Ten rounds gather a kernel, turn it around, and copy a cache; an array that is brought nearer is none."""
    waste = load_script("experiments/accelerators/waste.py")
    said = ["W spmd_partitioner.cc: [SPMD] Involuntary full rematerialization. The compiler cannot go ...", "other"]
    found = waste.of_program(PROGRAM, said)
    assert found["gathered_again_mb"] == found["made_again_mb"] == pytest.approx(10 * 128 * 128 * 4 / 1e6, abs=1e-3)
    assert found["copied_mb"] == pytest.approx(10 * 128 * 128 * 2 / 1e6, abs=1e-3)
    assert found["float32_part"] == pytest.approx(1 / 3, abs=1e-3)  # of 64 and 128 rows
    assert found["padded_part"] == 0.1 and found["rematerialised"] == 1
