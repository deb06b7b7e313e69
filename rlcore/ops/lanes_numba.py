"""Registers of several numbers, for loops that a compiler does not vectorise well by itself.

Each function is what a loop that is not compiled runs, on arrays; :func:`instructions` defines them
to numba. There lanes have the operators ``+``, ``-`` and ``*``; arrays that they come from are
contiguous and of one dimension, and indices are not checked.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

LINE = 64
"""Bytes of a line of memory, and of a register; a machine with shorter ones takes several."""


def lanes(array: Any) -> int:
    """Return how many elements of an array a register holds."""
    return LINE // int(array.itemsize)


def load(array: Any, at: Any) -> Any:
    """Return the elements from ``at`` on."""
    return array[at : at + lanes(array)].copy()


def store(array: Any, at: Any, values: Any) -> None:
    """Write lanes to an array from ``at`` on."""
    array[at : at + len(values)] = values


def spread(array: Any, number: Any) -> Any:
    """Return a number in each lane, of the dtype of ``array``."""
    return np.full(lanes(array), number, array.dtype)


def larger(a: Any, b: Any) -> Any:
    """Return the larger of each two lanes."""
    return np.maximum(a, b)


def largest(values: Any) -> Any:
    """Return the largest of the lanes."""
    return values.max()


def total(values: Any) -> Any:
    """Return the sum of the lanes."""
    return values.sum()


def totals(a: Any, b: Any, c: Any, d: Any) -> tuple[Any, Any, Any, Any]:
    """Return the sums of the lanes of four registers."""
    return a.sum(), b.sum(), c.sum(), d.sum()


def prefetch(array: Any, at: Any) -> None:
    """Ask for the line of memory around an element, into the first cache; wait for nothing.

    Beyond the end the request is ignored. In a loop that is not compiled it does nothing.
    """


def prefetch_early(array: Any, at: Any) -> None:
    """Do :func:`prefetch` into the second cache, which has room for what is wanted later."""


def lanes_intrinsic(typing: Any, array: Any) -> Any:
    """Define :func:`lanes` to numba."""
    from numba.core import types

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return context.get_constant(types.intp, _kind()(array.dtype).count)

    return types.intp(array), code


def load_intrinsic(typing: Any, array: Any, at: Any) -> Any:
    """Define :func:`load` to numba."""
    from numba.core import types

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector = context.get_value_type(signature.return_type)
        pointer = _pointer(context, builder, signature, arguments, vector)
        return builder.load(pointer, align=array.dtype.bitwidth // 8)

    return _kind()(array.dtype)(array, types.intp), code


def store_intrinsic(typing: Any, array: Any, at: Any, values: Any) -> Any:
    """Define :func:`store` to numba."""
    from numba.core import types

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> None:
        pointer = _pointer(context, builder, signature, arguments, arguments[2].type)
        builder.store(arguments[2], pointer, align=array.dtype.bitwidth // 8)

    return types.void(array, types.intp, values), code


def spread_intrinsic(typing: Any, array: Any, number: Any) -> Any:
    """Define :func:`spread` to numba."""
    from llvmlite import ir

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector, word = context.get_value_type(signature.return_type), ir.IntType(32)
        one = builder.insert_element(ir.Constant(vector, ir.Undefined), arguments[1], word(0))
        mask = ir.Constant(ir.VectorType(word, vector.count), None)
        return builder.shuffle_vector(one, one, mask)

    return _kind()(array.dtype)(array, array.dtype), code


def larger_intrinsic(typing: Any, a: Any, b: Any) -> Any:
    """Define :func:`larger` to numba."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.select(builder.fcmp_ordered(">", *arguments), *arguments)

    return a(a, a), code


def largest_intrinsic(typing: Any, values: Any) -> Any:
    """Define :func:`largest` to numba."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector = arguments[0].type
        return _call(builder, f"vector.reduce.fmax.{_short(vector)}", vector.element, arguments)

    return values.dtype(values), code


def total_intrinsic(typing: Any, values: Any) -> Any:
    """Define :func:`total` to numba."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector = arguments[0].type
        name, zero = f"vector.reduce.fadd.{_short(vector)}", vector.element(-0.0)
        return _call(builder, name, vector.element, [zero, *arguments], fastmath=("reassoc",))

    return values.dtype(values), code


