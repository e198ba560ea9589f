"""The commands `eventtracking buffer` and `eventtracking dead-letters`."""
