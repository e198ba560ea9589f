"""Run the command line as `python -m eventtracking_cli`."""

from eventtracking_cli.entry import main

if __name__ == "__main__":
    main()
