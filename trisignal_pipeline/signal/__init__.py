"""The indicator: bias of a bar series, higher timeframes, triangles, and state that can be kept.

Pure: numpy, numba and the standard library. The rules are defined on closed bars, every comparison
is strict, and prices are int64 throughout, so nothing is ever rounded.
"""
