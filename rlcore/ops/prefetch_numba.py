"""Telling the processor what a compiled loop will read next."""

from __future__ import annotations

from typing import Any

LINE = 64
"""Bytes that come together."""


def prefetch(array: Any, index: Any) -> None:
    """Ask for the line of memory around an element of a contiguous array; wait for nothing.

    The index is not checked: beyond the end the request is ignored. In a loop that is not compiled
    it does nothing.
    """


def prefetch_intrinsic(typing_context: Any, array: Any, index: Any) -> Any:
    """Define :func:`prefetch` to numba."""
    from llvmlite import ir
    from numba.core import cgutils, types

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> None:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        byte = builder.bitcast(builder.gep(data, [arguments[1]]), ir.IntType(8).as_pointer())
        word = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte.type, word, word, word])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        read, every_cache, data_not_code = word(0), word(3), word(1)
        builder.call(function, [byte, read, every_cache, data_not_code])

    return types.void(array, types.intp), code
