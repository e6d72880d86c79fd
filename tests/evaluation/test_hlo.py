# ruff: noqa: E501 (lines of a program)
"""The bytes that operations of a compiled program read and write in memory."""

import pytest

from arjax.evaluation.compiled import estimate
from arjax.evaluation.hlo import computations, memory_of, size_of, traffic
from arjax.parallel.accelerators import accelerator_of

V5E = accelerator_of("v5e")
#: A step of a draw: a cache [8, 256, 128] gets a token, is read whole, and a table gives one row.
STEP = """HloModule jit_draw, is_scheduled=true

%written (c: bf16[8,256,128], n: bf16[8,1,128], t: s32[]) -> bf16[8,256,128] {
  %c = bf16[8,256,128]{2,1,0:T(8,128)(2,1)} parameter(0)
  %n = bf16[8,1,128]{2,1,0:T(2,128)(2,1)S(1)} parameter(1)
  %t = s32[]{:T(128)S(6)} parameter(2)
  %zero = s32[]{:T(128)} constant(0)
  %view = bf16[8,1,128]{2,1,0:T(8,128)(2,1)} bitcast(%n)
  %put = bf16[8,256,128]{2,1,0:T(8,128)(2,1)} dynamic-update-slice(%c, %view, %zero, %t, %zero)
  ROOT %same = bf16[8,256,128]{2,1,0:T(8,128)(2,1)} bitcast(%put)
}

%row (e: f32[50304,256], i: s32[]) -> bf16[1,256] {
  %e = f32[50304,256]{1,0:T(8,128)} parameter(0)
  %i = s32[]{:T(128)S(6)} parameter(1)
  %nought = s32[]{:T(128)} constant(0)
  %all = f32[50304,256]{1,0:T(8,128)} bitcast(%e)
  %slice = f32[1,256]{1,0:T(1,128)} dynamic-slice(%all, %i, %nought), dynamic_slice_sizes={1,256}
  ROOT %short = bf16[1,256]{1,0:T(2,128)(2,1)} convert(%slice)
}

%body (p: (s32[], bf16[8,256,128], f32[50304,256], bf16[512,256])) -> (s32[], bf16[8,256,128], f32[50304,256], bf16[512,256]) {
  %p = (s32[]{:T(128)}, bf16[8,256,128]{2,1,0:T(8,128)(2,1)}, f32[50304,256]{1,0:T(8,128)}, bf16[512,256]{1,0:T(8,128)(2,1)}) parameter(0)
  %step = s32[]{:T(128)} get-tuple-element(%p), index=0
  %cache = bf16[8,256,128]{2,1,0:T(8,128)(2,1)} get-tuple-element(%p), index=1
  %table = f32[50304,256]{1,0:T(8,128)} get-tuple-element(%p), index=2
  %kernel = bf16[512,256]{1,0:T(8,128)(2,1)} get-tuple-element(%p), index=3
  %looked = bf16[1,256]{1,0:T(2,128)(2,1)S(1)} fusion(%table, %step), kind=kLoop, calls=%row
  %near = ((bf16[512,256]{1,0:T(8,128)(2,1)}), bf16[128,256]{1,0:T(8,128)(2,1)S(1)}, s32[]{:S(2)}) slice-start(%kernel), slice={[0:128], [0:256]}
  %there = bf16[128,256]{1,0:T(8,128)(2,1)S(1)} slice-done(%near)
  %token = bf16[8,1,128]{2,1,0:T(2,128)(2,1)S(1)} custom-call(%looked, %there), custom_call_target="tpu_custom_call"
  %fusion = bf16[8,256,128]{2,1,0:T(8,128)(2,1)} fusion(%cache, %token, %step), kind=kLoop, calls=%written, metadata={op_name="jit(draw)/while/body/layers/attention/dynamic_update_slice"}, backend_config={"window_config":{"estimated_cycles":"300"}}
  %mixed = bf16[8,1,128]{2,1,0:T(8,128)(2,1)} fusion(%fusion, %token), kind=kOutput, calls=%product, backend_config={"window_config":{"estimated_cycles":"1500"}}
  ROOT %next = (s32[]{:T(128)}, bf16[8,256,128]{2,1,0:T(8,128)(2,1)}, f32[50304,256]{1,0:T(8,128)}, bf16[512,256]{1,0:T(8,128)(2,1)}) tuple(%step, %fusion, %table, %kernel)
}

%product (k: bf16[8,256,128], q: bf16[8,1,128]) -> bf16[8,1,128] {
  %k = bf16[8,256,128]{2,1,0:T(8,128)(2,1)} parameter(0)
  %q = bf16[8,1,128]{2,1,0:T(2,128)(2,1)S(1)} parameter(1)
  ROOT %dot = bf16[8,1,128]{2,1,0:T(8,128)(2,1)} multiply(%k, %q)
}

%condition (r: (s32[], bf16[8,256,128], f32[50304,256], bf16[512,256])) -> pred[] {
  %r = (s32[]{:T(128)}, bf16[8,256,128]{2,1,0:T(8,128)(2,1)}, f32[50304,256]{1,0:T(8,128)}, bf16[512,256]{1,0:T(8,128)(2,1)}) parameter(0)
  %limit = s32[]{:T(128)} constant(256)
  %j = s32[]{:T(128)} get-tuple-element(%r), index=0
  ROOT %less = pred[]{:T(512)} compare(%j, %limit), direction=LT
}

ENTRY %main (a: (s32[], bf16[8,256,128], f32[50304,256], bf16[512,256])) -> bf16[8,256,128] {
  %a = (s32[]{:T(128)}, bf16[8,256,128]{2,1,0:T(8,128)(2,1)}, f32[50304,256]{1,0:T(8,128)}, bf16[512,256]{1,0:T(8,128)(2,1)}) parameter(0)
  %loop = (s32[]{:T(128)}, bf16[8,256,128]{2,1,0:T(8,128)(2,1)}, f32[50304,256]{1,0:T(8,128)}, bf16[512,256]{1,0:T(8,128)(2,1)}) while(%a), condition=%condition, body=%body
  ROOT %result = bf16[8,256,128]{2,1,0:T(8,128)(2,1)} get-tuple-element(%loop), index=1
}
"""
CACHE, TOKEN = 8 * 256 * 128 * 2, 8 * 128 * 2


