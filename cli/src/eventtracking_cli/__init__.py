"""The command line of eventtracking.

Tools for the commands of plugins are in `config`, `output` and `logs`.
"""
