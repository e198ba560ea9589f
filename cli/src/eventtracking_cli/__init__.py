"""The command line of eventtracking.

What plugins need for commands of their own is in `config`, `output` and `logs`.
"""