def test_tiles_fill_up_the_last_axes_in_memory_and_the_fast_memory_counts_for_nothing():
    assert memory_of("f32[3,5]{1,0:T(8,128)}") == 8 * 128 * 4
    assert memory_of("bf16[5,300]{0,1:T(8,128)(2,1)}") == 128 * 304 * 2  # the first axis lies last
    assert memory_of("f32[100]{0:T(1024)}") == 4096 and memory_of("f32[100]{0}") == 400 == size_of("f32[100]{0}")
    assert memory_of("(bf16[8,128]{1,0:T(8,128)(2,1)S(1)}, s32[])") == 4


@pytest.mark.parametrize(
    ("name", "read", "written"),
    [
        ("looked", 256 * 4, 0),  # a row of the table, into the fast memory
        ("near", 128 * 256 * 2, 0),  # the part that is fetched
        ("there", 0, 0),
        ("fusion", 0, TOKEN),  # in place
        ("mixed", CACHE, 8 * TOKEN),  # with tiles of eight rows
        ("cache", 0, 0),
    ],
)
def test_slices_and_updates_in_place_count_what_they_take_and_put(name, read, written):
    named, _ = computations(STEP)
    places = {each.name: each for each in named["body"]}
    scalars = 4 * 3  # numbers of steps
    got = traffic(places[name], places, named)
    assert read <= got[0] <= read + scalars and got[1] == written


def test_a_loop_has_the_bytes_and_the_seconds_of_one_round():
    cost = estimate(STEP, V5E)
    (loop,) = cost.loops
    assert loop.rounds == 256 and loop.state == CACHE
    assert sum(part.read for part in loop.parts) == pytest.approx(CACHE + 256 * 4 + 128 * 256 * 2, rel=1e-3)
    assert sum(part.written for part in loop.parts) == pytest.approx(9 * TOKEN, rel=1e-3)
    assert loop.seconds == pytest.approx(sum(part.seconds for part in loop.parts)) and loop.seconds > 1800 / V5E.clock
    assert cost.seconds == pytest.approx(256 * loop.seconds)
    whole, once = ({(part.module, part.what): part for part in parts} for parts in (cost.parts, loop.parts))
    update = "layers/attention", "dynamic_update_slice"
    assert whole[update].written == 256 * once[update].written == 256 * TOKEN
