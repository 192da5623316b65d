"""The same weights and photos through other int8 quantizers. See README.md one folder up."""
