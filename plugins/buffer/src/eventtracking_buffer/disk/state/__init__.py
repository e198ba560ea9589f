"""The state, one SQLite file: how far each lane is, and the counts. Read `schema`, `connection`,
`transitions`.
"""
