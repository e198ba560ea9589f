"""Give every test of the workspace the fixtures that start real servers."""

pytest_plugins = ["eventtracking_testkit.services.fixtures"]
