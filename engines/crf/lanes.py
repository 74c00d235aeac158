"""Eight float32 at once, said outright.

The compiler makes vectors of loops when it can prove that arrays do not overlap; for rows of a lattice, found through
an index, it cannot, and falls back to one number at a time (8 classes: 4 times as slow). So this one operation is
written in the compiler's own language. The trap: nothing checks that the eight numbers exist.
"""

from typing import Any

from engines.crf.compiled import intrinsic

__all__ = ["LANES", "add_scaled"]

LANES = 8


@intrinsic
def add_scaled(context: Any, to: Any, at: Any, source: Any, source_at: Any, factor: Any) -> Any:
    """`to.flat[at : at + 8] += source.flat[source_at : source_at + 8] * factor`, for contiguous float32 arrays."""
    from llvmlite import ir
    from numba.core import types

    del context, factor

    def generate(target: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector = ir.VectorType(ir.FloatType(), LANES)

        def pointer(array_type: Any, array: Any, index: Any) -> Any:
            data = target.make_array(array_type)(target, builder, array).data
            return builder.bitcast(builder.gep(data, [index]), vector.as_pointer())

        to_type, at_type, source_type, source_at_type, _ = signature.args
        here = pointer(to_type, arguments[0], target.cast(builder, arguments[1], at_type, types.intp))
        there = pointer(source_type, arguments[2], target.cast(builder, arguments[3], source_at_type, types.intp))
        spread = ir.Constant(vector, ir.Undefined)
        for lane in range(LANES):
            spread = builder.insert_element(spread, arguments[4], ir.Constant(ir.IntType(32), lane))
        product = builder.fmul(builder.load(there, align=4), spread, flags=("fast",))
        builder.store(builder.fadd(builder.load(here, align=4), product, flags=("fast",)), here, align=4)
        return target.get_dummy_value()

    return types.void(to, at, source, source_at, types.float32), generate
