"""Token data sets: typed, memory-mapped files of documents, and the order in which they are read.

The tokens of a split lie in one array, document after document; a document may begin with a prompt,
which is context and no target. Training reads *rows* of a fixed width that are laid out from
documents; which row comes when depends on the seed and the row's number alone.
"""
