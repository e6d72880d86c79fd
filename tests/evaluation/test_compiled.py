# ruff: noqa: E501 (lines of a program)
"""The estimate of a compiled program: cycles, loops, branches, collectives beside other work, and kernels."""

import dataclasses

import pytest

from arjax.evaluation.compiled import COLLECTIVES, KERNEL, estimate
from arjax.evaluation.hlo import size_of
from arjax.parallel.accelerators import accelerator_of

V5E = accelerator_of("v5e")
PROGRAM = """HloModule jit_step, is_scheduled=true

%sum (a: f32[], b: f32[]) -> f32[] {
  %a = f32[]{:T(128)} parameter(0)
  %b = f32[]{:T(128)} parameter(1)
  ROOT %add = f32[]{:T(128)} add(%a, %b)
}

%body (p: (s32[], f32[1024,256])) -> (s32[], f32[1024,256]) {
  %p = (s32[]{:T(128)}, f32[1024,256]{1,0:T(8,128)}) parameter(0)
  %i = s32[]{:T(128)} get-tuple-element(%p), index=0
  %x = f32[1024,256]{1,0:T(8,128)} get-tuple-element(%p), index=1
  %gather = (f32[1024,256]{1,0}, f32[4096,256]{1,0}) all-gather-start(%x), channel_id=1, dimensions={0}, metadata={op_name="jit(step)/layers/all_gather"}
  %fusion = f32[1024,256]{1,0:T(8,128)} fusion(%x), kind=kLoop, calls=%inner, metadata={op_name="jit(step)/transpose(jvp(Net))/while/body/layers/up/jit(_mapped)/dot_general"}, backend_config={"window_config":{"estimated_cycles":"15000"}}
  %done = f32[4096,256]{1,0} all-gather-done(%gather)
  ROOT %next = (s32[]{:T(128)}, f32[1024,256]{1,0:T(8,128)}) tuple(%i, %fusion)
}

%condition (p.1: (s32[], f32[1024,256])) -> pred[] {
  %p.1 = (s32[]{:T(128)}, f32[1024,256]{1,0:T(8,128)}) parameter(0)
  %limit = s32[]{:T(128)} constant(10)
  %i.1 = s32[]{:T(128)} get-tuple-element(%p.1), index=0
  ROOT %less = pred[]{:T(512)} compare(%i.1, %limit), direction=LT
}

%inner (y: f32[1024,256]) -> f32[1024,256] {
  %y = f32[1024,256]{1,0:T(8,128)} parameter(0)
  ROOT %twice = f32[1024,256]{1,0:T(8,128)} add(%y, %y), backend_config={"window_config":{"estimated_cycles":"999999"}}
}

ENTRY %main (x.1: f32[1024,256]) -> f32[1024,256] {
  %x.1 = f32[1024,256]{1,0:T(8,128)} parameter(0)
  %zero = s32[]{:T(128)} constant(0)
  %start = (s32[]{:T(128)}, f32[1024,256]{1,0:T(8,128)}) tuple(%zero, %x.1)
  %loop = (s32[]{:T(128)}, f32[1024,256]{1,0:T(8,128)}) while(%start), condition=%condition, body=%body
  %last = f32[1024,256]{1,0:T(8,128)} get-tuple-element(%loop), index=1
  %view = f32[1024,256]{1,0:T(8,128)} custom-call(%last), custom_call_target="ConcatBitcast"
  %kernel = f32[1024,256]{1,0:T(8,128)} custom-call(%view), custom_call_target="tpu_custom_call", metadata={op_name="jit(step)/jvp(Net)/attention/pallas_call"}
  ROOT %total = f32[1024,256]{1,0:T(8,128)} all-reduce(%kernel), to_apply=%sum, metadata={op_name="jit(step)/reduce_sum"}
}
"""
MIB = 2**20


def test_the_bytes_of_a_type():
    assert size_of("(bf16[8,128]{1,0:T(8,128)(2,1)}, s32[], /*index=2*/pred[3]{0})") == 2 * 8 * 128 + 4 + 3


