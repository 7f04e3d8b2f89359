"""The signal: bias of a bar series, higher timeframes, triangles, and the replay of a history.

Pure: columns in, columns out. Nothing here knows where bars come from or where results go.
"""
