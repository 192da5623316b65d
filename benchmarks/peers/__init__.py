"""The same weights through other people's tools, each in an environment of its own."""
