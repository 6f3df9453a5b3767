"""One system a module, each with a class `System(folder, threads)` that a worker drives.

`read(pairs)` takes a pairs file and is not measured; `extract(layers, …)` gives an array (layers, hidden).
"""