def totals_intrinsic(typing: Any, a: Any, b: Any, c: Any, d: Any) -> Any:
    """Define :func:`totals` to numba: neighbours are added until each register is one lane."""
    from llvmlite import ir
    from numba.core import types

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        a, b, c, d = arguments
        both = 2 * a.type.count
        sums = _fold(builder, _fold(builder, a, b, both), _fold(builder, c, d, both), both)
        while sums.type.count > 4:
            sums = _fold(builder, sums, sums, sums.type.count)
        found = [builder.extract_element(sums, ir.IntType(32)(i)) for i in range(4)]
        return context.make_tuple(builder, signature.return_type, found)

    return types.UniTuple(a.dtype, 4)(a, a, a, a), code  # type: ignore[attr-defined]


def _fold(builder: Any, x: Any, y: Any, count: int) -> Any:
    """Return the sums of neighbours among the first ``count`` lanes of two registers."""
    from llvmlite import ir

    word = ir.IntType(32)
    kind = ir.VectorType(word, count // 2)
    even, odd = (ir.Constant(kind, list(map(word, range(i, count, 2)))) for i in (0, 1))
    return builder.fadd(builder.shuffle_vector(x, y, even), builder.shuffle_vector(x, y, odd))


def prefetch_intrinsic(typing: Any, array: Any, at: Any) -> Any:
    """Define :func:`prefetch` to numba."""
    return _prefetch(array, 3)


def prefetch_early_intrinsic(typing: Any, array: Any, at: Any) -> Any:
    """Define :func:`prefetch_early` to numba."""
    return _prefetch(array, 2)


def _prefetch(array: Any, locality: int) -> Any:
    from llvmlite import ir
    from numba.core import types

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> None:
        word = ir.IntType(32)
        byte = _pointer(context, builder, signature, arguments, ir.IntType(8))
        read, data = word(0), word(1)
        _call(builder, "prefetch.p0", ir.VoidType(), [byte, read, word(locality), data])

    return types.void(array, types.intp), code


def _pointer(context: Any, builder: Any, signature: Any, arguments: Any, target: Any) -> Any:
    """Return where the element ``arguments[1]`` of the array ``arguments[0]`` lies."""
    array = context.make_array(signature.args[0])(context, builder, arguments[0])
    return builder.bitcast(builder.gep(array.data, [arguments[1]]), target.as_pointer())


def _call(builder: Any, name: str, result: Any, arguments: Any, **options: Any) -> Any:
    """Call an operation of LLVM."""
    from llvmlite import ir
    from numba.core import cgutils

    kind = ir.FunctionType(result, [argument.type for argument in arguments])
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.{name}")
    return builder.call(function, arguments, **options)


def _short(vector: Any) -> str:
    """Return LLVM's short name of a type of vectors."""
    return f"v{vector.count}{ {'float': 'f32', 'double': 'f64'}[str(vector.element)] }"


@cache
def _kind() -> Any:
    """Return numba's type of lanes, with its operators."""
    from llvmlite import ir
    from numba.core import types
    from numba.core.datamodel import models
    from numba.extending import intrinsic, overload, register_model

    class Lanes(types.Type):
        def __init__(self, dtype: Any) -> None:
            self.dtype, self.count = dtype, LINE * 8 // dtype.bitwidth
            super().__init__(f"lanes of {dtype}")

    @register_model(Lanes)
    class Model(models.PrimitiveModel):  # type: ignore[misc]
        def __init__(self, manager: Any, kind: Any) -> None:
            element = manager.lookup(kind.dtype).get_value_type()
            super().__init__(manager, kind, ir.VectorType(element, kind.count))

    def operation(name: str) -> Callable[..., Any]:
        @intrinsic  # type: ignore[untyped-decorator]
        def instruction(typing: Any, a: Any, b: Any) -> Any:
            def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
                return getattr(builder, name)(*arguments, flags=("contract",))

            return a(a, a), code

        return lambda a, b: (lambda a, b: instruction(a, b)) if isinstance(a, Lanes) else None

    for symbol, name in ((operator.add, "fadd"), (operator.sub, "fsub"), (operator.mul, "fmul")):
        overload(symbol)(operation(name))
    return Lanes


def instructions() -> tuple[Callable[..., Any], ...]:
    """Return the definitions, for :func:`rlcore.ops.numba_jit.compiled`."""
    _kind()
    return (
        lanes_intrinsic, load_intrinsic, store_intrinsic, spread_intrinsic, larger_intrinsic,
        largest_intrinsic, total_intrinsic, totals_intrinsic, prefetch_intrinsic,
        prefetch_early_intrinsic,
    )  # fmt: skip