def test_loops_count_their_rounds_and_collectives_run_beside_other_work():
    """By hand: a round takes 10 us, or the links if these need longer; the kernel its bytes; the sum goes round twice."""
    cost = estimate(PROGRAM, V5E)
    gather, work = 4 * MIB / (2 * V5E.link), 15000 / V5E.clock
    kernel = 2 * MIB / V5E.bandwidth / KERNEL
    reduction = 2 * MIB / (2 * V5E.link)
    assert gather > work and cost.unknown_loops == 0
    assert cost.seconds == pytest.approx(10 * gather + kernel + reduction)
    (inside,) = (each for each in cost.collectives if each.in_loop)
    assert inside.kind == "all-gather" and inside.runs == 10 and inside.bytes == 40 * MIB
    assert inside.seconds == pytest.approx(10 * gather) and inside.uncovered == pytest.approx(10 * (gather - work))
    (outside,) = (each for each in cost.collectives if not each.in_loop)
    assert outside.kind == "all-reduce" and outside.seconds == pytest.approx(reduction)
    assert outside.uncovered == pytest.approx(reduction)
    assert sum(part.seconds for part in cost.parts) == pytest.approx(cost.seconds)
    places = {(part.module, part.what, part.phase) for part in cost.parts if part.seconds}
    assert places == {
        ("layers/up", "dot_general", "backward"),
        ("layers", "all-gather", "forward"),
        ("attention", "pallas_call", "forward"),
        ("other", "all-reduce", "forward"),
    }
    assert {each.kind for each in cost.collectives} <= COLLECTIVES.keys()


def test_the_flops_that_a_kernel_states_count_where_they_take_longer_than_its_bytes():
    bytes_alone = estimate(PROGRAM, V5E).seconds - 2 * MIB / V5E.bandwidth / KERNEL
    for flops in (10**9, 10**3):
        stated = f'pallas_call"}}, backend_config={{"custom_call_config":{{"cost_estimate":{{"flops":"{flops}"}}}}}}'
        least = max(flops / V5E.flops_16, 2 * MIB / V5E.bandwidth)
        cost = estimate(PROGRAM.replace('pallas_call"}', stated), V5E)
        assert cost.seconds == pytest.approx(bytes_alone + least / KERNEL)


def test_of_the_branches_of_a_condition_the_dearest_counts():
    """Its parts and its collectives alone: a gather in the other one is as if it were not there."""
    branches = """%cheap (c: f32[1024,256]) -> f32[4096,256] {
  %c = f32[1024,256]{1,0} parameter(0)
  ROOT %short = f32[4096,256]{1,0} all-gather(%c), dimensions={0}
}

%dear (d: f32[1024,256]) -> f32[4096,256] {
  %d = f32[1024,256]{1,0} parameter(0)
  ROOT %long = f32[4096,256]{1,0} fusion(%d), kind=kLoop, calls=%inner, backend_config={"window_config":{"estimated_cycles":"1500000"}}
}

ENTRY"""
    call = "%chosen = f32[4096,256]{1,0} conditional(%index, %x.1, %x.1), branch_computations={%cheap, %dear}\n  ROOT"
    both = PROGRAM.replace("ENTRY", branches).replace("ROOT %total", call + " %total")
    plain, cost = estimate(PROGRAM, V5E), estimate(both, V5E)
    assert cost.seconds == pytest.approx(plain.seconds + 1500000 / V5E.clock)
    first, second = ([dataclasses.astuple(each)[:4] for each in both.collectives] for both in (cost, plain))
    assert first == second
    assert sum(part.seconds for part in cost.parts) == pytest.approx(cost.seconds)


def test_a_loop_without_a_known_length_counts_once_and_is_named():
    cost = estimate(PROGRAM.replace("constant(10)", "parameter(1)"), V5E)
    assert cost.unknown_loops == 1 and cost.seconds < estimate(PROGRAM, V5E).seconds / 5
