"""The contenders that are not ours, each written as its own documentation shows, and tuned.

They run in an environment of their own and import nothing of this project but `task`, which is
in this folder: what they are to do, and the normalisation that is the same for all of them.
"""
